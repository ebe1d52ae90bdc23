//! The EL2 physical timer (CNTHP), and what a vCPU's virtual timer needs from EL2.

use crate::sysreg::{isb, read_sysreg, write_sysreg};

/// Arms this CPU's EL2 timer for `deadline` (physical count), or turns it off.
#[inline]
pub fn arm(deadline: Option<u64>) {
    if let Some(deadline) = deadline {
        write_sysreg!("cnthp_cval_el2", deadline);
    }
    write_sysreg!("cnthp_ctl_el2", deadline.is_some().into());
    isb();
}

/// Arms this CPU's EL2 timer for `deadline`, unless it is armed for an earlier time.
#[inline(never)]
pub fn arm_by(deadline: u64) {
    let is_armed = read_sysreg!("cnthp_ctl_el2") & 1 != 0;
    if !is_armed || read_sysreg!("cnthp_cval_el2") > deadline {
        arm(Some(deadline));
    }
}

/// Sets the difference between the physical counter and the virtual one that this CPU's guest sees.
pub fn set_virtual_offset(offset: u64) {
    write_sysreg!("cntvoff_el2", offset);
    isb();
}

/// Turns the guest's virtual timer off: before its vCPU starts, and when it stops.
pub fn stop_virtual() {
    write_sysreg!("cntv_ctl_el0", 0);
    isb();
}

/// Tells whether the running vCPU's virtual timer holds its line high: on, not masked, and due.
pub fn virtual_line() -> bool {
    // ISTATUS, IMASK, ENABLE (DDI0487 CNTV_CTL_EL0).
    read_sysreg!("cntv_ctl_el0") & 7 == 5
}

/// Returns the virtual count at which the running vCPU's virtual timer raises its line, or `None` if it never will,
/// or the line is high already.
pub fn virtual_deadline() -> Option<u64> {
    // ISTATUS, IMASK, ENABLE.
    (read_sysreg!("cntv_ctl_el0") & 7 == 1).then(|| read_sysreg!("cntv_cval_el0"))
}
