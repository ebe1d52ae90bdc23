//! GICv3 and later (IHI 0069H): `arm-gic` sets up Distributor and Redistributors, the hot path is here.

use alloc::vec::Vec;
use core::ptr::NonNull;

use arm_gic::gicv3::registers::{Gicd, GicdCtlr, GicrSgi};
use arm_gic::gicv3::{GicDistributor, GicRedistributor, GicRedistributorIterator};
use arm_gic::{IntId as GicIntId, Trigger};
use assay_spec::addr::{Pa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::hyp::{HCR_EN, v3 as lr_v3};
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;
use safe_mmio::UniqueMmioPointer;
use spin::{Mutex, Once};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};

use super::{Ack, First, GicError, Interface, Others, Second};
use crate::mmio::{Mmio, Registers, is_usable};
use crate::sysreg::{dsb_ish, dsb_ishst, isb, read_sysreg, write_sysreg};
use crate::{cpus, percpu};

pub(super) mod lpis;

register_structs! {
    /// What `arm_gic` has no functions for, in RD_base and the SGI_base frame after it (IHI 0069H §12.11).
    Private {
        (0x00000 => ctlr: ReadWrite<u32>),
        (0x00004 => _reserved0),
        (0x00008 => typer: ReadOnly<u64>),
        (0x00010 => _reserved7),
        (0x00070 => propbaser: ReadWrite<u64>),
        (0x00078 => pendbaser: ReadWrite<u64>),
        (0x00080 => _reserved1),
        (0x10200 => ispendr0: ReadWrite<u32>),
        (0x10204 => _reserved2),
        (0x10280 => icpendr0: WriteOnly<u32>),
        (0x10284 => _reserved3),
        (0x10380 => icactiver0: WriteOnly<u32>),
        (0x10384 => @END),
    }
}

// SAFETY: registers only. What makes a Redistributor write to memory is GICR_PENDBASER, which `lpis` alone sets, to
// `DeviceMemory` that it keeps.
unsafe impl Registers for Private {}

/// RD_base and SGI_base.
const FRAMES_SIZE: u64 = 0x2_0000;

static DISTRIBUTOR: Mutex<Option<GicDistributor<'static>>> = Mutex::new(None);
static REDISTRIBUTORS: Once<Vec<Region<Pa>>> = Once::new();
/// What interrupts each CPU, by index.
static KICKS: Once<Vec<u64>> = Once::new();
/// The private interrupts of each CPU that is up, by index. What lies beyond is never asked for.
static PRIVATE: Once<Vec<Once<Mmio<Private>>>> = Once::new();

fn private_of_this() -> Option<&'static Once<Mmio<Private>>> {
    PRIVATE.get()?.get(percpu::index().0)
}

fn gic_intid(intid: IntId) -> GicIntId {
    match intid.0 {
        n @ 0..16 => GicIntId::sgi(n),
        n @ 16..32 => GicIntId::ppi(n - 16),
        n => GicIntId::spi(n - 32),
    }
}

pub(super) fn init(distributor: Region<Pa>, redistributors: &[Region<Pa>]) -> Result<(), GicError> {
    let mut frames = redistributors.iter().map(|frame| (*frame, FRAMES_SIZE)).chain([(distributor, 0x1_0000)]);
    if let Some((bad, _)) = frames.find(|(frame, least)| !is_usable(*frame, *least)) {
        return Err(GicError::BadFrame(bad));
    }
    let _ = REDISTRIBUTORS.call_once(|| redistributors.to_vec());
    let all = (0..cpus::count()).filter_map(|cpu| cpus::affinity(PcpuId(cpu)));
    let _ = KICKS.call_once(|| all.map(kick_of).collect());
    let _ = PRIVATE.call_once(|| (0..cpus::count()).map(|_| Once::new()).collect());
    let pointer = NonNull::new(distributor.start.0 as *mut Gicd).ok_or(GicError::BadFrame(distributor))?;
    // SAFETY: the tree says that a Distributor is here; it is usable, the caller mapped it as Device, and this is the
    // only pointer to it.
    let registers = unsafe { UniqueMmioPointer::new(pointer) };
    let mut distributor = GicDistributor::new(registers);
    // ARE may be set only while the groups are off (IHI 0069H 12.9.4), and Group 0 is not ours.
    distributor.modify_control(GicdCtlr::EnableGrp0 | GicdCtlr::EnableGrp1NS, false);
    distributor.enable_all_interrupts(false);
    distributor.configure_default_settings();
    let bits = distributor.typer().id_bits();
    *DISTRIBUTOR.lock() = Some(distributor);
    // All CPUs' before anything is loaded: also of those that never come up.
    let turn_off = |registers: Mmio<Private>| lpis::turn_off(&registers, bits);
    let failed = |place| super::frame(place).and_then(turn_off).err();
    find_redistributor(|_, place| failed(place)).map_or(Ok(()), Err)
}

pub(super) fn init_cpu(private: &[IntId]) -> Result<(), GicError> {
    // SRE: the CPU interface by system registers, also for EL1, which cannot change it: Enable = 0 traps ICC_SRE_EL1,
    // and the model answers 7.
    write_sysreg!("icc_sre_el2", 7);
    isb();
    write_sysreg!("icc_sre_el1", 7);
    isb();
    let affinity = crate::cpu::mpidr() & cpus::AFFINITY;
    init_redistributor(affinity, private)?;
    quieten();
    write_sysreg!("icc_pmr_el1", 0xff);
    write_sysreg!("icc_bpr1_el1", 0);
    // EOImode 1: EOIR drops the priority, DIR deactivates.
    write_sysreg!("icc_ctlr_el1", 2);
    write_sysreg!("icc_igrpen1_el1", 1);
    isb();
    reset_virtual();
    Ok(())
}

/// Clears the active priorities of `$group`, of which there are as many registers as `$bits` of priority need.
macro_rules! clear_active {
    ($group:literal, $bits:expr) => {
        write_sysreg!(concat!("icc_ap", $group, "r0_el1"), 0);
        if $bits >= 6 {
            write_sysreg!(concat!("icc_ap", $group, "r1_el1"), 0);
        }
        if $bits >= 7 {
            write_sysreg!(concat!("icc_ap", $group, "r2_el1"), 0);
            write_sysreg!(concat!("icc_ap", $group, "r3_el1"), 0);
        }
    };
}

/// Ends what firmware was in the middle of: a priority that stays active keeps all below it from coming. And turns Group
/// 0 off, where that is ours: nobody here takes FIQs.
fn quieten() {
    let bits = (read_sysreg!("icc_ctlr_el1") >> 8 & 7) + 1;
    clear_active!("1", bits);
    // Where Group 0 is Secure's, its registers trap to EL3 (SCR_EL3.FIQ), and we see the mask shifted by one: the lowest
    // priority bit does not come back (IHI 0069H §4.8.6).
    write_sysreg!("icc_pmr_el1", 1 << (8 - bits));
    isb();
    if read_sysreg!("icc_pmr_el1") != 0 {
        clear_active!("0", bits);
        write_sysreg!("icc_igrpen0_el1", 0);
    }
    isb();
}

/// Calls `each` with every Redistributor, until it returns something.
fn find_redistributor<T>(mut each: impl FnMut(&mut GicRedistributor<'_>, Region<Pa>) -> Option<T>) -> Option<T> {
    // One CPU at a time: this walks frames of other CPUs.
    let _lock = DISTRIBUTOR.lock();
    for region in REDISTRIBUTORS.get().into_iter().flatten() {
        let Some(base) = NonNull::new(region.start.0 as *mut GicrSgi) else {
            continue;
        };
        // SAFETY: the tree says that Redistributors are here, up to the one that says Last; the caller mapped
        // the region, and the lock above makes this the only pointer into it.
        let Ok(mut frames) = (unsafe { GicRedistributorIterator::new(base) }) else {
            continue;
        };
        let mut base = region.start.0;
        // No further than the tree says, whatever the frames say of Last.
        while base + FRAMES_SIZE <= region.end().0
            && let Some(mut frame) = frames.next()
        {
            let this = Region { start: Pa(base), size: FRAMES_SIZE };
            base += if frame.typer().virtual_lpis_supported() { 0x4_0000 } else { 0x2_0000 };
            if let Some(found) = each(&mut frame, this) {
                return Some(found);
            }
        }
    }
    None
}

/// Wakes this CPU's Redistributor and sets its private interrupts: Group 1, disabled but for `private`.
fn init_redistributor(affinity: u64, private: &[IntId]) -> Result<(), GicError> {
    let registers = find_redistributor(|frame, place| {
        if frame.typer().core_mpidr() != affinity {
            return None;
        }
        let _ = frame.mark_core_awake();
        frame.configure_default_settings();
        frame.enable_all_interrupts(false);
        let registers = super::frame::<Private>(place);
        if let Ok(registers) = &registers {
            // One that stays active never comes again.
            registers.icpendr0.set(u32::MAX);
            registers.icactiver0.set(u32::MAX);
        }
        for &intid in private.iter().chain([&super::KICK]) {
            let _ = frame.enable_interrupt(gic_intid(intid), true);
        }
        Some(registers)
    });
    let registers = registers.ok_or(GicError::NoRedistributor(affinity))??;
    if let Some(private) = private_of_this() {
        let _ = private.call_once(|| registers);
    }
    Ok(())
}

#[inline(always)]
pub(super) fn acknowledge() -> u32 {
    // ICC_IAR1_EL1: reading acknowledges, so `asm!` without `pure`.
    let value: u64;
    // SAFETY: acknowledging changes interrupt state only, which is EL2's.
    unsafe { core::arch::asm!("mrs {}, icc_iar1_el1", out(reg) value, options(nostack, preserves_flags)) }
    value as u32
}

pub(super) fn highest_pending() -> Option<IntId> {
    IntId((read_sysreg!("icc_hppir1_el1") & 0xff_ffff) as u32).if_real()
}

#[inline(always)]
pub(super) fn drop_priority(ack: u32) {
    write_sysreg!("icc_eoir1_el1", u64::from(ack));
}

#[inline]
pub(super) fn deactivate(Ack(ack): Ack) {
    write_sysreg!("icc_dir_el1", u64::from(ack));
}

pub(super) fn enable_spi(intid: IntId, cpu: PcpuId, edge: bool) {
    let Some(affinity) = cpus::affinity(cpu) else {
        return;
    };
    if let Some(distributor) = DISTRIBUTOR.lock().as_mut() {
        let id = gic_intid(intid);
        let trigger = if edge { Trigger::Edge } else { Trigger::Level };
        let _ = distributor.set_trigger(id, trigger);
        let _ = distributor.set_routing(id, Some(affinity));
        let _ = distributor.enable_interrupt(id, true);
    }
}

pub(super) fn disable_spi(intid: IntId) {
    if let Some(distributor) = DISTRIBUTOR.lock().as_mut() {
        let _ = distributor.enable_interrupt(gic_intid(intid), false);
    }
}

pub(super) fn kick(cpu: PcpuId) {
    let Some(value) = KICKS.get().and_then(|kicks| kicks.get(cpu.0)) else {
        return;
    };
    // What the other CPU is to see must be there before it is interrupted.
    dsb_ishst();
    write_sysreg!("icc_sgi1r_el1", *value);
    isb();
}

/// The value of `ICC_SGI1R_EL1` that interrupts the CPU of this affinity with [`KICK`](super::KICK).
fn kick_of(affinity: u64) -> u64 {
    let aff = |level: u32| affinity >> (8 * level) & 0xff;
    let target = affinity >> 32 << 48 | aff(2) << 32 | aff(1) << 16 | aff(0) >> 4 << 44 | 1 << (aff(0) & 0xf);
    target | u64::from(super::KICK.0) << 24
}

#[inline]
pub(super) fn lr_count() -> u32 {
    // CPUs may differ.
    (read_sysreg!("ich_vtr_el2") as u32 & 0x1f) + 1
}

/// Applies `$operation!(register, arguments)` to List Register `$index`. One beyond 15 is our bug.
macro_rules! lr_register {
    ($index:expr, $operation:ident($($argument:expr)?)) => {
        lr_register!(@ $index, $operation, ($($argument)?),
            0 "s3_4_c12_c12_0" 1 "s3_4_c12_c12_1" 2 "s3_4_c12_c12_2" 3 "s3_4_c12_c12_3"
            4 "s3_4_c12_c12_4" 5 "s3_4_c12_c12_5" 6 "s3_4_c12_c12_6" 7 "s3_4_c12_c12_7"
            8 "s3_4_c12_c13_0" 9 "s3_4_c12_c13_1" 10 "s3_4_c12_c13_2" 11 "s3_4_c12_c13_3"
            12 "s3_4_c12_c13_4" 13 "s3_4_c12_c13_5" 14 "s3_4_c12_c13_6" 15 "s3_4_c12_c13_7")
    };
    (@ $index:expr, $operation:ident, (), $($n:literal $name:literal)*) => {
        match $index { $($n => $operation!($name),)* _ => super::impossible() }
    };
    (@ $index:expr, $operation:ident, ($argument:expr), $($n:literal $name:literal)*) => {
        match $index { $($n => $operation!($name, $argument),)* _ => super::impossible() }
    };
}

pub(super) fn lr_read(index: usize) -> Lr {
    lr_v3::decode(lr_register!(index, read_sysreg()))
}

/// Encoded where it is called, which often knows most of it.
#[inline(always)]
pub(super) fn lr_write(index: usize, lr: Lr) {
    lr_write_raw(index, lr_v3::encode(lr));
}

#[inline(never)]
fn lr_write_raw(index: usize, value: u64) {
    lr_register!(index, write_sysreg(value));
}

/// The same without a call, for ways that have none.
#[inline(always)]
pub(super) fn lr_write_here(index: usize, lr: Lr) {
    let value = lr_v3::encode(lr);
    lr_register!(index, write_sysreg(value));
}

#[inline]
pub(super) fn lr_empty() -> u32 {
    read_sysreg!("ich_elrsr_el2") as u32
}

pub(super) fn set_maintenance(requests: u32) {
    write_sysreg!("ich_hcr_el2", u64::from(HCR_EN | requests));
    isb();
}

pub(super) fn vmcr() -> u32 {
    read_sysreg!("ich_vmcr_el2") as u32
}

pub(super) fn is_pending(intid: IntId) -> bool {
    if !intid.is_private() {
        return true;
    }
    let private = private_of_this().and_then(Once::get);
    private.is_some_and(|registers| registers.ispendr0.get() >> (intid.0 % 32) & 1 != 0)
}

/// Returns `ICH_VTR_EL2.PREbits`: from 5 on there are two active priorities registers a group, from 6 on four.
fn preemption_bits() -> u64 {
    read_sysreg!("ich_vtr_el2") >> 26 & 7
}

pub(super) fn save_virtual() -> Interface {
    let bits = preemption_bits();
    Interface {
        vmcr: read_sysreg!("ich_vmcr_el2"),
        first: First::save(),
        second: if bits >= 5 { Second::save() } else { Second::default() },
        others: if bits >= 6 { Others::save() } else { Others::default() },
    }
}

/// The guest of this CPU is not running; its interface gets a state that it had (IHI 0069H 12.4).
pub(super) fn load_virtual(interface: &Interface) {
    let bits = preemption_bits();
    write_sysreg!("ich_vmcr_el2", interface.vmcr);
    interface.first.load();
    if bits >= 5 {
        interface.second.load();
    }
    if bits >= 6 {
        interface.others.load();
    }
    isb();
}

pub(super) fn reset_virtual() {
    for index in 0..lr_count() as usize {
        lr_register!(index, write_sysreg(0));
    }
    load_virtual(&Interface::default());
    write_sysreg!("ich_hcr_el2", u64::from(HCR_EN));
    dsb_ish();
    isb();
}
