//! The EL1 physical timer as a guest sees it: `CNTP_CTL_EL0`, `CNTP_CVAL_EL0`, `CNTP_TVAL_EL0`
//! (DDI0487, chapter "The Generic Timer in AArch64 state").
//!
//! EL2 traps these registers (`CNTHCTL_EL2.EL1PCEN` = 0) and keeps one of these a vCPU. It does not run a
//! timer: the caller asks for the deadline and lets a timer of EL2's stand in for it. `now` is always
//! `CNTPCT_EL0` as the guest reads it.

#[cfg(test)]
mod tests;

/// Which register of the timer an instruction names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// `CNTP_CTL_EL0`.
    Ctl,
    /// `CNTP_CVAL_EL0`.
    Cval,
    /// `CNTP_TVAL_EL0`.
    Tval,
}

/// `CNTP_CTL_EL0`.
const ENABLE: u64 = 1;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// One vCPU's physical timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhysTimer {
    /// ENABLE and IMASK; ISTATUS is computed.
    ctl: u64,
    cval: u64,
}

impl PhysTimer {
    /// Makes a timer as after a reset: disabled.
    pub const fn new() -> Self {
        Self { ctl: 0, cval: 0 }
    }

    /// Reads a register.
    ///
    /// Two values that the architecture leaves UNKNOWN while the timer is disabled are defined here:
    /// ISTATUS is 0, and TVAL counts as if it were enabled.
    pub fn read(&self, register: Register, now: u64) -> u64 {
        match register {
            Register::Ctl if self.is_expired(now) => self.ctl | ISTATUS,
            Register::Ctl => self.ctl,
            Register::Cval => self.cval,
            Register::Tval => self.cval.wrapping_sub(now) & 0xffff_ffff,
        }
    }

    /// Writes a register; ISTATUS and the upper half of TVAL are ignored.
    pub fn write(&mut self, register: Register, value: u64, now: u64) {
        match register {
            Register::Ctl => self.ctl = value & (ENABLE | IMASK),
            Register::Cval => self.cval = value,
            Register::Tval => self.cval = now.wrapping_add(sign_extend(value)),
        }
    }

    /// Returns the level of the timer's interrupt, PPI 14 (INTID 30).
    pub fn level(&self, now: u64) -> bool {
        self.ctl & IMASK == 0 && self.is_expired(now)
    }

    /// Returns the counter value from which on [`Self::level`] is true, or `None` if it never will be.
    ///
    /// It may lie in the past: the line is high then.
    pub fn deadline(&self) -> Option<u64> {
        (self.ctl & (ENABLE | IMASK) == ENABLE).then_some(self.cval)
    }

    /// The timer condition. CVAL and the counter are compared as unsigned numbers of 64 bits, so a CVAL
    /// beyond the counter's reach is simply far in the future.
    fn is_expired(&self, now: u64) -> bool {
        self.ctl & ENABLE != 0 && now >= self.cval
    }
}

/// Takes bits 31:0 as a signed number.
const fn sign_extend(value: u64) -> u64 {
    ((value & 0xffff_ffff) ^ 0x8000_0000).wrapping_sub(0x8000_0000)
}
