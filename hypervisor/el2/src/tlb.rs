//! TLB maintenance for stage 2 (DDI0487 D8.17).
//!
//! Every operation works on the VMID in `VTTBR_EL2` of the CPU that issues it.

use crate::sysreg::{dsb_ish, dsb_ishst, dsb_sy, invalidate, isb, read_sysreg, write_el2, write_sysreg};

/// `TCR_EL1.EPD0` and `EPD1`: no stage-1 walks.
const NO_WALKS: u64 = 1 << 7 | 1 << 23;

/// Has stage 1 of EL1 be on and walk nothing, until the caller has loaded `SCTLR_EL1` and then `TCR_EL1`, whose values are
/// returned in this order: otherwise some CPUs may speculate through one VM's stage 1 and another's stage 2, and keep what
/// they find (erratum 1319367 of Cortex-A72 and its like in others).
#[inline(always)]
pub(crate) fn stop_walks() -> (u64, u64) {
    let (tcr, sctlr) = (read_sysreg!("tcr_el1"), read_sysreg!("sctlr_el1"));
    write_sysreg!("tcr_el1", tcr | NO_WALKS);
    isb();
    write_sysreg!("sctlr_el1", sctlr | 1);
    isb();
    (sctlr, tcr)
}

/// Invalidates all that any CPU caches for the VMID in `vttbr`, both stages, whatever VM this CPU has loaded.
pub(crate) fn invalidate_vm_of(vttbr: u64) {
    let loaded = read_sysreg!("vttbr_el2");
    let (sctlr, tcr) = stop_walks();
    // SAFETY: no guest runs on this CPU until the register is as it was, and nothing walks these tables meanwhile: stage 1
    // is on and walks nothing. It only names the VMID.
    unsafe { write_el2!("vttbr_el2", vttbr) }
    isb();
    invalidate_vm();
    // SAFETY: as it was.
    unsafe { write_el2!("vttbr_el2", loaded) }
    isb();
    write_sysreg!("sctlr_el1", sctlr);
    isb();
    write_sysreg!("tcr_el1", tcr);
    isb();
}

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
