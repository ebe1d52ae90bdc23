//! What is wrong with a claim beside the policy's answer: its name, its place, or its device.

use alloc::vec::Vec;
use core::fmt;

use assay_spec::addr::{Ipa, Region};

use super::{PlatformFault, VirtioFault};
use crate::pci::DeviceFault;
use crate::vm_tree::CoherentClaim;

/// Why a claim cannot be granted. Displayed as the `reason` of a `refused` line with `region=-`; the text names
/// the claim by its `region`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble<'a> {
    /// No node has this name or path.
    Unknown {
        /// What the claim says.
        region: &'a str,
        /// What it could say.
        known: Vec<&'a str>,
    },
    /// Several nodes have this name.
    Ambiguous {
        /// What the claim says.
        region: &'a str,
        /// The nodes' paths.
        paths: Vec<&'a str>,
    },
    /// The claim says `memory`, and a node has that name.
    CalledMemory {
        /// The node's path.
        path: &'a str,
    },
    /// The VM wants a device that it cannot have.
    Device {
        /// The region that it goes with, as the claim says.
        region: Option<&'a str>,
        /// The device.
        device: &'a str,
        /// Why not.
        fault: DeviceFault,
    },
    /// The VM wants a device of the platform tree that it cannot have.
    Platform {
        /// What the manifest calls it.
        device: &'a str,
        /// Why not.
        fault: PlatformFault<'a>,
    },
    /// Before each start of the VM a function would be reset that another VM has memory of.
    Disturbs {
        /// What the claim says.
        region: &'a str,
        /// The other VM.
        vm: &'a str,
    },
    /// The VM has two claims of one shared region.
    SharedTwice {
        /// The region.
        region: &'a str,
    },
    /// Another VM shares the region with another size.
    SharedSize {
        /// The region.
        region: &'a str,
        /// What this VM says, in bytes.
        size: u64,
        /// The other VM.
        vm: &'a str,
        /// What that one says, in bytes.
        other: u64,
    },
    /// More VMs share the region than its doorbells can tell apart.
    TooManySides {
        /// The region.
        region: &'a str,
    },
    /// The VM wants more doorbells than there are interrupts for.
    TooManyDoorbells {
        /// The first region without one.
        region: &'a str,
    },
    /// A virtio device cannot be.
    Virtio {
        /// The device.
        device: &'a str,
        /// The VM that is to be its backend.
        backend: &'a str,
        /// Why not.
        fault: VirtioFault<'a>,
    },
    /// The VM is the backend of more devices than there are PCI functions for.
    TooManyServed {
        /// How many functions it would have, of the machine and of these devices.
        functions: usize,
    },
    /// The VM's RAM is where its devices are.
    RamOverDevices {
        /// Its `memory-ipa`.
        ipa: Ipa,
        /// Its length in bytes.
        size: u64,
        /// The devices.
        device: Region<Ipa>,
    },
    /// The VM's RAM cannot be at the guest's addresses in the machine.
    Identity {
        /// Its `memory-ipa`.
        ipa: Ipa,
        /// Its length in bytes.
        size: u64,
        /// What is there.
        there: Ground<'a>,
    },
    /// The VM's RAM is beyond what the CPUs can address.
    RamBeyond {
        /// Its `memory-ipa`.
        ipa: Ipa,
        /// Its length in bytes.
        size: u64,
        /// Bits of a guest address.
        bits: u8,
    },
    /// A flash is smaller than its file.
    FlashFile {
        /// The flash.
        region: &'a str,
        /// Its length in bytes.
        size: u64,
        /// The file's.
        file: u64,
    },
    /// A flash has a file, and the kernel goes there too.
    FlashTwice {
        /// The flash.
        region: &'a str,
        /// Where the kernel goes.
        kernel: Ipa,
    },
    /// `ipa` is not a multiple of what it has to be.
    Unaligned {
        /// What the claim says.
        region: &'a str,
        /// Its `ipa`.
        ipa: Ipa,
        /// 4 KiB, or with a device the size of the region's BAR in the guest.
        align: u64,
    },
    /// At `ipa` there is something else.
    Taken {
        /// What the claim says.
        region: &'a str,
        /// Its `ipa`.
        ipa: Ipa,
        /// What is there.
        by: Holder<'a>,
    },
    /// From `ipa` on, or if the VM leaves the choice anywhere, there is not room for the region.
    NoRoom {
        /// What the claim says.
        region: &'a str,
        /// Its length in bytes.
        size: u64,
        /// Its `ipa`, if it has one.
        ipa: Option<Ipa>,
        /// Bits of a guest address.
        bits: u8,
    },
}

/// What is where a VM's RAM has to be in the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground<'a> {
    /// No memory, or not everywhere.
    NoMemory,
    /// What of the machine is called so.
    Of(&'a str),
    /// The RAM of this VM, which has to be there too.
    Vm(&'a str),
}

impl fmt::Display for Ground<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("the machine has no memory there, or not so much"),
            Self::Of(name) => write!(f, "{name} is there"),
            Self::Vm(vm) => write!(f, "so has that of VM {vm}"),
        }
    }
}

/// What occupies guest addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder<'a> {
    /// Devices of the VM, which are there.
    Devices(Region<Ipa>),
    /// The VM's RAM.
    Ram,
    /// Another region that the VM claims.
    Region(&'a str),
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Devices(place) => write!(f, "the VM's devices ({} to {})", place.start, place.end()),
            Self::Ram => f.write_str("the VM's RAM"),
            Self::Region(region) => write!(f, "region {region}"),
        }
    }
}

impl<'a> Trouble<'a> {
    /// Makes the trouble with a claim's device.
    pub(super) fn device(claim: &'a CoherentClaim, fault: DeviceFault) -> Self {
        Self::Device { region: Some(&claim.region), device: claim.device.as_deref().unwrap_or_default(), fault }
    }

    /// Tells whether the claim names nothing: an error of the manifest whatever the machine can do.
    pub const fn is_bad_name(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Ambiguous { .. } | Self::CalledMemory { .. })
    }
}
