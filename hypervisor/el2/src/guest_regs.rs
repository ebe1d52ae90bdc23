//! The EL1 and EL0 registers of the vCPU that this CPU runs: reset, exceptions, a look for reports.

use crate::sysreg::{isb, read_sysreg, write_sysreg};

/// Which optional registers the vCPU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Optional {
    /// Pointer authentication keys.
    pub pauth: bool,
    /// MTE registers.
    pub mte: bool,
    /// SVE registers.
    pub sve: bool,
    /// VDISR_EL2, behind DISR_EL1: every CPU that the vCPU may run on has FEAT_RAS.
    pub ras: bool,
}

/// `SCTLR_EL1` at reset: MMU and caches off, little endian, RES1 bits set (DDI0487 SCTLR_EL1, RES1 without the
/// features that define them; SPAN set, so that PAN is left alone).
const SCTLR_RESET: u64 = 0x30d0_0800;

macro_rules! zero {
    ($($name:literal)*) => { $( write_sysreg!($name, 0u64); )* };
}

/// Gives this CPU's EL1 and EL0 registers their values at the reset of a vCPU, floating point included.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a list of registers, with one claim about all of them")]
pub fn reset(optional: Optional) {
    // SAFETY: EL1's and EL0's own registers: EL2 is built for soft-float and uses none of them.
    unsafe {
        write_sysreg!("sctlr_el1", SCTLR_RESET);
        zero! {
            "cpacr_el1" "ttbr0_el1" "ttbr1_el1" "esr_el1" "afsr0_el1" "afsr1_el1" "far_el1"
            "mair_el1" "amair_el1" "vbar_el1" "contextidr_el1" "tpidr_el0" "tpidrro_el0" "tpidr_el1"
            "cntkctl_el1" "elr_el1" "spsr_el1" "sp_el0" "sp_el1" "par_el1" "csselr_el1" "mdscr_el1"
            "cntv_ctl_el0" "cntv_cval_el0" "cntp_ctl_el0"
        }
        if optional.pauth {
            zero! {
                "s3_0_c2_c1_0" "s3_0_c2_c1_1" "s3_0_c2_c1_2" "s3_0_c2_c1_3" "s3_0_c2_c2_0" "s3_0_c2_c2_1"
                "s3_0_c2_c2_2" "s3_0_c2_c2_3" "s3_0_c2_c3_0" "s3_0_c2_c3_1"
            }
        }
        if optional.mte {
            // RGSR_EL1, GCR_EL1, TFSR_EL1, TFSRE0_EL1.
            zero! { "s3_0_c1_c0_5" "s3_0_c1_c0_6" "s3_0_c5_c6_0" "s3_0_c5_c6_1" }
        }
        if optional.sve {
            zero! { "s3_0_c1_c2_0" }
        }
        // Walks are off in TCR_EL1 until no stage 1 is left that could be walked: see `traps::write`.
        isb();
        zero! { "tcr_el1" }
    }
    isb();
    reset_debug();
    clear_float(optional.sve);
}

/// Locks the debug registers and turns every breakpoint and watchpoint off: self-hosted debug is the guest's.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a list of registers, with one claim about all of them")]
fn reset_debug() {
    macro_rules! disable {
        ($count:expr, $register:literal, $($n:literal)*) => { $(
            if $n < $count {
                write_sysreg!(concat!("s2_0_c0_c", $n, "_", $register), 0u64);
            }
        )* };
    }
    let features = read_sysreg!("id_aa64dfr0_el1");
    let (breakpoints, watchpoints) = ((features >> 12 & 0xf) + 1, (features >> 20 & 0xf) + 1);
    // SAFETY: EL1's debug state; MDCR_EL2.TDE = 0 and EL2 enables no debug exceptions for itself.
    unsafe {
        // DBGBCR<n>_EL1 and DBGWCR<n>_EL1.
        disable!(breakpoints, "5", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        disable!(watchpoints, "7", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        // OSDLR_EL1 off; OSLAR_EL1 locked, as after a cold reset.
        write_sysreg!("s2_0_c1_c3_4", 0u64);
        write_sysreg!("s2_0_c1_c0_4", 1u64);
    }
}

/// Clears the FP, SIMD and SVE registers: whatever they held was another life's.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a list of registers, with one claim about all of them")]
fn clear_float(sve: bool) {
    macro_rules! each_register {
        ($format:literal, $($n:literal)*) => { concat!($(".inst ", $format, " | ", $n, "\n",)*) };
    }
    // SAFETY: guest registers only; CPTR_EL2 lets EL2 use them, TZ as the caller's `traps::load` set it.
    unsafe {
        if sve {
            // DUP Zn.B, #0; PFALSE Pn.B; WRFFR P0.B.
            core::arch::asm!(
                each_register!("0x2538c000", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31),
                each_register!("0x2518e400", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
                ".inst 0x25289000",
                options(nomem, nostack, preserves_flags)
            );
        } else {
            // MOVI Vn.2D, #0.
            core::arch::asm!(
                each_register!("0x6f00e400", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31),
                options(nomem, nostack, preserves_flags)
            );
        }
        // FPCR, FPSR.
        write_sysreg!("s3_3_c4_c4_0", 0u64);
        write_sysreg!("s3_3_c4_c4_1", 0u64);
    }
}

/// Returns `VBAR_EL1`.
pub fn vbar() -> u64 {
    read_sysreg!("vbar_el1")
}

/// Returns `SCTLR_EL1`.
pub fn sctlr() -> u64 {
    read_sysreg!("sctlr_el1")
}

/// Writes what an exception to EL1 leaves behind: `ESR_EL1`, `ELR_EL1`, `SPSR_EL1`, and `FAR_EL1` if it has one.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a list of registers, with one claim about all of them")]
pub fn write_exception(esr: u64, elr: u64, spsr: u64, far: Option<u64>) {
    // SAFETY: EL1's own registers.
    unsafe {
        write_sysreg!("esr_el1", esr);
        write_sysreg!("elr_el1", elr);
        write_sysreg!("spsr_el1", spsr);
        if let Some(far) = far {
            write_sysreg!("far_el1", far);
        }
    }
}

/// The EL1 registers that a crash report shows, with their names.
pub fn report() -> [(&'static str, u64); 10] {
    [
        ("sctlr_el1", read_sysreg!("sctlr_el1")),
        ("vbar_el1", read_sysreg!("vbar_el1")),
        ("esr_el1", read_sysreg!("esr_el1")),
        ("elr_el1", read_sysreg!("elr_el1")),
        ("spsr_el1", read_sysreg!("spsr_el1")),
        ("far_el1", read_sysreg!("far_el1")),
        ("sp_el1", read_sysreg!("sp_el1")),
        ("sp_el0", read_sysreg!("sp_el0")),
        ("ttbr0_el1", read_sysreg!("ttbr0_el1")),
        ("ttbr1_el1", read_sysreg!("ttbr1_el1")),
    ]
}
