//! LPIs of the Redistributors: off, as firmware may not have left them, and on for an ITS (IHI 0069H §5.1).

use alloc::vec::Vec;

use assay_spec::addr::Pa;
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::its::{self, Typer};
use assay_spec::gic::redist;
use spin::Once;
use tock_registers::interfaces::{Readable as _, Writeable as _};

use super::{DISTRIBUTOR, PRIVATE, Private};
use crate::device_memory::DeviceMemory;
use crate::gic::GicError;
use crate::gic::its_error::ItsError;
use crate::{frames, heap};

/// Turns LPIs off, of which there are none here. Some Redistributors keep them on for good (`GICR_CTLR.CES` = 0), and
/// with them the use of their tables: the frames of those are then nobody's.
pub(super) fn turn_off(registers: &Private, bits: u32) -> Result<(), GicError> {
    let ctlr = &registers.ctlr;
    if ctlr.get() & redist::CTLR_ENABLE_LPIS == 0 {
        return Ok(());
    }
    ctlr.set(ctlr.get() & !redist::CTLR_ENABLE_LPIS);
    while ctlr.get() & redist::CTLR_RWP != 0 {
        core::hint::spin_loop();
    }
    if ctlr.get() & redist::CTLR_ENABLE_LPIS == 0 {
        return Ok(());
    }
    let (properties, pending) = (registers.propbaser.get(), registers.pendbaser.get());
    let mut tables = redist::lpi_tables(properties, pending, bits).into_iter();
    tables
        .find(|table| heap::is_own(*table) || !frames::withhold(*table))
        .map_or(Ok(()), |table| Err(GicError::LpisOn(table)))
}

/// The tables of LPIs: their configuration, and of each CPU what is pending. Also of those that were turned on before one
/// could not be: they are in use. And whether they are on on all CPUs.
static LPIS: Once<(Vec<DeviceMemory>, Result<(), ItsError>)> = Once::new();

/// Turns LPIs on on all CPUs that are up, once: all enabled, none pending. The first outcome is the outcome.
pub(in crate::gic) fn enable() -> Result<(), ItsError> {
    let (_tables, outcome) = LPIS.call_once(|| {
        let mut tables = Vec::new();
        let outcome = turn_on(&mut tables);
        (tables, outcome)
    });
    *outcome
}

fn turn_on(tables: &mut Vec<DeviceMemory>) -> Result<(), ItsError> {
    let (has_lpis, bits) = DISTRIBUTOR
        .lock()
        .as_ref()
        .map_or((false, 0), |distributor| (distributor.typer().lpis_supported(), distributor.typer().id_bits()));
    if !has_lpis || bits < its::INTID_BITS {
        return Err(ItsError::NoLpis);
    }
    let properties = DeviceMemory::take(its::PROPERTIES_BYTES).ok_or(ItsError::NoMemory)?;
    for word in (0..its::PROPERTIES_BYTES).step_by(8) {
        properties.store(word, u64::from_ne_bytes([its::ENABLED; 8]));
    }
    let at = properties.region().start;
    tables.push(properties);
    for registers in PRIVATE.get().into_iter().flatten().filter_map(Once::get) {
        if registers.ctlr.get() & redist::CTLR_ENABLE_LPIS != 0 {
            return Err(ItsError::NoLpis);
        }
        let pending = DeviceMemory::take(its::PENDING_BYTES).ok_or(ItsError::NoMemory)?;
        registers.propbaser.set(its::propbaser(at));
        registers.pendbaser.set(its::pendbaser(pending.region().start));
        if !its::is_shareable(registers.propbaser.get()) || !its::is_shareable(registers.pendbaser.get()) {
            return Err(ItsError::NotCoherent);
        }
        tables.push(pending);
        registers.ctlr.set(registers.ctlr.get() | redist::CTLR_ENABLE_LPIS);
        if registers.ctlr.get() & redist::CTLR_ENABLE_LPIS == 0 {
            return Err(ItsError::NoLpis);
        }
    }
    Ok(())
}

/// Returns what an ITS calls a CPU that is up.
pub(in crate::gic) fn target(typer: Typer, cpu: PcpuId) -> Option<u64> {
    let registers = PRIVATE.get()?.get(cpu.0)?.get()?;
    let number = (registers.typer.get() >> redist::TYPER_NUMBER_SHIFT & 0xffff) as u16;
    Some(its::target(typer, Pa(core::ptr::from_ref::<Private>(registers).addr() as u64), number))
}
