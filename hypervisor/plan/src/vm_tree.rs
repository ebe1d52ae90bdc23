//! The VM tree: which VMs there are to be, and of what.
//!
//! The device tree that a manifest was compiled into, or a platform's own `/chosen` written for Xen's
//! dom0less: the same words mean the same, and words without a counterpart here are named in a warning.
//! One VM that cannot be is refused by itself; the others are read on. What is read here are wishes:
//! whether the machine can grant them is decided elsewhere.

mod cells;
mod field;
mod flash;
mod ignored;
mod sched;
mod shared;
#[cfg(test)]
mod tests;
mod virtio;
mod vm;

use crate::fields;
use crate::gate::{Malformed, Node, Tree};
use crate::kernel::Format;
use crate::policy::{AllowSet, ProofAt, Rule, Use};
use crate::refusal::Refusal;
use alloc::string::String;
use alloc::vec::Vec;
use assay_model::digest::Digest;
use assay_model::life::OnCrash;
use assay_model::virtio::Kind;
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::cpu_id::PcpuId;
use thiserror::Error;
pub use vm::LINUX_COMMAND_LINE;

/// A VM tree as read.
#[derive(Debug, Default)]
pub struct VmTree {
    /// The VMs that can be tried, in the tree's order.
    pub vms: Vec<VmConfig>,
    /// The VMs that cannot.
    pub refused: Vec<Refusal>,
    /// What was not understood.
    pub warnings: Vec<Warning>,
    /// The digests of the bundle's other members.
    pub members: Vec<MemberDigest>,
    /// How the console shall look.
    pub console: Option<ConsoleStyle>,
}

/// How the console shall look, if not as it suits a person. The later one includes the earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConsoleStyle {
    /// The monitor answers with `key=value`.
    Keys,
    /// And guests' lines carry their VM's name even if there is only one VM.
    Prefix,
}

impl ConsoleStyle {
    fn named(word: &str) -> Option<Self> {
        match word {
            "keys" => Some(Self::Keys),
            "prefix" => Some(Self::Prefix),
            _ => None,
        }
    }
}

/// A VM as the manifest wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmConfig {
    /// The name: 1 to 32 letters, digits, `,` `.` `_` `+` `-` or `@`.
    pub name: String,
    /// The physical CPUs.
    pub cpus: CpuClaim,
    /// Whether it has its CPUs for itself.
    pub sched: Sched,
    /// The RAM in bytes, a multiple of 4 KiB.
    pub memory_bytes: u64,
    /// Where the guest finds it.
    pub memory_ipa: Ipa,
    /// Whether it is to have MTE.
    pub mte: bool,
    /// Whether it is to have the SBSA watchdog.
    pub watchdog: bool,
    /// Whether it is to have performance monitors.
    pub pmu: bool,
    /// What follows a crash.
    pub on_crash: OnCrash,
    /// After how many restarts in a row a crash is the end; `None` if never.
    pub max_restarts: Option<u32>,
    /// The kernel.
    pub kernel: Module,
    /// The ramdisk.
    pub ramdisk: Option<Module>,
    /// The kernel's command line.
    pub bootargs: String,
    /// The coherent regions it claims, in the manifest's order.
    pub coherent: Vec<CoherentClaim>,
    /// The PCI functions that it claims beside those of coherent regions, in the manifest's order.
    pub devices: Vec<String>,
    /// Its devices of the platform tree may have DMA that nothing checks (`unchecked-dma`). Its RAM is where the guest finds
    /// it in the machine, too.
    pub unchecked_dma: bool,
    /// Its flashes, in the manifest's order.
    pub flash: Vec<FlashClaim>,
    /// The regions that it shares with other VMs, in the manifest's order.
    pub shared: Vec<SharedClaim>,
    /// Its virtio devices whose backends are other VMs, in the manifest's order.
    pub virtio: Vec<VirtioClaim>,
}

impl VmConfig {
    /// Iterates over the names of the PCI functions that it claims: of coherent regions, then the others.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let of_regions = self.coherent.iter().filter_map(|claim| claim.device.as_deref());
        of_regions.chain(self.devices.iter().map(String::as_str))
    }

    /// Returns the bytes of memory that it has alone: its RAM and its flashes.
    pub fn own_bytes(&self) -> u64 {
        self.flash.iter().fold(self.memory_bytes, |sum, flash| sum.saturating_add(flash.size))
    }
}

/// Which physical CPUs a VM wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CpuClaim {
    /// So many, whichever.
    Count(usize),
    /// Those at these places in the order of `/cpus`.
    List(Vec<PcpuId>),
}

impl CpuClaim {
    /// Returns how many vCPUs that makes.
    pub const fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::List(list) => list.len(),
        }
    }
}

/// How a VM's vCPUs get physical CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sched {
    /// One CPU each, which is nobody else's.
    Dedicated,
    /// A share of the CPUs that no VM has for itself. A CPU that the VM lists is where the vCPU of the same
    /// place runs, and other VMs with shared CPUs may list it too.
    Shared {
        /// The VM's weight against the others, `1..=65535`.
        weight: u32,
        /// How much it may run at most.
        cap: Option<CapMicroseconds>,
    },
}

/// A limit on what a VM's vCPUs may run together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapMicroseconds {
    /// So many microseconds …
    pub budget: u32,
    /// … in each so many.
    pub period: u32,
}

/// A file that a VM starts from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Where it is.
    pub source: Source,
    /// What the tree says about its format.
    pub format: Option<Format>,
}

/// Where a file is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The bundle's member of this name.
    Member(String),
    /// In memory, where the boot loader put it.
    Address(Region<Pa>),
}

/// A VM's claim of a coherent region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoherentClaim {
    /// The region: a node's name without unit address, or its full path.
    pub region: String,
    /// As what the VM is to find it.
    pub use_: Use,
    /// The relaxations the VM accepts.
    pub allow: AllowSet,
    /// Whether it is to be executable.
    pub exec: bool,
    /// When it is to be proved.
    pub proof: ProofAt,
    /// Where it is to lie.
    pub ipa: Option<Ipa>,
    /// The device that it belongs to.
    pub device: Option<String>,
}

/// A VM's wish for memory in the place of a flash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlashClaim {
    /// Its name, as a shared region's.
    pub name: String,
    /// Where it is to lie.
    pub ipa: Ipa,
    /// Its length in bytes, a multiple of 4 KiB.
    pub size: u64,
    /// What it is filled with; nothing is zeros.
    pub file: Option<Source>,
    /// How the guest may write.
    pub access: FlashAccess,
    /// Whether the guest's tree describes it.
    pub cfi: bool,
}

/// How a guest may write to a flash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlashAccess {
    /// What it writes has no effect.
    ReadOnly,
    /// As to RAM.
    ReadWrite,
    /// By the commands of `assay_model::flash`.
    Commands,
}

impl FlashAccess {
    /// Reads the manifest's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "ro" => Some(Self::ReadOnly),
            "rw" => Some(Self::ReadWrite),
            "commands" => Some(Self::Commands),
            _ => None,
        }
    }
}

impl FlashClaim {
    /// Returns its place, which a VM that starts has room for.
    pub const fn place(&self) -> Region<Ipa> {
        Region { start: self.ipa, size: self.size }
    }
}

/// A VM's part in a region of RAM that several VMs see. The region is all claims of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedClaim {
    /// The region's name: 1 to 31 letters, digits, `,` `.` `_` `+` `-`, the first a letter.
    pub region: String,
    /// Its length in bytes, a multiple of 4 KiB; the same in all claims of the region.
    pub size: u64,
    /// Where it is to lie.
    pub ipa: Option<Ipa>,
    /// Whether the VM may only read.
    pub read_only: bool,
    /// Whether the VM can ring the others, and be rung.
    pub doorbell: bool,
}

/// A virtio device whose backend is another VM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtioClaim {
    /// Its name, as a shared region's.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The VM that is its backend.
    pub backend: String,
}

/// What the VM tree says about one member of the bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberDigest {
    /// The member's name.
    pub name: String,
    /// Its length and sum.
    pub digest: Digest,
}

/// Something in the tree that has no effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The node's path.
    pub node: String,
    /// The property without a counterpart; `None` if it is the node itself.
    pub property: Option<String>,
    /// What that means for the VM.
    pub reason: &'static str,
}

/// Why a tree is no VM tree at all.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum VmTreeError {
    /// There is nothing to read.
    #[error("the tree has no /chosen node; give the VM tree that the manifest compiles into")]
    NoChosen,
    /// The list of the bundle's members cannot be read, so that nothing in it can be trusted.
    #[error("{0}; build the bundle again")]
    Members(#[from] Malformed),
}

impl VmTree {
    /// Finds a member's digest.
    pub fn digest(&self, member: &str) -> Option<Digest> {
        let found = self.members.iter().find(|one| one.name == member);
        found.map(|one| one.digest)
    }

    /// Returns how the console shall look by this tree or by the words `assay.console=…` of Assay's own arguments.
    pub fn console(&self, arguments: &str) -> Option<ConsoleStyle> {
        let words = arguments.split_ascii_whitespace().filter_map(|word| word.strip_prefix("assay.console="));
        words.filter_map(ConsoleStyle::named).chain(self.console).max()
    }
}

/// Reads a VM tree, or the `/chosen` node of a platform's.
///
/// # Errors
///
/// There is no `/chosen`, or the list of the bundle's members is damaged. What is wrong with one VM is in
/// [`VmTree::refused`].
pub fn parse(tree: &Tree<'_>) -> Result<VmTree, VmTreeError> {
    let chosen = tree.find("/chosen").ok_or(VmTreeError::NoChosen)?;
    let mut read = VmTree {
        console: chosen.str(fields::top::CONSOLE.property).ok().flatten().and_then(ConsoleStyle::named),
        members: match chosen.child("assay,members") {
            Some(list) => members(&list)?,
            None => Vec::new(),
        },
        ..VmTree::default()
    };
    for node in chosen.children() {
        if !node.is_compatible(&["xen,domain"]) {
            ignored::module_of_dom0(&node, &mut read.warnings);
            continue;
        }
        match vm::read(&node, &mut read.warnings) {
            Ok(vm) if read.vms.iter().any(|other| other.name == vm.name) => {
                read.refused.push(Refusal {
                    vm: vm.name,
                    region: None,
                    rule: Rule::V3,
                    reason: String::from("another VM has this name"),
                    remedy: "give each VM a name of its own",
                });
            }
            Ok(vm) => read.vms.push(vm),
            Err(refusal) => read.refused.push(*refusal),
        }
    }
    Ok(read)
}

fn members(list: &Node<'_, '_>) -> Result<Vec<MemberDigest>, Malformed> {
    let read = |node: Node<'_, '_>| {
        let missing = |property, wants| move || node.malformed(property, wants);
        let name = node.str("assay,member")?;
        let size = node.u64("assay,size")?;
        let crc32 = node.u32("assay,crc32")?;
        Ok(MemberDigest {
            name: String::from(name.ok_or_else(missing("assay,member", "must be a name"))?),
            digest: Digest {
                size: size.ok_or_else(missing("assay,size", "must be two cells"))?,
                crc32: crc32.ok_or_else(missing("assay,crc32", "must be one cell"))?,
            },
        })
    };
    list.children().map(read).collect()
}
