//! Allocation Tags from EL2: proving that memory keeps them (DDI0487 D10).
//!
//! Everything here works on memory that EL2's map has as Normal Tagged (`mmu::Kind::Tagged`), with
//! `SCTLR_EL2.ATA` = 1 and no checking (`TCF` = 0).

use assay_spec::addr::{PAGE_SIZE, Pa};

use crate::frames::Frames;
use crate::probe;

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
    let result = unsafe { probe::probe_tags(address, seed) };
    if result != probe::ABORTED {
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
