//! TLB maintenance for stage 2 (DDI0487 D8.17).
//!
//! Every operation works on the VMID in `VTTBR_EL2` of the CPU that issues it.

use crate::sysreg::{dsb_ish, dsb_ishst, isb};

/// Invalidates all that any CPU caches for the current VMID, both stages.
pub(crate) fn invalidate_vm() {
    dsb_ishst();
    // SAFETY: TLB maintenance only makes the hardware walk the tables again.
    unsafe { core::arch::asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) }
    dsb_ish();
    isb();
}

/// Invalidates what this CPU caches of stage 1 for the current VMID, and its instruction cache, which may go by
/// virtual address: another vCPU of the same VM comes to run here.
pub(crate) fn invalidate_local() {
    crate::sysreg::dsb_ishst();
    // SAFETY: maintenance only makes the hardware fetch and walk again.
    unsafe { core::arch::asm!("tlbi vmalle1", "ic iallu", options(nostack, preserves_flags)) }
    dsb_ish();
    isb();
}

/// Invalidates this CPU's instruction cache and TLBs for all VMs: at its start.
pub(crate) fn invalidate_all_local() {
    // SAFETY: maintenance only makes the hardware fetch and walk again.
    unsafe { core::arch::asm!("tlbi alle1", "ic iallu", options(nostack, preserves_flags)) }
    crate::sysreg::dsb_sy();
    isb();
}
