//! What this CPU is: identification registers, entropy, counter, power.

use assay_spec::branch_history::Mitigation;
use assay_spec::hcr;

use crate::sysreg::{isb, read_sysreg, write_el2, write_sysreg};

/// The AArch64 identification registers, as `[CRm - 1][op2]` with op0 = 3, op1 = 0, CRn = 0.
pub type IdTable = [[u64; 8]; 7];

macro_rules! id_row {
    ($crm:literal) => {
        [
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_0")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_1")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_2")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_3")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_4")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_5")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_6")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_7")),
        ]
    };
}

/// Reads this CPU's identification registers. Unallocated ones read as zero (DDI0487 D24.3.1).
pub fn id_table() -> IdTable {
    [id_row!("1"), id_row!("2"), id_row!("3"), id_row!("4"), id_row!("5"), id_row!("6"), id_row!("7")]
}

/// Returns `MPIDR_EL1`.
pub fn mpidr() -> u64 {
    read_sysreg!("mpidr_el1")
}

/// Returns `MIDR_EL1`.
pub fn midr() -> u64 {
    read_sysreg!("midr_el1")
}

/// Returns `CTR_EL0`.
pub fn ctr() -> u64 {
    read_sysreg!("ctr_el0")
}

/// Tells whether this CPU has FEAT_MTE2.
pub fn has_mte2() -> bool {
    read_sysreg!("id_aa64pfr1_el1") >> 8 & 0xf >= 2
}

/// Tells whether this CPU has the LSE atomics (FEAT_LSE).
pub(crate) fn has_lse() -> bool {
    read_sysreg!("id_aa64isar0_el1") >> 20 & 0xf >= 2
}

/// Tells whether this CPU has the memory copy and set instructions (FEAT_MOPS).
pub(crate) fn has_mops() -> bool {
    read_sysreg!("s3_0_c0_c6_2") >> 16 & 0xf != 0
}

/// Tells whether this CPU has the CRC32 instructions.
#[inline]
pub(crate) fn has_crc32() -> bool {
    read_sysreg!("id_aa64isar0_el1") >> 16 & 0xf != 0
}

/// Tells whether this CPU has FEAT_RNG.
pub fn has_random() -> bool {
    read_sysreg!("id_aa64isar0_el1") >> 60 != 0
}

/// Returns 64 random bits by FEAT_RNG, or `None` without it or when it has none just now.
pub fn random() -> Option<u64> {
    if !has_random() {
        return None;
    }
    let (value, failed): (u64, u64);
    // SAFETY: RNDR exists (checked above); it changes nothing but its result and NZCV.
    unsafe {
        core::arch::asm!("mrs {}, s3_3_c2_c4_0", "cset {}, eq", out(reg) value, out(reg) failed, options(nomem, nostack));
    }
    (failed == 0).then_some(value)
}

/// Returns the physical counter.
#[inline(always)]
pub fn counter() -> u64 {
    isb();
    read_sysreg!("cntpct_el0")
}

/// Returns the counter's frequency in Hz, as firmware set it.
pub fn counter_frequency() -> u64 {
    read_sysreg!("cntfrq_el0")
}

/// Sets the registers of EL2 itself that no guest's configuration covers.
///
/// # Safety
/// There must be no guest on this CPU: stage 2 is off afterwards.
pub(crate) unsafe fn init_el2() {
    crate::switch::install_vectors(Mitigation::None);
    crate::guest_regs::note_debugger();
    crate::pmu::init();
    // SAFETY: nothing of a guest's is loaded, as our caller promises. IMO: physical interrupts are EL2's, also to wake it from WFI
    // before there is a guest.
    unsafe { write_el2!("hcr_el2", hcr::RW | hcr::IMO | hcr::FMO | hcr::AMO) }
    write_sysreg!("cntvoff_el2", 0);
    write_sysreg!("cnthp_ctl_el2", 0);
    // The physical EL1 timer is nobody's: guests have an emulated one.
    write_sysreg!("cntp_ctl_el0", 0);
    // Guests have the virtual one, each as it left it; firmware's, or what a reset left, would interrupt before there is one.
    write_sysreg!("cntv_ctl_el0", 0);
    isb();
}

/// Waits for an interrupt, which stays pending: EL2 runs with interrupts masked.
pub fn wait_for_interrupt() {
    aarch64_cpu::asm::wfi();
}

/// Stops this CPU for good.
pub fn park() -> ! {
    loop {
        aarch64_cpu::asm::wfi();
    }
}
