//! SErrors that come late: of what was written before, and reported when somebody else is on the CPU.
//!
//! EL2 runs with SErrors masked, so one that is pending is taken by the next entry to a guest, whichever that is.

use core::arch::global_asm;
use core::mem::offset_of;

use crate::percpu::PerCpu;
use crate::sysreg::{dsb_sy, isb, read_sysreg};

/// `ISR_EL1.A`.
const PENDING: u64 = 1 << 8;

unsafe extern "C" {
    fn serror_take();
}

/// Waits for all that was accessed on this CPU so far, and takes the SError if one came of it. Returns whether.
pub fn drain() -> bool {
    dsb_sy();
    isb();
    let is_pending = read_sysreg!("isr_el1") & PENDING != 0;
    if is_pending {
        // SAFETY: the SError goes on at the end of the function, which touches no memory but the control word for
        // that.
        unsafe { serror_take() }
    }
    is_pending
}

// One that is pending is taken at the ISB (DDI0487 D1.3.6), with or without FEAT_RAS, and also if it cannot be
// synchronised by ESB. The vector returns with SErrors masked.
global_asm!(
    ".section .text.serror, \"ax\"",
    ".globl serror_take",
    "serror_take:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    msr   daifclr, #4",
    "    isb",
    "    msr   daifset, #4",
    "    str   xzr, [x2, #{RECOVERY}]",
    "9:  ret",
    RECOVERY = const offset_of!(PerCpu, recovery),
);
