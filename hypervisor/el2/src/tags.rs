//! Allocation Tags from EL2: proving that memory keeps them (DDI0487 D10).
//!
//! Everything here works on memory that EL2's map has as Normal Tagged (`mmu::Kind::Tagged`), with
//! `SCTLR_EL2.ATA` = 1 and no checking (`TCF` = 0).

use core::arch::global_asm;
use core::mem::offset_of;

use assay_spec::addr::{PAGE_SIZE, Pa};

use crate::frames::Frames;
use crate::percpu::PerCpu;

/// What a page did with the tags that it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagProof {
    /// Every granule gave back its tag, and the data.
    Passed,
    /// Some granule gave back another tag.
    TagsLost,
    /// The data changed.
    DataLost,
    /// An access aborted.
    Aborted,
}

// tags_probe(x0 = page, x1 = seed) -> 0 kept, 1 tags lost, 2 data lost, 3 aborted.
// Data, then a tag for each of 256 granules, then clean and invalidate both to the PoC so that they come back
// from memory, then look at all of them. Neighbours get different tags, and so do pages of different seed.
global_asm!(
    ".section .text.tags, \"ax\"",
    ".arch_extension memtag",
    ".globl tags_probe",
    "tags_probe:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    mov   x3, #0",
    "1:  add   x4, x0, x3",
    "    add   x5, x4, x1",
    "    mvn   x6, x5",
    "    stp   x5, x6, [x4]",
    "    add   x7, x1, x3, lsr #4",
    "    eor   x7, x7, x3, lsr #8",
    "    and   x7, x7, #0xf",
    "    orr   x7, x4, x7, lsl #56",
    "    stg   x7, [x4]",
    "    add   x3, x3, #16",
    "    cmp   x3, #4096",
    "    b.lo  1b",
    "    dsb   sy",
    "    mov   x3, #0",
    "2:  add   x4, x0, x3",
    "    dc    cigdvac, x4",
    "    add   x3, x3, #16",
    "    cmp   x3, #4096",
    "    b.lo  2b",
    "    dsb   sy",
    "    mov   x3, #0",
    "    mov   x8, #0",
    "3:  add   x4, x0, x3",
    "    mov   x6, x4",
    "    ldg   x6, [x4]",
    "    add   x7, x1, x3, lsr #4",
    "    eor   x7, x7, x3, lsr #8",
    "    and   x7, x7, #0xf",
    "    ubfx  x6, x6, #56, #4",
    "    cmp   x6, x7",
    "    b.eq  4f",
    "    mov   x8, #1",
    "4:  add   x5, x4, x1",
    "    mvn   x6, x5",
    "    ldp   x9, x10, [x4]",
    "    cmp   x5, x9",
    "    ccmp  x6, x10, #0, eq",
    "    b.eq  5f",
    "    mov   x8, #2",
    "    b     6f",
    "5:  add   x3, x3, #16",
    "    cmp   x3, #4096",
    "    b.lo  3b",
    "6:  str   xzr, [x2, #{RECOVERY}]",
    "    mov   x0, x8",
    "    ret",
    "9:  mov   x0, #3",
    "    ret",
    RECOVERY = const offset_of!(PerCpu, recovery),
);

unsafe extern "C" {
    fn tags_probe(page: u64, seed: u64) -> u64;
}

/// Proves one page of free frames, and leaves its data and tags zero, unless an access aborted.
///
/// The frames must be mapped Tagged. `seed` varies the tags from page to page.
pub fn prove_page(frames: &mut Frames, page: u64, seed: u64) -> TagProof {
    let region = frames.region();
    let address = region.start.0 + page % (region.size / PAGE_SIZE) * PAGE_SIZE;
    // SAFETY: a page of frames that we hold exclusively; they hold no Rust object.
    unsafe { prove_mapped(address, seed) }
}

/// Proves the page at `address`, and zeroes its data and tags unless an access aborted.
///
/// # Safety
/// The page must be the caller's alone, hold no Rust object, and be mapped Tagged.
pub(crate) unsafe fn prove_mapped(address: u64, seed: u64) -> TagProof {
    // SAFETY: our caller's promise; aborts are recovered.
    let result = unsafe { tags_probe(address, seed) };
    if result != 3 {
        let part = assay_spec::addr::Region { start: Pa(address), size: PAGE_SIZE };
        // SAFETY: the same page; MTE2 is there, or the probe could not have got here.
        unsafe { crate::fill::zero(part, true) };
    }
    match result {
        0 => TagProof::Passed,
        1 => TagProof::TagsLost,
        2 => TagProof::DataLost,
        _ => TagProof::Aborted,
    }
}
