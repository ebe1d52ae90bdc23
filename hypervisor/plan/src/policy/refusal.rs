//! What the policy answers when it says no: the rule and the reason. (The words are in `causes`.)

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
    /// T1: marked, and the node named has `arm,no-mte` for the same memory.
    ContradictedBy(&'a str),
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
    /// C5: the node named has `arm,no-mte` for the same memory.
    SaidIncapableBy(&'a str),
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
pub struct Denied<'a> {
    /// The rule that refused.
    pub rule: Rule,
    /// Why.
    pub reason: Reason<'a>,
    /// What to say beside it.
    pub notices: Notices,
}

impl<'a> Denied<'a> {
    pub(super) fn new(rule: Rule, reason: Reason<'a>) -> Self {
        Self { rule, reason, notices: Notices::default() }
    }
}
