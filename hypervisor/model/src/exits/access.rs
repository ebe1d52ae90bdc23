//! Loads and stores outside of RAM: which device has the address, and what becomes of the guest's registers.
//!
//! What a device's register does is the device's own matter. Here is the one way to it, and the interrupts and
//! deadlines that an access to it can change.

use assay_spec::addr::Ipa;
use assay_spec::esr;
use assay_spec::exit::{Access, Width};
use assay_spec::frame::General;

use super::accessed::{Accessed, finish_load};
use super::between::between;
use super::{Cpu, Locked};
use crate::layout;
use crate::pci::{Function, guest_index};
use crate::v2m;
use crate::vcpus::VcpuSet;
use crate::vgic::{Read, VCPUS_MAX_V3};
use crate::virtio;
use crate::vm::{Devices, GuestMachine, Vcpu};
use crate::watchdog::WatchdogFrame;

/// Carries out a load or store of a device's register and steps over it, by the syndrome of a data abort: `ESR_EL2`,
/// `FAR_EL2` and `HPFAR_EL2`. Where others have to say what they know first, they are kicked, and the guest tries again.
#[inline(always)]
pub fn access<C: Cpu>(
    syndrome: (u64, u64, u64),
    general: &mut General,
    vcpu: &Vcpu,
    machine: &GuestMachine,
    devices: &Locked<C>,
    cpu: &mut C,
) -> Accessed {
    let Some((ipa, access)) = esr::device_access(syndrome) else {
        return Accessed::Nothing;
    };
    if access.is_store() {
        return store((ipa, access), general, vcpu, machine, devices, cpu);
    }
    let mut locked = devices.lock();
    match load(ipa, access.width(), vcpu, machine, &mut locked, cpu) {
        Some(Read::Value(value)) => {
            drop(locked);
            finish_load(value, access, general, cpu);
            Accessed::Done
        }
        Some(Read::Retry(kicks)) => {
            drop(locked);
            cpu.kick(kicks);
            Accessed::Done
        }
        None => {
            drop(locked);
            between((ipa, access), general, vcpu, machine, devices, cpu)
        }
    }
}

/// A device, by its frame of registers.
#[derive(Clone, Copy)]
enum Device {
    Distributor,
    Redistributors,
    Uart,
    Rtc,
    WatchdogRefresh,
    WatchdogControl,
    Pci,
}

/// No two devices are in the same 64 KiB.
const GRANULE: u64 = 0x1_0000;

/// Returns which device has an address, and the offset in its frame.
#[inline(always)]
fn find(ipa: Ipa, machine: &GuestMachine) -> Option<(Device, u64)> {
    const GICD: u64 = layout::GICD_V3.start.0 / GRANULE;
    const GICR: u64 = layout::GICR.0 / GRANULE;
    const GICR_GRANULES: u64 = VCPUS_MAX_V3 as u64 * layout::GICR_SIZE / GRANULE;
    const UART: u64 = layout::UART.start.0 / GRANULE;
    const RTC: u64 = layout::RTC.start.0 / GRANULE;
    const REFRESH: u64 = layout::WATCHDOG_REFRESH.start.0 / GRANULE;
    const CONTROL: u64 = layout::WATCHDOG_CONTROL.start.0 / GRANULE;
    let (granule, offset) = (ipa.0 / GRANULE, ipa.0 % GRANULE);
    if granule == GICD {
        return Some((Device::Distributor, offset));
    }
    if granule.wrapping_sub(GICR) < GICR_GRANULES {
        return Some((Device::Redistributors, granule.wrapping_sub(GICR) * GRANULE + offset));
    }
    match granule {
        UART if offset < layout::UART.size => Some((Device::Uart, offset)),
        RTC if machine.rtc.is_some() && offset < layout::RTC.size => Some((Device::Rtc, offset)),
        REFRESH if machine.watchdog && offset < layout::WATCHDOG_REFRESH.size => {
            Some((Device::WatchdogRefresh, offset))
        }
        CONTROL if machine.watchdog && offset < layout::WATCHDOG_CONTROL.size => {
            Some((Device::WatchdogControl, offset))
        }
        _ if machine.pci && is_pci(ipa, machine) => Some((Device::Pci, ipa.0)),
        _ => None,
    }
}

#[inline(always)]
fn load<C: Cpu>(
    ipa: Ipa,
    width: Width,
    vcpu: &Vcpu,
    machine: &GuestMachine,
    devices: &mut Devices,
    cpu: &mut C,
) -> Option<Read> {
    let (device, offset) = find(ipa, machine)?;
    match device {
        Device::Distributor => devices.vgic.dist_read(vcpu.index, offset, width, cpu),
        Device::Redistributors => devices.vgic.redist_read(vcpu.index, offset, width, cpu),
        Device::Uart if offset == UARTDR => Some(Read::Value(load_input(width, vcpu, devices, cpu))),
        Device::Uart => Some(Read::Value(devices.uart.read(offset, width))),
        Device::Rtc => load_rtc(offset, width, machine, cpu),
        Device::WatchdogRefresh => Some(Read::Value(devices.watchdog.read(WatchdogFrame::Refresh, offset, width))),
        Device::WatchdogControl => Some(Read::Value(devices.watchdog.read(WatchdogFrame::Control, offset, width))),
        Device::Pci => Some(Read::Value(pci_read(Ipa(offset), width, machine, devices, cpu))),
    }
}

#[inline(never)]
fn load_rtc<C: Cpu>(offset: u64, width: Width, machine: &GuestMachine, cpu: &C) -> Option<Read> {
    machine.rtc.map(|rtc| Read::Value(width.truncate(rtc.read(offset, cpu.now()))))
}

/// Offset of the UART's data register.
const UARTDR: u64 = 0;

/// A load from `UARTDR`: the interrupt line may have fallen, and there may be room for more input.
#[inline(never)]
fn load_input<C: Cpu>(width: Width, vcpu: &Vcpu, devices: &mut Devices, cpu: &mut C) -> u64 {
    let was_full = devices.uart.room() == 0;
    let value = devices.uart.read(UARTDR, width);
    let level = devices.uart.level();
    let kicks = devices.vgic.carry_level(vcpu.index, layout::UART_INTID, level, cpu);
    cpu.kick(kicks);
    if was_full && devices.uart.room() != 0 {
        cpu.input_room();
    }
    value
}

#[inline(never)]
fn store<C: Cpu>(
    (ipa, access): (Ipa, Access),
    general: &mut General,
    vcpu: &Vcpu,
    machine: &GuestMachine,
    devices: &Locked<C>,
    cpu: &mut C,
) -> Accessed {
    let Some((device, offset)) = find(ipa, machine) else {
        return between((ipa, access), general, vcpu, machine, devices, cpu);
    };
    let (width, value) = (access.width(), access.width().truncate(general.get(access.register())));
    let mut sent = None;
    let mut devices = devices.lock();
    let kicks = match device {
        Device::Distributor => devices.vgic.dist_write(vcpu.index, offset, (width, value), cpu),
        Device::Redistributors => devices.vgic.redist_write(vcpu.index, offset, (width, value), cpu),
        Device::Uart => {
            let kicks;
            (kicks, sent) = store_uart(offset, width, value, vcpu, &mut devices, cpu);
            Some(kicks)
        }
        Device::WatchdogRefresh | Device::WatchdogControl => {
            let refresh = matches!(device, Device::WatchdogRefresh);
            let of = if refresh { WatchdogFrame::Refresh } else { WatchdogFrame::Control };
            Some(store_watchdog((of, offset), width, value, vcpu, &mut devices, cpu))
        }
        // It cannot be set.
        Device::Rtc => Some(VcpuSet::EMPTY),
        Device::Pci => Some(pci_write(Ipa(offset), (width, value), vcpu, machine, &mut devices, cpu)),
    };
    drop(devices);
    let Some(kicks) = kicks else {
        return Accessed::Nothing;
    };
    if !kicks.is_empty() {
        cpu.kick(kicks);
    }
    // No lock is held: this may take as long as the terminal does.
    if let Some(byte) = sent {
        cpu.transmit(byte);
    }
    cpu.advance();
    Accessed::Done
}

#[inline(never)]
fn store_watchdog<C: Cpu>(
    (frame, offset): (WatchdogFrame, u64),
    width: Width,
    value: u64,
    vcpu: &Vcpu,
    devices: &mut Devices,
    cpu: &mut C,
) -> VcpuSet {
    let now = cpu.now().wrapping_sub(devices.virtual_offset);
    devices.watchdog.write(frame, offset, width, value, now);
    // What is due by now is for the EL2 timer to find, which can also end the VM.
    let kicks = devices.update_watchdog(vcpu.index).union(devices.vgic.flush_lr(vcpu.index, cpu));
    cpu.deadlines_changed(vcpu, devices.watchdog_deadline());
    kicks
}

fn store_uart<C: Cpu>(
    offset: u64,
    width: Width,
    value: u64,
    vcpu: &Vcpu,
    devices: &mut Devices,
    cpu: &mut C,
) -> (VcpuSet, Option<u8>) {
    let (was_full, level) = (devices.uart.room() == 0, devices.uart.level());
    let sent = devices.uart.write(offset, width, value);
    // The end of a loopback (UARTCR.LBE): what was held back may come.
    if was_full && devices.uart.room() != 0 {
        cpu.input_room();
    }
    // As after most characters.
    if devices.uart.level() == level {
        return (VcpuSet::EMPTY, sent);
    }
    let level = devices.uart.level();
    (devices.vgic.carry_level(vcpu.index, layout::UART_INTID, level, cpu), sent)
}

/// Tells whether something of PCI is at an address: the frame for messages, or configuration space.
#[inline(never)]
fn is_pci(ipa: Ipa, machine: &GuestMachine) -> bool {
    layout::PCI_CONFIG.contains(ipa) || machine.messages && layout::V2M.contains(ipa)
}

#[inline(never)]
fn pci_read<C: Cpu>(ipa: Ipa, width: Width, machine: &GuestMachine, devices: &Devices, cpu: &mut C) -> u64 {
    match ipa.0.checked_sub(layout::PCI_CONFIG.start.0) {
        Some(offset) => config_read(offset, width, machine, devices, cpu),
        None => v2m::read(ipa.0 - layout::V2M.start.0, width),
    }
}

#[inline(never)]
fn pci_write<C: Cpu>(
    ipa: Ipa,
    (width, value): (Width, u64),
    vcpu: &Vcpu,
    machine: &GuestMachine,
    devices: &mut Devices,
    cpu: &mut C,
) -> VcpuSet {
    let kicks = if let Some(offset) = ipa.0.checked_sub(layout::PCI_CONFIG.start.0) {
        let changed = config_write(offset, (width, value), machine, devices, cpu);
        changed.map(|face| devices.update_face(machine, face))
    } else {
        // A guest writes where its devices do.
        let intid = v2m::write(ipa.0 - layout::V2M.start.0, width, value);
        intid.map(|intid| devices.vgic.pulse(vcpu.index, intid))
    };
    kicks.unwrap_or(VcpuSet::EMPTY).union(devices.vgic.flush_lr(vcpu.index, cpu))
}

/// Reads configuration space by ECAM: all ones where there is no function, and across words.
fn config_read<C: Cpu>(offset: u64, width: Width, machine: &GuestMachine, devices: &Devices, cpu: &mut C) -> u64 {
    let place = place_in_word(offset, width);
    let Some((place, function)) = place.and_then(|place| Some((place, devices.functions.get(place.index)?))) else {
        return u64::MAX;
    };
    let word = function.read(place.register, |register| match machine.face(place.index) {
        Some(face) => virtio::config_word(register, machine.faces[face].back_level()),
        None => cpu.config_read(place.index, register),
    });
    u64::from(word >> place.shift)
}

/// Writes configuration space by ECAM. Returns the face whose Command register was written.
fn config_write<C: Cpu>(
    offset: u64,
    (width, value): (Width, u64),
    machine: &GuestMachine,
    devices: &mut Devices,
    cpu: &mut C,
) -> Option<usize> {
    let place = place_in_word(offset, width)?;
    let function = devices.functions.get_mut(place.index)?;
    let mask = (width.truncate(u64::MAX) << place.shift & 0xffff_ffff) as u32;
    let value = (value << place.shift & 0xffff_ffff) as u32;
    let through = function.through(place.register) & mask;
    if through != 0 {
        cpu.config_write(place.index, place.register, (value, through));
    }
    let has_command = function.write(place.register, value, mask);
    let face = machine.face(place.index).filter(|_| has_command);
    if has_command && face.is_none() {
        cpu.set_command(place.index, function.physical_command());
    }
    face
}

/// An access that lies within a word of a function.
#[derive(Clone, Copy)]
struct Place {
    /// Which of the guest's functions.
    index: usize,
    register: u16,
    /// The access's lowest bit in the word.
    shift: u32,
}

/// Finds an access's place, if it is in a word of what may be a function.
fn place_in_word(offset: u64, width: Width) -> Option<Place> {
    let register = (offset & 0xfff) as u16;
    let function = Function(u16::try_from(offset >> 12).ok()?);
    let is_inside = u64::from(register & 3) + width.bytes() <= 4;
    let index = guest_index(function).filter(|_| is_inside)?;
    Some(Place { index, register: register & 0xffc, shift: u32::from(register & 3) * 8 })
}
