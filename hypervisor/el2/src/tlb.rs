//! TLB maintenance for stage 2 (DDI0487 D8.17).
//!
//! Every operation works on the VMID in `VTTBR_EL2` of the CPU that issues it.

use crate::sysreg::{dsb_ish, dsb_ishst, dsb_sy, invalidate, isb};

/// Invalidates all that any CPU caches for the current VMID, both stages.
pub(crate) fn invalidate_vm() {
    dsb_ishst();
    invalidate!(tlbi vmalls12e1is);
    dsb_ish();
    isb();
}

/// Invalidates what this CPU caches of stage 1 for the current VMID, and its instruction cache, which may go by
/// virtual address: another vCPU of the same VM comes to run here.
pub(crate) fn invalidate_local() {
    dsb_ishst();
    invalidate!(tlbi vmalle1, ic iallu);
    dsb_ish();
    isb();
}

/// Invalidates this CPU's instruction cache and TLBs for all VMs: at its start.
pub(crate) fn invalidate_all_local() {
    invalidate!(tlbi alle1, ic iallu);
    dsb_sy();
    isb();
}
