//! Loads and stores of the VM's own devices that are neither interrupt controller nor UART.
//!
//! What a device's register does is the device's own matter. Here is the one way to it, and the interrupts and
//! deadlines that an access to it can change.

use assay_spec::addr::Ipa;
use assay_spec::exit::{Access, Width};
use assay_spec::frame::General;

use super::accessed::{Here, finish_load, step_over, stored};
use super::{Cpu, Locked};
use crate::layout;
use crate::pci::{Function, guest_index};
use crate::v2m;
use crate::vcpus::VcpuSet;
use crate::virtio;
use crate::vm::{Devices, GuestMachine, Vcpu};
use crate::watchdog::WatchdogFrame;

/// A device that is neither interrupt controller nor UART, by its frame of registers.
#[derive(Clone, Copy)]
pub enum Device {
    /// The real-time clock.
    Rtc,
    /// The watchdog's first frame.
    WatchdogRefresh,
    /// The watchdog's second frame.
    WatchdogControl,
    /// The PCI host bridge: the offset is the guest address.
    Pci,
}

/// No two devices are in the same 64 KiB.
pub(super) const GRANULE: u64 = 0x1_0000;

/// Tells whether another device of the VM's own may be at a guest address: there is none behind PCI's configuration space.
#[inline(always)]
pub fn is_possible(ipa: Ipa) -> bool {
    const END: u64 = layout::PCI_CONFIG.start.0 + layout::PCI_CONFIG.size;
    const {
        assert!(layout::WATCHDOG_CONTROL.start.0 < END && layout::WATCHDOG_REFRESH.start.0 < END);
        assert!(layout::RTC.start.0 < END && layout::V2M.start.0 < END);
    };
    ipa.0 < END
}

/// Finds which other device of the VM's own has an address, and the offset in its frame.
#[inline(always)]
pub fn find(ipa: Ipa, machine: &GuestMachine) -> Option<(Device, u64)> {
    const RTC: u64 = layout::RTC.start.0 / GRANULE;
    const REFRESH: u64 = layout::WATCHDOG_REFRESH.start.0 / GRANULE;
    const CONTROL: u64 = layout::WATCHDOG_CONTROL.start.0 / GRANULE;
    let (granule, offset) = (ipa.0 / GRANULE, ipa.0 % GRANULE);
    match granule {
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

/// Loads from a register of another device, and steps over the load.
#[inline(always)]
pub fn load<C: Cpu>(
    (device, offset): (Device, u64),
    access: Access,
    general: &mut General,
    (_, machine, devices): Here<'_, C>,
    cpu: &mut C,
) {
    let width = access.width();
    let value = match device {
        Device::Rtc => load_rtc(offset, width, machine, cpu),
        Device::WatchdogRefresh => devices.lock().watchdog.read(WatchdogFrame::Refresh, offset, width),
        Device::WatchdogControl => devices.lock().watchdog.read(WatchdogFrame::Control, offset, width),
        Device::Pci => pci_read(Ipa(offset), width, machine, devices, cpu),
    };
    finish_load(value, access, general, cpu);
}

#[inline(never)]
fn load_rtc<C: Cpu>(offset: u64, width: Width, machine: &GuestMachine, cpu: &C) -> u64 {
    machine.rtc.map_or(0, |rtc| width.truncate(rtc.read(offset, cpu.now())))
}

/// Stores to a register of another device, and steps over the store.
#[inline(always)]
pub fn store<C: Cpu>(
    (device, offset): (Device, u64),
    access: Access,
    general: &General,
    (vcpu, machine, devices): Here<'_, C>,
    cpu: &mut C,
) {
    let (width, value) = (access.width(), stored(access, general));
    let mut devices = devices.lock();
    let kicks = match device {
        Device::WatchdogRefresh | Device::WatchdogControl => {
            let refresh = matches!(device, Device::WatchdogRefresh);
            let of = if refresh { WatchdogFrame::Refresh } else { WatchdogFrame::Control };
            store_watchdog((of, offset), width, value, vcpu, &mut devices, cpu)
        }
        // It cannot be set.
        Device::Rtc => VcpuSet::EMPTY,
        Device::Pci => pci_write(Ipa(offset), (width, value), vcpu, machine, &mut devices, cpu),
    };
    drop(devices);
    step_over(kicks, cpu);
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

/// Tells whether something of PCI is at an address: the frame for messages, or configuration space.
#[inline(always)]
fn is_pci(ipa: Ipa, machine: &GuestMachine) -> bool {
    layout::PCI_CONFIG.contains(ipa) || machine.messages && layout::V2M.contains(ipa)
}

#[inline(never)]
fn pci_read<C: Cpu>(ipa: Ipa, width: Width, machine: &GuestMachine, devices: &Locked<C>, cpu: &mut C) -> u64 {
    match ipa.0.checked_sub(layout::PCI_CONFIG.start.0) {
        Some(offset) => config_read(offset, width, machine, &devices.lock(), cpu),
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
