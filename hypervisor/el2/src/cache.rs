//! Cache maintenance by VA, on EL2's identity map.

use assay_spec::addr::{Pa, Region};

use crate::cpu;
use crate::sysreg::{dsb_ish, dsb_sy, invalidate, isb};

macro_rules! by_line {
    ($range:expr, $line:expr, $operation:literal) => {{
        let line: u64 = $line;
        let end = $range.end().0;
        let mut address = $range.start.0 & !(line - 1);
        while address < end {
            // SAFETY: cleaning and invalidating to a point changes no data that a coherent observer sees.
            unsafe { core::arch::asm!(concat!($operation, ", {}"), in(reg) address, options(nostack, preserves_flags)) }
            address += line;
        }
    }};
}

/// Returns the bytes of the smallest data cache line (`CTR_EL0.DminLine`).
pub(crate) fn data_line() -> u64 {
    4 << (cpu::ctr() >> 16 & 0xf)
}

/// Cleans a range to the Point of Coherency.
pub fn clean_to_poc(range: Region<Pa>) {
    by_line!(range, data_line(), "dc cvac");
    dsb_sy();
}

/// Cleans and invalidates a range to the Point of Coherency.
pub fn clean_and_invalidate(range: Region<Pa>) {
    by_line!(range, data_line(), "dc civac");
    dsb_sy();
}

/// Cleans and invalidates a range's data and Allocation Tags to the Point of Coherency (`DC CIGDVAC`); needs MTE2.
pub(crate) fn clean_and_invalidate_tags(range: Region<Pa>) {
    by_line!(range, data_line(), "sys #3, c7, c14, #5");
    dsb_sy();
}

/// Makes what was written to a range fit for execution on every CPU (DDI0487 B2.7.4.2): clean to the PoU
/// where `CTR_EL0.IDC` = 0, invalidate the instruction caches where `CTR_EL0.DIC` = 0.
pub fn make_executable(range: Region<Pa>) {
    let ctr = cpu::ctr();
    if ctr >> 28 & 1 == 0 {
        by_line!(range, data_line(), "dc cvau");
    }
    // With IDC = 1 too: the stores have to be complete before any CPU fetches.
    dsb_ish();
    if ctr >> 29 & 1 == 0 {
        // All of it: a VIPT instruction cache may hold the range under the guest's own addresses.
        invalidate!(ic ialluis);
        dsb_ish();
    }
    isb();
}
