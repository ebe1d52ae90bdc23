//! The performance monitors of this CPU (PMUv3), which a vCPU that has the CPU to itself may have.
//!
//! The guest's registers are the CPU's. EL2 only stops them, and brings them back to reset.

use crate::sysreg::{isb, read_sysreg, write_sysreg};

/// `PMCR_EL0.P` and `C`: reset the event counters, and the cycle counter.
const CLEAR: u64 = 3 << 1;

/// Returns how many event counters there are: `PMCR_EL0.N`, which EL2 sees whatever `MDCR_EL2.HPMN` says.
pub(crate) fn counters() -> u64 {
    read_sysreg!("pmcr_el0") >> 11 & 0x1f
}

/// Stops all counters, and the interrupt: QEMU does not look at its line when `PMCR_EL0.E` changes.
pub fn stop() {
    write_sysreg!("pmcr_el0", 0);
    write_sysreg!("pmintenclr_el1", u64::MAX);
    isb();
}

/// Brings this CPU's, which has them, back to reset.
pub(crate) fn reset() {
    write_sysreg!("pmcr_el0", CLEAR);
    write_sysreg!("pmintenclr_el1", u64::MAX);
    write_sysreg!("pmcntenclr_el0", u64::MAX);
    write_sysreg!("pmovsclr_el0", u64::MAX);
    write_sysreg!("pmuserenr_el0", 0);
    write_sysreg!("pmccfiltr_el0", 0);
    for counter in 0..counters() {
        write_sysreg!("pmselr_el0", counter);
        isb();
        write_sysreg!("pmxevtyper_el0", 0);
    }
    write_sysreg!("pmselr_el0", 0);
    isb();
}

/// Silences what firmware may have left counting, if this CPU has a PMUv3.
pub(crate) fn init() {
    if !matches!(read_sysreg!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf) {
        reset();
    }
}
