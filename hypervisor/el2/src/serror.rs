//! SErrors that come late: of what was written before, and reported when somebody else is on the CPU.
//!
//! EL2 runs with SErrors masked, so one that is pending is taken by the next entry to a guest, whichever that is.

use crate::probe;
use crate::sysreg::{dsb_sy, isb, read_sysreg};

/// `ISR_EL1.A`.
const PENDING: u64 = 1 << 8;

/// Waits for all that was accessed on this CPU so far, and takes the SError if one came of it. Returns whether.
pub fn drain() -> bool {
    dsb_sy();
    isb();
    let is_pending = read_sysreg!("isr_el1") & PENDING != 0;
    if is_pending {
        // SAFETY: the SError goes on at the end of the function, which touches no memory but the control word for
        // that.
        unsafe { probe::probe_serror() }
    }
    is_pending
}
