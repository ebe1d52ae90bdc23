//! What the policy answers when it says no: the rule, the reason and what would change the answer.

use core::fmt;

use super::{Fault, Notices, Rule};

/// Why RAM has no tags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoTags {
    /// A CPU has no MTE2.
    Cpu,
    /// The node says `arm,no-mte`.
    Node,
    /// The boot's proof found none.
    Disproved,
}

/// Why a region is refused. Displayed as the `reason` of a console line; the region and the VM are named
/// by the line's other fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason<'a> {
    /// T1: something is wrong with the region's place.
    Fault(Fault<'a>),
    /// T1: marked and `arm,no-mte`.
    Contradiction,
    /// T1: the memory part of the proof failed.
    NotMemory,
    /// T2: the VM named claims it too.
    TwoOwners(&'a str),
    /// M3.
    RamWithoutTags(NoTags),
    /// C3.
    NoFwb,
    /// C5: no `assay,mte-capable`.
    Unmarked,
    /// C5: `arm,no-mte`.
    SaidIncapable,
    /// C5 after C2.
    Disproved,
    /// C5: R1 was allowed, but there is no FWB.
    HiddenNeedsFwb,
    /// C3 or C5: R2 or R3 was allowed, but this would be RAM of a guest with MTE.
    NotForRamWithMte,
    /// R1: the VM asks for MTE and for `mte-hidden`.
    MteAskedAndHidden,
    /// R3: no FEAT_MTE_PERM.
    NoMtePerm,
    /// T2: a coherent region cannot be between VMs.
    SharedIsRam,
    /// D1, D2: MMIO claimed as `ram` or `dax`.
    MmioAsMemory,
}

/// A region that a VM does not get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal<'a> {
    /// The rule that refused.
    pub rule: Rule,
    /// Why.
    pub reason: Reason<'a>,
    /// What to say beside it.
    pub notices: Notices,
}

impl<'a> Refusal<'a> {
    pub(super) fn new(rule: Rule, reason: Reason<'a>) -> Self {
        Self { rule, reason, notices: Notices::default() }
    }

    /// Returns what would change the answer.
    pub fn remedy(&self) -> &'static str {
        self.reason.remedy()
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fault(fault) => return fault.fmt(f),
            Self::TwoOwners(vm) => return write!(f, "VM {vm} claims the region too"),
            Self::Contradiction => "the node has both assay,mte-capable and arm,no-mte",
            Self::NotMemory => "the region did not behave as memory when it was probed",
            Self::RamWithoutTags(NoTags::Cpu) => {
                "the VM asks for MTE, but not every CPU has it (ID_AA64PFR1_EL1.MTE below 2)"
            }
            Self::RamWithoutTags(NoTags::Node) => "the VM asks for MTE, but the memory node has arm,no-mte",
            Self::RamWithoutTags(NoTags::Disproved) => {
                "the VM asks for MTE, but tags written to this RAM did not come back"
            }
            Self::NoFwb => "the CPUs have no FWB, so the guest could make its accesses non-cacheable",
            Self::Unmarked => "the node has no assay,mte-capable",
            Self::SaidIncapable => "the node has arm,no-mte",
            Self::Disproved => "the region is marked, but tags written to it did not come back",
            Self::HiddenNeedsFwb => "allow mte-hidden needs FWB, which the CPUs do not have",
            Self::NotForRamWithMte => {
                "a VM with mte = true must not find memory without tags as its RAM, whatever allow \
                 says"
            }
            Self::MteAskedAndHidden => {
                "the VM has mte = true, but allow = \"mte-hidden\" for the region needs mte = false"
            }
            Self::NoMtePerm => "allow no-tag-access needs MTE_PERM, which the CPUs do not have",
            Self::SharedIsRam => "only RAM is shared between VMs, and a coherent region has one owner",
            Self::MmioAsMemory => "device registers are not memory",
        })
    }
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoReg => "the node has no usable reg",
            Self::SeveralRegs => "the node's reg has more than one entry",
            Self::Unaligned => "start or length is not a multiple of 4 KiB",
            Self::Beyond(bits) => {
                return write!(f, "the region ends beyond the {bits} bits of physical addresses");
            }
            Self::Overlaps(other) => return write!(f, "the region overlaps {other}"),
            Self::OverlapsTagStorage(other) => {
                return write!(f, "the region overlaps the tag storage {other}");
            }
            Self::OverlapsReservation(other) => {
                return write!(f, "the region overlaps the firmware's reservation {other}");
            }
            Self::OverlapsAssay => "the region overlaps Assay itself",
            Self::PartlyInMemory => "the region is partly inside /memory",
            Self::Bar(fault) => return fault.fmt(f),
        })
    }
}

impl Reason<'_> {
    /// Returns what would change the answer.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.remedy(),
            Self::Contradiction => "delete the one that is wrong from the platform tree",
            Self::NotMemory => "check the region's address and length, and that its device is ready before boot",
            Self::TwoOwners(_) => "leave the region in one VM's manifest entry only",
            Self::RamWithoutTags(NoTags::Cpu) => "set mte = false, or use CPUs with MTE2",
            Self::RamWithoutTags(_) => "set mte = false, or give the VM other RAM",
            Self::NoFwb => {
                "allow el2-cache-maintenance or non-cacheable, use it as an aperture, or use CPUs \
                 with FWB"
            }
            Self::Unmarked => {
                "add assay,mte-capable to the node if every granule has tag storage; else use it as \
                 an aperture, or allow mte-hidden (with mte = false), no-tag-access or non-cacheable"
            }
            Self::SaidIncapable | Self::Disproved => {
                "use it as an aperture, or allow mte-hidden (with mte = false), no-tag-access or \
                 non-cacheable"
            }
            Self::HiddenNeedsFwb => "allow non-cacheable, or use it as an aperture",
            Self::NotForRamWithMte => "set mte = false, or use it as dax or as an aperture",
            Self::MteAskedAndHidden => "set mte = false, or remove mte-hidden from allow",
            Self::NoMtePerm => "allow mte-hidden (with mte = false) or non-cacheable instead",
            Self::SharedIsRam => "share a region of RAM, or claim the coherent region for one VM",
            Self::MmioAsMemory => "claim it with use = \"aperture\"",
        }
    }
}

impl Fault<'_> {
    fn remedy(self) -> &'static str {
        match self {
            Self::NoReg | Self::SeveralRegs => "give the node one reg entry with the region's real length",
            Self::Unaligned => "round the node's reg or assay,length to 4 KiB, inside the real memory",
            Self::Beyond(_) => "correct the node's reg, or use CPUs with more address bits",
            Self::Overlaps(_) => "correct the reg of the node that is wrong",
            Self::OverlapsTagStorage(_) | Self::OverlapsReservation(_) => {
                "correct the node's reg: such memory belongs to no VM"
            }
            Self::OverlapsAssay => "correct the node's reg, or load Assay elsewhere",
            Self::PartlyInMemory => "put the region wholly inside or wholly outside of what /memory describes",
            Self::Bar(fault) => fault.remedy(),
        }
    }
}
