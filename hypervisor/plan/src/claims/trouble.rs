//! What is wrong with a claim beside the policy's answer: its name, its place, or its device.

use alloc::vec::Vec;
use core::fmt;

use assay_spec::addr::Ipa;

use crate::pci::DeviceFault;
use crate::policy::Rule;
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
    /// The claim wants a device too, which it cannot have.
    Device {
        /// What the claim says.
        region: &'a str,
        /// The device.
        device: &'a str,
        /// Why not.
        fault: DeviceFault,
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

/// What occupies guest addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder<'a> {
    /// The first GiB, where the devices of a VM are.
    Devices,
    /// The VM's RAM.
    Ram,
    /// Another region that the VM claims.
    Region(&'a str),
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Devices => f.write_str("the devices below 0x40000000"),
            Self::Ram => f.write_str("the VM's RAM"),
            Self::Region(region) => write!(f, "region {region}"),
        }
    }
}

impl<'a> Trouble<'a> {
    /// Makes the trouble with a claim's device.
    pub(super) fn device(claim: &'a CoherentClaim, fault: DeviceFault) -> Self {
        Self::Device { region: &claim.region, device: claim.device.as_deref().unwrap_or_default(), fault }
    }

    /// Returns the rule that a `refused` line names.
    pub const fn rule(&self) -> Rule {
        match self {
            Self::Unknown { .. }
            | Self::Ambiguous { .. }
            | Self::Device { .. }
            | Self::SharedTwice { .. }
            | Self::SharedSize { .. }
            | Self::TooManySides { .. }
            | Self::TooManyDoorbells { .. } => Rule::V3,
            Self::Unaligned { .. } | Self::Taken { .. } | Self::NoRoom { .. } => Rule::V2,
        }
    }

    /// Returns what to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => {
                "correct the claim's `region`, or declare the region in the platform tree or an overlay"
            }
            Self::Ambiguous { .. } => "write the full path in the claim's `region`",
            Self::Device { fault, .. } => fault.remedy(),
            Self::SharedTwice { .. } => "leave one of the VM's claims of the region out",
            Self::SharedSize { .. } => "give the region the same size in all VMs that share it",
            Self::TooManySides { .. } => "share the region among at most 32 VMs",
            Self::TooManyDoorbells { .. } => "give at most 16 of the VM's shared regions a doorbell",
            Self::Unaligned { .. } => "give `ipa` as such a multiple, or leave it out",
            Self::Taken { .. } => "give another `ipa`, or leave it out",
            Self::NoRoom { ipa: Some(_), .. } => "give a lower `ipa`, or leave it out",
            Self::NoRoom { ipa: None, .. } => "claim less, give the VM less `memory`, or place the claims with `ipa`",
        }
    }

    /// Tells whether the claim names nothing: an error of the manifest whatever the machine can do.
    pub const fn is_bad_name(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Ambiguous { .. })
    }
}

impl fmt::Display for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { region, known } => {
                write!(f, "the platform has no coherent region {region}")?;
                list(f, if known.is_empty() { "" } else { "; it has " }, known)
            }
            Self::Ambiguous { region, paths } => {
                write!(f, "several coherent regions are named {region}")?;
                list(f, ": ", paths)
            }
            Self::Device { region, device, fault } => write!(f, "the device {device} of region {region} {fault}"),
            Self::SharedTwice { region } => write!(f, "the VM claims shared region {region} twice"),
            Self::SharedSize { region, size, vm, other } => {
                write!(f, "shared region {region} has {size:#x} bytes here and {other:#x} in VM {vm}")
            }
            Self::TooManySides { region } => {
                write!(f, "more than 32 VMs share region {region}")
            }
            Self::TooManyDoorbells { region } => {
                write!(f, "the doorbell of shared region {region} is the VM's 17th, and there are 16")
            }
            Self::Unaligned { region, ipa, align } => {
                write!(f, "the ipa {ipa} of region {region} is not a multiple of {align:#x} bytes")
            }
            Self::Taken { region, ipa, by } => {
                write!(f, "at the ipa {ipa} of region {region} lies {by}")
            }
            Self::NoRoom { region, size, ipa, bits } => {
                write!(f, "the {size:#x} bytes of region {region} do not fit")?;
                if let Some(ipa) = ipa {
                    write!(f, " at ipa {ipa}")?;
                }
                write!(f, " below the end of {bits} bits of guest addresses")
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, before: &str, names: &[&str]) -> fmt::Result {
    let mut separator = before;
    for name in names {
        write!(f, "{separator}{name}")?;
        separator = ", ";
    }
    Ok(())
}
