//! The self-hosted debug registers of a vCPU (DDI0487 D2, D24.3). The OS Lock is not among them: it traps.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::sysreg::{isb, read_sysreg, write_sysreg};

/// Breakpoints, watchpoints and what belongs to them.
#[derive(Clone, Copy, Default)]
pub(super) struct Debug {
    /// DBGBVR<n>_EL1, DBGBCR<n>_EL1.
    breakpoints: [(u64, u64); 16],
    /// DBGWVR<n>_EL1, DBGWCR<n>_EL1.
    watchpoints: [(u64, u64); 16],
    mdscr: u64,
    mdccint: u64,
    claim: u64,
}

/// Applies `$operation!(n, register, register, value)` to each pair of registers that this CPU has.
macro_rules! each {
    ($operation:ident, $pairs:expr, $count:expr, $value:literal, $control:literal) => {
        each!(@ $operation, $pairs, $count, $value, $control, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $operation:ident, $pairs:expr, $count:expr, $value:literal, $control:literal, $($n:literal)*) => { $(
        if $n < $count {
            $operation!($pairs[$n], concat!("s2_0_c0_c", $n, "_", $value), concat!("s2_0_c0_c", $n, "_", $control));
        }
    )* };
}

macro_rules! save {
    ($pair:expr, $value:expr, $control:expr) => {
        $pair = (read_sysreg!($value), read_sysreg!($control))
    };
}

macro_rules! load {
    ($pair:expr, $value:expr, $control:expr) => {
        write_sysreg!($value, $pair.0);
        write_sysreg!($control, $pair.1)
    };
}

/// Returns how many breakpoints and watchpoints this CPU has.
fn counts() -> (usize, usize) {
    let features = read_sysreg!("id_aa64dfr0_el1");
    ((features >> 12 & 0xf) as usize + 1, (features >> 20 & 0xf) as usize + 1)
}

impl Debug {
    /// Reads this CPU's.
    pub(super) fn save(&mut self) {
        let (breakpoints, watchpoints) = counts();
        each!(save, self.breakpoints, breakpoints, "4", "5");
        each!(save, self.watchpoints, watchpoints, "6", "7");
        self.mdscr = read_sysreg!("mdscr_el1");
        self.mdccint = read_sysreg!("s2_0_c0_c2_0");
        // DBGCLAIMCLR_EL1 reads as the tags that are set.
        self.claim = read_sysreg!("s2_0_c7_c9_6") & CLAIM_TAGS;
    }

    /// Writes this CPU's, with nothing left of another vCPU's.
    pub(super) fn load(&self) {
        let (breakpoints, watchpoints) = counts();
        // OSDTRRX_EL1 and OSDTRTX_EL1 carry data to an external debugger and are nobody's to keep, nor are their
        // flags, which MDCCSR_EL0 shows and which can be written only while the OS Lock is locked.
        lock();
        isb();
        let external = read_sysreg!("mdscr_el1") & KEPT.load(Ordering::Relaxed);
        each!(load, self.breakpoints, breakpoints, "4", "5");
        each!(load, self.watchpoints, watchpoints, "6", "7");
        write_sysreg!("mdscr_el1", self.mdscr & !EXTERNAL | external);
        write_sysreg!("s2_0_c0_c2_0", self.mdccint);
        write_sysreg!("s2_0_c7_c9_6", CLAIM_TAGS & !self.claim);
        write_sysreg!("s2_0_c7_c8_6", self.claim);
        write_sysreg!("s2_0_c0_c0_2", 0);
        write_sysreg!("s2_0_c0_c3_2", 0);
        // OSDLR_EL1 off, and the OS Lock unlocked, as a vCPU that shares its CPU reads it.
        write_sysreg!("s2_0_c1_c3_4", 0);
        write_sysreg!("s2_0_c1_c0_4", 0);
    }
}

/// Looks whether an external debugger is attached to this CPU before its first guest: then its fields of MDSCR_EL1 are
/// its own for good. Otherwise a guest that may lock the OS Lock may write them, and they are reset like all others.
pub(crate) fn note_debugger() {
    lock();
    isb();
    if read_sysreg!("mdscr_el1") & HALTING != 0 {
        KEPT.store(EXTERNAL & !FULL, Ordering::Relaxed);
    }
}

/// Which fields of MDSCR_EL1 are kept whichever vCPU comes.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// MDSCR_EL1.HDE, which is EDSCR's: halting debug is on.
const HALTING: u64 = 1 << 14;

/// Locks the OS Lock (OSLAR_EL1), as after a cold reset.
pub(super) fn lock() {
    write_sysreg!("s2_0_c1_c0_4", 1);
}

/// Fields of MDSCR_EL1 that are EDSCR's while the OS Lock is locked: TFO, RXfull, TXfull, RXO, TXU, INTdis, TDA, SC2,
/// HDE, ERR. They are an external debugger's.
const EXTERNAL: u64 = 7 << 29 | 3 << 26 | 3 << 22 | 1 << 21 | 1 << 19 | 1 << 14 | 1 << 6;
/// RXfull and TXfull.
const FULL: u64 = 3 << 29;

/// DBGCLAIMSET_EL1 and DBGCLAIMCLR_EL1: the CLAIM field.
const CLAIM_TAGS: u64 = 0xff;
