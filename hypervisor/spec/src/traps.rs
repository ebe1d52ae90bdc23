//! What makes a vCPU's instructions come to EL2 (DDI0487 D24.2).

/// Trap configuration of one vCPU. Constant while its VM runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapConfig {
    /// HCR_EL2.
    pub hcr: u64,
    /// HCRX_EL2, where there is one.
    pub hcrx: Option<u64>,
    /// CPTR_EL2, in the layout of E2H = 0.
    pub cptr: u64,
    /// MDCR_EL2 with HPMN = 0: the writer knows how many counters the CPU has, all of which are the guest's.
    pub mdcr: u64,
    /// CNTHCTL_EL2, in the layout of E2H = 0.
    pub cnthctl: u64,
    /// Fine-grained traps: 0 none; 1 HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2 exist and are to
    /// be 0 (HAFGRTR_EL2 too, with `fgt_amu`); 2 the same, and their second registers (FEAT_FGT2). Zero traps exactly
    /// what is not offered: the bits that guard features of Armv8.7 and later trap when they are 0.
    pub fgt: u8,
    /// HAFGRTR_EL2 exists too (FEAT_AMUv1 with FEAT_FGT).
    pub fgt_amu: bool,
    /// There is MPAM, which [`crate::hcr::mpam::hidden`] hides: otherwise a guest could join another's partition.
    pub mpam: bool,
}
