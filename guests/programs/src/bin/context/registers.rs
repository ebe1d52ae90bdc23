//! The system registers that a guest can fill with anything without falling over itself.

use guest_kit::{Outcome, ensure, sysreg};

use crate::field;

/// Which VMs have a register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Pauth,
    Tags,
    /// So many breakpoints and more.
    Breakpoint(u64),
    /// So many watchpoints and more.
    Watchpoint(u64),
}

struct Register {
    name: &'static str,
    needs: Needs,
    /// What may be written.
    mask: u64,
    read: fn() -> u64,
    write: fn(u64),
}

macro_rules! registers {
    ($($name:literal $encoding:literal $needs:expr, $mask:expr;)*) => {
        [$(Register {
            name: $name,
            needs: $needs,
            mask: $mask,
            read: || sysreg::read!($encoding),
            write: |value| sysreg::write!($encoding, value),
        },)*]
    };
}

const ALL: u64 = !0;
/// A breakpoint's control with E = 0, and the fields that mean nothing without it.
const CONTROL: u64 = 0x1e0;
const ADDRESS: u64 = 0x0000_ffff_ffff_fff8;
const COUNT: usize = 44;

static REGISTERS: [Register; COUNT] = registers! {
    "TPIDR_EL0" "tpidr_el0" Needs::Nothing, ALL;
    "TPIDRRO_EL0" "tpidrro_el0" Needs::Nothing, ALL;
    "SP_EL0" "sp_el0" Needs::Nothing, ALL;
    "CONTEXTIDR_EL1" "contextidr_el1" Needs::Nothing, 0xffff_ffff;
    "FAR_EL1" "far_el1" Needs::Nothing, ALL;
    "ESR_EL1" "esr_el1" Needs::Nothing, 0xffff_ffff;
    "AFSR0_EL1" "afsr0_el1" Needs::Nothing, ALL;
    "AFSR1_EL1" "afsr1_el1" Needs::Nothing, ALL;
    "AMAIR_EL1" "amair_el1" Needs::Nothing, ALL;
    "PAR_EL1" "par_el1" Needs::Nothing, 0x0000_ffff_ffff_f000;
    "CSSELR_EL1" "csselr_el1" Needs::Nothing, 0xf;
    "CNTKCTL_EL1" "cntkctl_el1" Needs::Nothing, 0x303;
    "MDCCINT_EL1" "mdccint_el1" Needs::Nothing, 0x6000_0000;
    "CNTP_CVAL_EL0" "cntp_cval_el0" Needs::Nothing, ALL;
    "APIAKeyLo" "s3_0_c2_c1_0" Needs::Pauth, ALL;
    "APIAKeyHi" "s3_0_c2_c1_1" Needs::Pauth, ALL;
    "APIBKeyLo" "s3_0_c2_c1_2" Needs::Pauth, ALL;
    "APIBKeyHi" "s3_0_c2_c1_3" Needs::Pauth, ALL;
    "APDAKeyLo" "s3_0_c2_c2_0" Needs::Pauth, ALL;
    "APDAKeyHi" "s3_0_c2_c2_1" Needs::Pauth, ALL;
    "APDBKeyLo" "s3_0_c2_c2_2" Needs::Pauth, ALL;
    "APDBKeyHi" "s3_0_c2_c2_3" Needs::Pauth, ALL;
    "APGAKeyLo" "s3_0_c2_c3_0" Needs::Pauth, ALL;
    "APGAKeyHi" "s3_0_c2_c3_1" Needs::Pauth, ALL;
    "RGSR_EL1" "s3_0_c1_c0_5" Needs::Tags, 0xffff0f;
    "GCR_EL1" "s3_0_c1_c0_6" Needs::Tags, 0x1ffff;
    "TFSR_EL1" "s3_0_c5_c6_0" Needs::Tags, 3;
    "TFSRE0_EL1" "s3_0_c5_c6_1" Needs::Tags, 1;
    "DBGBVR0_EL1" "dbgbvr0_el1" Needs::Breakpoint(1), ADDRESS;
    "DBGBCR0_EL1" "dbgbcr0_el1" Needs::Breakpoint(1), CONTROL;
    "DBGBVR1_EL1" "dbgbvr1_el1" Needs::Breakpoint(2), ADDRESS;
    "DBGBCR1_EL1" "dbgbcr1_el1" Needs::Breakpoint(2), CONTROL;
    "DBGBVR3_EL1" "dbgbvr3_el1" Needs::Breakpoint(4), ADDRESS;
    "DBGBCR3_EL1" "dbgbcr3_el1" Needs::Breakpoint(4), CONTROL;
    "DBGBVR5_EL1" "dbgbvr5_el1" Needs::Breakpoint(6), ADDRESS;
    "DBGBCR5_EL1" "dbgbcr5_el1" Needs::Breakpoint(6), CONTROL;
    "DBGWVR0_EL1" "dbgwvr0_el1" Needs::Watchpoint(1), ADDRESS;
    "DBGWCR0_EL1" "dbgwcr0_el1" Needs::Watchpoint(1), CONTROL;
    "DBGWVR1_EL1" "dbgwvr1_el1" Needs::Watchpoint(2), ADDRESS;
    "DBGWCR1_EL1" "dbgwcr1_el1" Needs::Watchpoint(2), CONTROL;
    "DBGWVR3_EL1" "dbgwvr3_el1" Needs::Watchpoint(4), ADDRESS;
    "DBGWCR3_EL1" "dbgwcr3_el1" Needs::Watchpoint(4), CONTROL;
    "TTBR1_EL1" "ttbr1_el1" Needs::Nothing, 0x00ff_0000_0000_0000;
    "MDSCR_EL1" "mdscr_el1" Needs::Nothing, 1 << 12;
};

/// Tells whether tags can be used.
pub fn has_tags() -> bool {
    field(sysreg::read!("id_aa64pfr1_el1"), 8) >= 2
}

fn is_here(register: &Register) -> bool {
    let debug = sysreg::read!("id_aa64dfr0_el1");
    match register.needs {
        Needs::Nothing => true,
        Needs::Pauth => {
            let (one, two) = (sysreg::read!("id_aa64isar1_el1"), sysreg::read!("s3_0_c0_c6_2"));
            field(one, 4) | field(one, 8) | field(two, 12) != 0
        }
        Needs::Tags => has_tags(),
        Needs::Breakpoint(count) => field(debug, 12) + 1 >= count,
        Needs::Watchpoint(count) => field(debug, 20) + 1 >= count,
    }
}

/// Returns a register's name.
pub fn name(index: usize) -> &'static str {
    REGISTERS.get(index).map_or("?", |register| register.name)
}

/// What was a register's value at the reset of a vCPU. CSSELR_EL1 and the like have no meaning of their own.
pub fn clear() -> Outcome {
    for register in REGISTERS.iter().filter(|register| is_here(register)) {
        let value = (register.read)();
        ensure!(value == 0, "{} is {:#x}", register.name, value);
    }
    let claims = sysreg::read!("dbgclaimclr_el1") & 0xff;
    ensure!(claims == 0, "DBGCLAIMCLR_EL1 is {:#x}", claims);
    Ok(())
}

/// What the registers hold, and the debug claim tags after them.
pub type Values = [u64; COUNT + 1];

fn values() -> Values {
    let mut values = [0; COUNT + 1];
    for (value, register) in values.iter_mut().zip(&REGISTERS) {
        if is_here(register) {
            *value = (register.read)();
        }
    }
    values[COUNT] = sysreg::read!("dbgclaimclr_el1");
    values
}

/// Fills the registers. Returns what they hold then.
pub fn fill(seed: u64) -> Values {
    for (index, register) in REGISTERS.iter().enumerate() {
        if is_here(register) {
            let value = (seed + index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (register.write)((value ^ value >> 32) & register.mask);
        }
    }
    sysreg::write!("dbgclaimclr_el1", 0xff);
    sysreg::write!("dbgclaimset_el1", (seed ^ seed >> 8) & 0xff);
    values()
}

/// Returns which register does not hold what it held.
pub fn differs(expected: &Values) -> Option<usize> {
    let now = values();
    now.iter().zip(expected).position(|(now, then)| now != then)
}

/// Clears what would disturb this CPU's further work.
pub fn restore() {
    for register in REGISTERS.iter().filter(|register| is_here(register)) {
        (register.write)(0);
    }
}
