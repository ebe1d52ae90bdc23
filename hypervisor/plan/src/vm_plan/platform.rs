//! The devices of the platform tree that a VM gets.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::intid::IntId;

use crate::claims;
use crate::guest_tree::DeviceNode;
use crate::offers::{self, PlatformOffer};
use crate::platform::{Accesses, HostPlatform, PlatformDevice, Stream, Wire};
use crate::policy::Kind;
use crate::vm_tree::VmConfig;

/// A device that a VM is granted.
#[derive(Clone, Debug)]
pub struct Device<'a> {
    /// What the tree says of it.
    pub device: &'a PlatformDevice,
    offer: PlatformOffer,
    /// Its interrupts, and the guest's.
    pub lines: Vec<(Wire, IntId)>,
    /// What SMMUs know its accesses by; without any it makes none, or unchecked ones.
    pub streams: Vec<Stream>,
    /// Nothing checks its accesses, and the manifest says that this may be.
    pub is_unchecked: bool,
}

impl<'a> Device<'a> {
    /// Lists those of a VM whose claims are granted.
    pub(super) fn all(machine: &'a HostPlatform, vm: &VmConfig) -> Vec<Self> {
        let devices = claims::platform_devices(machine, vm);
        let (offers, lines) = (offers::platform(&devices).unwrap_or_default(), offers::lines(&devices));
        let of_one = |(device, offer): (&'a PlatformDevice, PlatformOffer)| {
            let line = |wire: Wire| lines.iter().find(|(known, _)| known.intid == wire.intid).copied();
            let lines = device.wires().filter_map(line).collect();
            let accesses = machine.accesses(device);
            let is_unchecked = accesses == Accesses::Unchecked;
            Self { device, offer, lines, streams: accesses.into_streams(), is_unchecked }
        };
        devices.into_iter().zip(offers).map(of_one).collect()
    }

    /// Iterates over its registers: what they are called, the pages, where the guest finds them, and what kind they are.
    pub(super) fn registers(&self) -> impl Iterator<Item = (String, Region<Pa>, Region<Ipa>, Kind)> {
        let kind = if self.device.write_combines { Kind::MmioWriteCombining } else { Kind::Mmio };
        let (path, is_one) = (&self.device.path, self.offer.pages.len() == 1);
        self.offer.pages.iter().enumerate().map(move |(index, (pages, place))| {
            let name = if is_one { path.clone() } else { format!("{path}/reg{index}") };
            (name, *pages, *place, kind)
        })
    }

    /// Returns its registers in the guest, in the order of its `reg`.
    pub fn guest_registers(&self) -> &[Region<Ipa>] {
        &self.offer.registers
    }

    /// What the guest's tree says of it.
    pub(super) fn node(&self) -> DeviceNode<'a> {
        let interrupts = self.lines.iter().map(|(wire, guest)| (*guest, wire.is_edge)).collect();
        DeviceNode { device: self.device, registers: self.offer.registers.clone(), interrupts }
    }
}
