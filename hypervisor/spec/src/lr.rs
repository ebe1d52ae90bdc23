//! A List Register's contents, apart from its encoding, which GICv2 and GICv3 have each their own.

use crate::intid::IntId;

/// State of an interrupt in a List Register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LrState {
    /// The List Register is free.
    #[default]
    Invalid,
    /// Waiting to be acknowledged.
    Pending,
    /// Acknowledged, not yet deactivated.
    Active,
    /// Acknowledged, and pending once more.
    PendingActive,
}

/// One List Register (IHI 0069H §11.4.10 `ICH_LR<n>_EL2`, IHI 0048B §5.3.4 `GICH_LRn`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lr {
    /// The virtual interrupt.
    pub intid: IntId,
    /// Its state.
    pub state: LrState,
    /// Its priority: 0 is highest. GICv2 keeps the upper five bits.
    pub priority: u8,
    /// Group 1 (true) or Group 0.
    pub group1: bool,
    /// The physical interrupt that the guest's deactivation also deactivates.
    pub hw: Option<IntId>,
    /// Ask for a maintenance interrupt when the guest ends it. Never together with `hw`.
    pub eoi_maintenance: bool,
    /// GICv2 only: the vCPU that sent this SGI.
    pub source: u8,
}
