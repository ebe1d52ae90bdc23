//! The EL2 physical timer (CNTHP), and what a vCPU's virtual timer needs from EL2.

use crate::sysreg::{isb, read_sysreg, write_sysreg};

/// Arms this CPU's EL2 timer for `deadline` (physical count), or turns it off.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a list of registers, with one claim about all of them")]
#[inline]
pub fn arm(deadline: Option<u64>) {
    // SAFETY: this timer is EL2's own; it raises the hypervisor timer PPI and nothing else.
    unsafe {
        match deadline {
            Some(deadline) => {
                write_sysreg!("cnthp_cval_el2", deadline);
                write_sysreg!("cnthp_ctl_el2", 1u64);
            }
            None => write_sysreg!("cnthp_ctl_el2", 0u64),
        }
    }
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
    // SAFETY: only the guest's view of time depends on it.
    unsafe { write_sysreg!("cntvoff_el2", offset) }
    isb();
}

/// Turns the guest's virtual timer off: before its vCPU starts, and when it stops.
pub fn stop_virtual() {
    // SAFETY: only the guest on this CPU uses this timer, and it is not running.
    unsafe { write_sysreg!("cntv_ctl_el0", 0u64) }
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
