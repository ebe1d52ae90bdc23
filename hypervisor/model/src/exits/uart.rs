//! Loads and stores of the UART's registers.

use assay_spec::addr::Ipa;
use assay_spec::exit::Access;
use assay_spec::frame::General;

use super::accessed::{finish_load, step_over, stored};
use super::device::GRANULE;
use super::{Cpu, Held};
use crate::layout;
use crate::vcpus::VcpuSet;
use crate::vm::Vcpu;

/// Returns an address as an offset in the UART's frame, if it may be in there: beyond [`layout::UART`] nothing is.
#[inline(always)]
pub fn offset(ipa: Ipa) -> Option<u64> {
    (ipa.0 / GRANULE == layout::UART.start.0 / GRANULE).then_some(ipa.0 % GRANULE)
}

/// Offset of the UART's data register.
const UARTDR: u64 = 0;

/// Tells whether a load of the UART changes nothing, as of all but its data.
#[inline(always)]
pub fn is_status(offset: u64) -> bool {
    offset != UARTDR
}

/// Loads from a register of the UART that [is status](is_status), and steps over the load.
#[inline(always)]
pub fn load_status<C: Cpu>(offset: u64, access: Access, general: &mut General, mut devices: Held<'_, C>, cpu: &mut C) {
    let value = devices.uart.read(offset, access.width());
    drop(devices);
    finish_load(value, access, general, cpu);
}

/// Loads from `UARTDR`: the interrupt line may have fallen, and there may be room for more input.
pub fn load_input<C: Cpu>(access: Access, general: &mut General, vcpu: &Vcpu, mut devices: Held<'_, C>, cpu: &mut C) {
    let was_full = devices.uart.room() == 0;
    let value = devices.uart.read(UARTDR, access.width());
    let level = devices.uart.level();
    let kicks = devices.vgic.carry_level(vcpu.index, layout::UART_INTID, level, cpu);
    cpu.kick(kicks);
    if was_full && devices.uart.room() != 0 {
        cpu.input_room();
    }
    drop(devices);
    finish_load(value, access, general, cpu);
}

/// Stores to a register of the UART and steps over the store.
#[inline(always)]
pub fn store<C: Cpu>(
    offset: u64,
    access: Access,
    general: &General,
    vcpu: &Vcpu,
    mut devices: Held<'_, C>,
    cpu: &mut C,
) {
    let (was_full, level) = (devices.uart.room() == 0, devices.uart.level());
    let sent = devices.uart.write(offset, access.width(), stored(access, general));
    // The end of a loopback (UARTCR.LBE): what was held back may come.
    if was_full && devices.uart.room() != 0 {
        cpu.input_room();
    }
    // It stays after most characters.
    let now = devices.uart.level();
    let kicks =
        if now == level { VcpuSet::EMPTY } else { devices.vgic.carry_level(vcpu.index, layout::UART_INTID, now, cpu) };
    drop(devices);
    step_over(kicks, cpu);
    // No lock is held: this may take as long as the terminal does.
    if let Some(byte) = sent {
        cpu.transmit(byte);
    }
}
