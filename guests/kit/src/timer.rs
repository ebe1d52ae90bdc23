//! The generic timer (DDI0487 D12): the counter, and the virtual and the physical timer.

use crate::{machine, sysreg};

/// CTL: the timer is on.
pub const ENABLE: u64 = 1;
/// CTL: it does not interrupt.
pub const IMASK: u64 = 2;
/// CTL: the condition is met.
pub const ISTATUS: u64 = 4;

/// One of the two timers that EL1 has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The virtual timer, `CNTV_*`.
    Virtual,
    /// The physical timer, `CNTP_*`.
    Physical,
}

impl Timer {
    /// Returns the interrupt.
    pub fn intid(self) -> u32 {
        match self {
            Self::Virtual => machine::machine().timer_virtual,
            Self::Physical => machine::machine().timer_physical,
        }
    }
    /// Returns the counter that this timer compares with.
    pub fn now(self) -> u64 {
        match self {
            Self::Virtual => now(),
            Self::Physical => sysreg::read!("cntpct_el0"),
        }
    }
    /// Reads the control register.
    pub fn control(self) -> u64 {
        match self {
            Self::Virtual => sysreg::read!("cntv_ctl_el0"),
            Self::Physical => sysreg::read!("cntp_ctl_el0"),
        }
    }
    /// Writes the control register.
    pub fn set_control(self, value: u64) {
        match self {
            Self::Virtual => sysreg::write!("cntv_ctl_el0", value),
            Self::Physical => sysreg::write!("cntp_ctl_el0", value),
        }
    }
    /// Reads the compare value.
    pub fn compare(self) -> u64 {
        match self {
            Self::Virtual => sysreg::read!("cntv_cval_el0"),
            Self::Physical => sysreg::read!("cntp_cval_el0"),
        }
    }
    /// Writes the compare value.
    pub fn set_compare(self, value: u64) {
        match self {
            Self::Virtual => sysreg::write!("cntv_cval_el0", value),
            Self::Physical => sysreg::write!("cntp_cval_el0", value),
        }
    }
    /// Reads the timer value: ticks until the deadline, 32 bits, signed.
    pub fn value(self) -> i32 {
        (match self {
            Self::Virtual => sysreg::read!("cntv_tval_el0"),
            Self::Physical => sysreg::read!("cntp_tval_el0"),
        }) as i32
    }
    /// Writes the timer value.
    pub fn set_value(self, ticks: i32) {
        let value = u64::from(ticks as u32);
        match self {
            Self::Virtual => sysreg::write!("cntv_tval_el0", value),
            Self::Physical => sysreg::write!("cntp_tval_el0", value),
        }
    }
    /// Sets the deadline `microseconds` from now and turns the timer on.
    pub fn arm(self, microseconds: u64) {
        self.set_compare(self.now().wrapping_add(ticks(microseconds)));
        self.set_control(ENABLE);
    }
    /// Turns the timer off.
    pub fn stop(self) {
        self.set_control(0);
    }
}

/// Returns the virtual counter.
pub fn now() -> u64 {
    sysreg::read!("cntvct_el0")
}

/// Returns the counter's frequency in Hz.
pub fn frequency() -> u64 {
    sysreg::read!("cntfrq_el0").max(1)
}

/// Returns how many ticks `microseconds` are.
pub fn ticks(microseconds: u64) -> u64 {
    (u128::from(microseconds) * u128::from(frequency()) / 1_000_000) as u64
}

/// Returns how many nanoseconds `ticks` are.
pub fn nanoseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(frequency())) as u64
}

/// Spins until `condition` holds, at most `limit_us` microseconds. Returns whether it held.
pub fn wait_for(limit_us: u64, mut condition: impl FnMut() -> bool) -> bool {
    let (start, limit) = (now(), ticks(limit_us));
    loop {
        if condition() {
            return true;
        }
        if now().wrapping_sub(start) > limit {
            return condition();
        }
        core::hint::spin_loop();
    }
}

/// Spins for `microseconds`.
pub fn delay(microseconds: u64) {
    wait_for(microseconds, || false);
}
