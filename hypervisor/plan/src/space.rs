//! A VM's address space: one list of what lies where.
//!
//! Deciding, printing, mapping, the monitor's `memory` and the guest's tree walk this list and nothing else. Another
//! kind of memory is another [`Backing`].

use alloc::borrow::Cow;
use alloc::vec::Vec;

use assay_model::doorbell::Side;
use assay_spec::addr::{BLOCK_2M, Ipa, Pa, Region};
use thiserror::Error;

use crate::pci::Address;
use crate::platform::CoherentNode;
use crate::policy::line::DecisionLine;
use crate::policy::{Attr, Decision, Proof, Use};
use crate::vm_tree::{FlashClaim, VmConfig};

/// What a backend has in front of another VM's RAM, as its own: Linux keeps its notes about a `pmem-region` there.
pub const HEAD: u64 = BLOCK_2M;

/// One range of guest addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping<'a> {
    /// What lines call it.
    pub name: Cow<'a, str>,
    /// Where the guest finds it.
    pub ipa: Region<Ipa>,
    /// As what the guest finds it.
    pub use_: Use,
    /// What the policy answered.
    pub decision: Decision,
    /// The proof that the policy was told.
    pub proof: Proof,
    /// What is behind it.
    pub backing: Backing<'a>,
}

/// What is behind a range of guest addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backing<'a> {
    /// RAM that the VM has alone, to be taken wherever some is free.
    Ram,
    /// A coherent region, and the PCI function that goes with it.
    Coherent {
        /// Its node.
        node: &'a CoherentNode,
        /// The function.
        device: Option<Address>,
    },
    /// RAM in the place of a flash.
    Flash(&'a FlashClaim),
    /// RAM that other VMs see too.
    Shared(Share<'a>),
    /// All RAM of another VM, which this one is a backend of, and RAM of this VM's own before it
    /// ([`HEAD`]).
    Lent(&'a VmConfig),
    /// A device's registers.
    Registers(Region<Pa>),
    /// The GIC's virtual CPU interface: each CPU finds its own there.
    Interface(Region<Pa>),
    /// What EL2 tells of stolen time.
    StolenTime,
}

/// Why a page of a mapping cannot leave its VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Stays {
    /// Others go on using it.
    #[error("it is memory between VMs, and stays: restart the machine without that memory")]
    Shared,
    /// Another VM decides, and what is in front of its RAM does not go without.
    #[error("it is the RAM of a VM that this one is a backend of: name that VM, with its own address")]
    Lent,
    /// What the file has there would be missing.
    #[error("it is a flash's, which is of no use with a hole: restart the machine without that memory")]
    Flash,
    /// It answers or not, as its device pleases.
    #[error("it is an aperture of the type Device, which is not used as memory: an abort there is the device's answer")]
    Aperture,
    /// Registers, and what EL2 tells the VM.
    #[error("it is no memory of the VM's")]
    NoMemory,
}

/// One VM's part in a region between VMs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share<'a> {
    /// Which part of it this is.
    pub side: Side,
    /// Whether the region has to come from memory with tags, since some side may reach them.
    pub tagged: bool,
    /// Whether the VM can ring and be rung.
    pub doorbell: bool,
    /// The other sides with a doorbell: number and VM.
    pub peers: Vec<(u8, &'a str)>,
}

impl<'a> Mapping<'a> {
    /// Returns the `decision` line, but for what no VM asks for: the GIC's interface, stolen time.
    pub fn line<'m>(&'m self, vm: &'m str) -> Option<DecisionLine<'m>> {
        let Self { name, ipa, use_, decision, proof, backing } = self;
        let is_asked = !matches!(backing, Backing::Interface(_) | Backing::StolenTime);
        is_asked.then_some(DecisionLine {
            vm,
            region: name,
            use_: *use_,
            ipa: *ipa,
            decision: *decision,
            proof: *proof,
        })
    }

    /// Tells whether it is RAM that is filled at each start: the VM's, and its flashes.
    pub fn is_filled(&self) -> bool {
        matches!(self.backing, Backing::Ram | Backing::Flash(_))
    }

    /// Returns the part of it that is the VM's own and in front of another VM's RAM, if there is one.
    pub fn head(&self) -> Option<Region<Ipa>> {
        matches!(self.backing, Backing::Lent(_)).then_some(Region { size: HEAD, ..self.ipa })
    }

    /// Returns the coherent region, if it is one.
    pub fn coherent(&self) -> Option<&'a CoherentNode> {
        match self.backing {
            Backing::Coherent { node, .. } => Some(node),
            _ => None,
        }
    }

    /// Tells why a page of it cannot leave the VM, unless it can.
    pub fn stays(&self) -> Option<Stays> {
        match self.backing {
            Backing::Coherent { .. } if self.decision.attr == Attr::DeviceNgnre => Some(Stays::Aperture),
            Backing::Ram | Backing::Coherent { .. } => None,
            Backing::Shared(_) => Some(Stays::Shared),
            Backing::Lent(_) => Some(Stays::Lent),
            Backing::Flash(_) => Some(Stays::Flash),
            Backing::Registers(_) | Backing::Interface(_) | Backing::StolenTime => Some(Stays::NoMemory),
        }
    }

    /// Returns the part in a region between VMs, if it is one.
    pub fn share(&self) -> Option<&Share<'a>> {
        match &self.backing {
            Backing::Shared(share) => Some(share),
            _ => None,
        }
    }
}

/// Returns the parts with a doorbell, in the order of their pages.
pub fn doorbells(space: &[Mapping<'_>]) -> Vec<Side> {
    let shares = space.iter().filter_map(Mapping::share);
    shares.filter(|share| share.doorbell).map(|share| share.side).collect()
}
