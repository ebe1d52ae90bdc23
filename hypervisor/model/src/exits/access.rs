//! Loads and stores outside of RAM: which device has the address, and what becomes of the guest's registers.
//!
//! Doorbells are apart: no lock of the VM's may be held while another VM is rung, and none is needed.
//! What a device's register does is the device's own matter. Here is the way to it, and the interrupts and deadlines
//! that an access to it can change.

use assay_spec::addr::{Ipa, Region};
use assay_spec::esr;
use assay_spec::exit::{Abort, Access, Width};
use assay_spec::frame::Frame;
use spin::Mutex;

use super::{Cpu, Next};
use crate::inject::Fault;
use crate::layout;
use crate::pci::GUEST_FUNCTION;
use crate::vcpus::VcpuSet;
use crate::vgic::{Read, Version};
use crate::vm::{Devices, GuestMachine, Vcpu};
use crate::watchdog::WatchdogFrame;

/// A load or store outside of RAM: a device's, or nobody's.
pub(super) fn data_abort<C: Cpu>(
    abort: Abort,
    frame: &mut Frame,
    vcpu: &mut Vcpu,
    machine: &GuestMachine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> Next {
    // After a Permission, alignment or tag fault HPFAR_EL2 does not tell the address, and on a walk of the guest's
    // tables it tells a descriptor's (DDI0487 HPFAR_EL2).
    let is_known = esr::ipa_is_valid(&abort) && !abort.table_walk;
    let Some(access) = abort.access.filter(|_| is_known) else {
        return Next::Inject(Fault::of_data(&abort));
    };
    if !access.write {
        let loaded = load(abort.ipa, access, frame, vcpu, machine, devices, cpu)
            || load_from_doorbell(abort.ipa, access, frame, machine, cpu);
        return if loaded { Next::Resume } else { Next::Inject(Fault::of_data(&abort)) };
    }
    let value = access.width.truncate(frame.get(access.register));
    let Some(device) = find(abort.ipa, machine) else {
        if !store_to_doorbell(abort.ipa, access.width, value, machine, cpu) {
            return Next::Inject(Fault::of_data(&abort));
        }
        return Next::Advance;
    };
    let kicks = write(device, access.width, value, vcpu, &mut devices.lock(), cpu);
    if !kicks.is_empty() {
        cpu.kick(kicks);
    }
    Next::Advance
}

/// Handles a load from a device as [`handle`](super::handle) would, by the syndrome of a data abort; returns whether it was one.
#[inline]
pub fn quick_load<C: Cpu>(
    (esr, far, hpfar): (u64, u64, u64),
    frame: &mut Frame,
    vcpu: &Vcpu,
    machine: &GuestMachine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> bool {
    match esr::device_load(esr, far, hpfar) {
        Some((ipa, access)) => load(ipa, access, frame, vcpu, machine, devices, cpu),
        None => false,
    }
}

/// Loads from a device and steps over the load, or has other vCPUs say what they know and lets the guest try
/// again. Returns whether there is a device.
#[inline(always)]
fn load<C: Cpu>(
    ipa: Ipa,
    access: Access,
    frame: &mut Frame,
    vcpu: &Vcpu,
    machine: &GuestMachine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> bool {
    let Some(device) = find(ipa, machine) else {
        return false;
    };
    let mut devices = devices.lock();
    match read(device, access.width, vcpu, &mut devices, cpu) {
        Read::Value(value) => {
            drop(devices);
            frame.set(access.register, extend(value, access));
            frame.advance();
        }
        Read::Retry(kicks) => {
            drop(devices);
            cpu.kick(kicks);
        }
    }
    true
}

/// Loads from a doorbell and steps over the load, without a lock. Only the long way comes here: a doorbell is rung far
/// more often than it is read. Returns whether there is one.
#[inline(never)]
fn load_from_doorbell<C: Cpu>(ipa: Ipa, access: Access, frame: &mut Frame, machine: &GuestMachine, cpu: &C) -> bool {
    let doorbells = &machine.doorbells;
    let Some((index, offset)) = doorbells.find(ipa) else {
        return false;
    };
    let value = doorbells.read(index, offset, access.width, |side| cpu.peers(side));
    frame.set(access.register, extend(value, access));
    frame.advance();
    true
}

/// Stores to a doorbell, and rings whom it is for. Returns whether there is one.
#[inline(never)]
fn store_to_doorbell<C: Cpu>(ipa: Ipa, width: Width, value: u64, machine: &GuestMachine, cpu: &mut C) -> bool {
    let Some((index, offset)) = machine.doorbells.find(ipa) else {
        return false;
    };
    if let Some(ring) = machine.doorbells.write(index, offset, width, value) {
        cpu.ring(ring);
    }
    true
}

/// A device register: which device, and the offset in its frame.
#[derive(Clone, Copy)]
enum Device {
    Distributor(u64),
    Redistributors(u64),
    Uart(u64),
    Watchdog(WatchdogFrame, u64),
    Config(u64),
}

#[inline(always)]
fn find(ipa: Ipa, machine: &GuestMachine) -> Option<Device> {
    let within = |region: Region<Ipa>| {
        let offset = ipa.0.wrapping_sub(region.start.0);
        (offset < region.size).then_some(offset)
    };
    if let Some(offset) = within(layout::UART) {
        return Some(Device::Uart(offset));
    }
    let distributor = if machine.gic == Version::V3 { layout::GICD_V3 } else { layout::GICD_V2 };
    if let Some(offset) = within(distributor) {
        return Some(Device::Distributor(offset));
    }
    if machine.gic == Version::V3 {
        let size = machine.vcpus as u64 * layout::GICR_SIZE;
        if let Some(offset) = within(Region { start: layout::GICR, size }) {
            return Some(Device::Redistributors(offset));
        }
    }
    if machine.pci
        && let Some(offset) = within(layout::PCI_CONFIG)
    {
        return Some(Device::Config(offset));
    }
    if !machine.watchdog {
        return None;
    }
    within(layout::WATCHDOG_REFRESH)
        .map(|offset| Device::Watchdog(WatchdogFrame::Refresh, offset))
        .or_else(|| within(layout::WATCHDOG_CONTROL).map(|offset| Device::Watchdog(WatchdogFrame::Control, offset)))
}

#[inline(always)]
fn read<C: Cpu>(device: Device, width: Width, vcpu: &Vcpu, devices: &mut Devices, cpu: &mut C) -> Read {
    match device {
        Device::Distributor(offset) => devices.vgic.dist_read(vcpu.index, offset, width, cpu),
        Device::Redistributors(offset) => devices.vgic.redist_read(vcpu.index, offset, width, cpu),
        Device::Uart(offset) => {
            let was_full = devices.uart.room() == 0;
            let value = devices.uart.read(offset, width);
            if offset == 0 {
                took_input(vcpu, devices, cpu, was_full);
            }
            Read::Value(value)
        }
        Device::Watchdog(frame, offset) => Read::Value(devices.watchdog.read(frame, offset, width)),
        Device::Config(offset) => Read::Value(config_read(offset, width, devices, cpu)),
    }
}

/// A load from `UARTDR`: the interrupt line may have fallen, and there may be room for more input.
#[inline(never)]
fn took_input<C: Cpu>(vcpu: &Vcpu, devices: &mut Devices, cpu: &mut C, was_full: bool) {
    let kicks = devices.update_uart(vcpu.index).union(devices.vgic.flush(vcpu.index, cpu));
    cpu.kick(kicks);
    if was_full && devices.uart.room() != 0 {
        cpu.input_room();
    }
}

fn write<C: Cpu>(device: Device, width: Width, value: u64, vcpu: &Vcpu, devices: &mut Devices, cpu: &mut C) -> VcpuSet {
    match device {
        Device::Distributor(offset) => devices.vgic.dist_write(vcpu.index, offset, width, value, cpu),
        Device::Redistributors(offset) => devices.vgic.redist_write(vcpu.index, offset, width, value, cpu),
        Device::Uart(offset) => {
            let was_full = devices.uart.room() == 0;
            if let Some(byte) = devices.uart.write(offset, width, value) {
                cpu.transmit(byte);
            }
            // The end of a loopback (UARTCR.LBE): what was held back may come.
            if was_full && devices.uart.room() != 0 {
                cpu.input_room();
            }
            devices.update_uart(vcpu.index).union(devices.vgic.flush(vcpu.index, cpu))
        }
        Device::Watchdog(frame, offset) => {
            let now = cpu.now().wrapping_sub(devices.virtual_offset);
            devices.watchdog.write(frame, offset, width, value, now);
            // What is due by now is for the EL2 timer to find, which can also end the VM.
            let kicks = devices.update_watchdog(vcpu.index).union(devices.vgic.flush(vcpu.index, cpu));
            cpu.deadlines_changed(vcpu, devices);
            kicks
        }
        Device::Config(offset) => {
            config_write(offset, width, value, devices, cpu);
            VcpuSet::EMPTY
        }
    }
}

/// Reads configuration space by ECAM: all ones where there is no function, and across words.
#[inline(never)]
fn config_read<C: Cpu>(offset: u64, width: Width, devices: &Devices, cpu: &mut C) -> u64 {
    let function = devices.function.as_ref();
    let Some(((register, shift), function)) = place_in_word(offset, width).zip(function) else {
        return u64::MAX;
    };
    let word = function.read(register, |register| cpu.config_read(register));
    u64::from(word >> shift)
}

/// Writes configuration space by ECAM.
#[inline(never)]
fn config_write<C: Cpu>(offset: u64, width: Width, value: u64, devices: &mut Devices, cpu: &mut C) {
    let function = devices.function.as_mut();
    let Some(((register, shift), function)) = place_in_word(offset, width).zip(function) else {
        return;
    };
    let mask = (width.truncate(u64::MAX) << shift & 0xffff_ffff) as u32;
    let value = (value << shift & 0xffff_ffff) as u32;
    if function.write(register, value, mask) {
        cpu.set_command(function.physical_command());
    }
}

/// Returns register and bit position of an access to the guest's one function that lies within a word.
fn place_in_word(offset: u64, width: Width) -> Option<(u16, u32)> {
    let function = u64::from(GUEST_FUNCTION.0) << 12;
    let register = u16::try_from(offset.checked_sub(function)?).ok()?;
    let inside = register < 0x1000 && u64::from(register & 3) + width.bytes() <= 4;
    inside.then_some((register & 0xffc, u32::from(register & 3) * 8))
}

/// Returns what a load puts into its register: cut to the access, sign-extended, cut to the register.
#[inline]
pub(super) fn extend(value: u64, access: Access) -> u64 {
    let value = access.width.truncate(value);
    if !access.sign_extend {
        return value;
    }
    let unused = 64 - 8 * access.width.bytes();
    let extended = ((value << unused) as i64 >> unused) as u64;
    if access.sixty_four { extended } else { extended & 0xffff_ffff }
}
