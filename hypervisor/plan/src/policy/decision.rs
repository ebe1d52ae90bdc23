//! What the policy answers when it says yes: attribute, execution, MTE, and the rule that said so.

use core::fmt;

use assay_spec::stage2_desc::Rights;

use super::Attr;

/// The rules, in the order of the table; the first match counts. V1 to V3 are refusals of a VM that are
/// not about a region and do not come from [`decide`](super::decide).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// A contradictory, misplaced or broken region: refused for everyone.
    T1,
    /// Claimed by two VMs: both refused.
    T2,
    /// RAM with tags: Normal WB.
    M1,
    /// RAM without tags for a VM without MTE: Normal WB.
    M2,
    /// RAM without tags for a VM with MTE: not given.
    M3,
    /// Coherent, marked, but the proof found no tags: goes on as unmarked. Only ever a notice.
    C2,
    /// Coherent, marked, no FWB, `ram` or `dax`: refused.
    C3,
    /// Coherent, marked, FWB: Normal WB.
    C1,
    /// Coherent, not usable as memory, `aperture`: Device-nGnRE.
    C4,
    /// Coherent, unmarked, `ram` or `dax`: refused.
    C5,
    /// MMIO: Device-nGnRE.
    D1,
    /// MMIO that may be write-combined: Normal-NC.
    D2,
    /// `mte-hidden`.
    R1,
    /// `non-cacheable`.
    R2,
    /// `no-tag-access`.
    R3,
    /// `assay,uniform-memory`.
    R4,
    /// `el2-cache-maintenance`.
    R5,
    /// Not enough CPUs.
    V1,
    /// Not enough memory.
    V2,
    /// A kernel, ramdisk or digest is wrong.
    V3,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::T1 => "T1",
            Self::T2 => "T2",
            Self::M1 => "M1",
            Self::M2 => "M2",
            Self::M3 => "M3",
            Self::C1 => "C1",
            Self::C2 => "C2",
            Self::C3 => "C3",
            Self::C4 => "C4",
            Self::C5 => "C5",
            Self::D1 => "D1",
            Self::D2 => "D2",
            Self::R1 => "R1",
            Self::R2 => "R2",
            Self::R3 => "R3",
            Self::R4 => "R4",
            Self::R5 => "R5",
            Self::V1 => "V1",
            Self::V2 => "V2",
            Self::V3 => "V3",
        })
    }
}

/// Whether the VM has MTE. It is the VM's state, not the region's: with `normal-wb-notag`, Normal-NC
/// and Device a VM with MTE still has no tags there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mte {
    /// The VM has MTE.
    Exposed,
    /// `HCR_EL2.ATA` = 0, `DCT` = 0, `TID5` = 1, `TID3` = 1 and ID registers without MTE.
    Hidden,
}

impl fmt::Display for Mte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exposed => "exposed",
            Self::Hidden => "hidden",
        })
    }
}

/// Something to be said at boot beside the decision. Displayed as the text of a console line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// C2, an error: what counted as marked has no tags.
    MarkDisproved,
    /// R2: what Normal-NC does not promise (DDI0487 B2.2.6, B2.12.2).
    AtomicsNotPromised,
    /// R3 with `dax` in a VM with MTE.
    HotPlugMakesRam,
    /// `exec` on a Device or Normal-NC mapping, or on memory between VMs.
    ExecHasNoEffect,
}

impl Notice {
    const ALL: [Self; 4] =
        [Self::MarkDisproved, Self::AtomicsNotPromised, Self::HotPlugMakesRam, Self::ExecHasNoEffect];

    /// Tells whether it is an error of the platform tree, not a warning.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::MarkDisproved)
    }

    /// Returns the rule it belongs to, if the decision's own rule does not say it already.
    pub const fn rule(self) -> Option<Rule> {
        match self {
            Self::MarkDisproved => Some(Rule::C2),
            Self::AtomicsNotPromised => Some(Rule::R2),
            Self::HotPlugMakesRam => Some(Rule::R3),
            Self::ExecHasNoEffect => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MarkDisproved => {
                "the tree says that the region has Allocation Tags, but they do not come back from \
                 memory: it counts as unmarked"
            }
            Self::AtomicsNotPromised => "the region is Non-cacheable: atomics and exclusives are not promised to work",
            Self::HotPlugMakesRam => {
                "hot-plugging the dax region as RAM would give a kernel with MTE memory whose tag \
                 accesses abort"
            }
            Self::ExecHasNoEffect => "exec has no effect: only Write-Back memory of one VM alone is executable",
        })
    }
}

/// A set of notices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Notices(u8);

impl Notices {
    /// Adds a notice.
    pub const fn add(&mut self, notice: Notice) {
        self.0 |= 1 << notice as u8;
    }
    /// Tells whether a notice is in the set.
    pub const fn has(self, notice: Notice) -> bool {
        self.0 & 1 << notice as u8 != 0
    }
    /// Iterates over the notices.
    pub fn iter(self) -> impl Iterator<Item = Notice> {
        Notice::ALL.into_iter().filter(move |&notice| self.has(notice))
    }
}

/// What a VM gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The rule that decided.
    pub rule: Rule,
    /// The stage-2 memory type.
    pub attr: Attr,
    /// Whether the guest may execute from it.
    pub exec: bool,
    /// Whether it may write: always, but for memory that it shares and that the manifest lets it only read.
    pub rights: Rights,
    /// Whether the VM has MTE.
    pub mte: Mte,
    /// EL2 owes cache maintenance by address: it cleans to the PoC what it loads, and cleans and
    /// invalidates at hand-over and reclaim, since without FWB a guest may make its accesses
    /// non-cacheable (DDI0487 D8.6.5).
    pub el2_maintenance: bool,
    /// The memory has Allocation Tags, which EL2 zeroes before the VM gets it: tags are no part of the
    /// data and survive a data write (D10.3). Never set for memory that nobody vouched for.
    pub zero_tags: bool,
    /// What to say beside it.
    pub notices: Notices,
}
