//! Allocation Tags of free frames: proving that memory keeps them (DDI0487 D10); and marks in them, by which other
//! memory shows that it has the same storage.
//!
//! Frames of the tagged pool are mapped Normal Tagged, with `SCTLR_EL2.ATA` = 1 and no checking (`TCF` = 0).

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::look::Look;

use crate::frames::{Frames, Pool};
use crate::probe::{self, look};

/// Fills a frame's first page with data that depends on its address, and with tags by `pattern`.
pub fn write(frames: &mut Frames, pattern: u64) -> Look {
    probed(frames, probe::probe_fill_tags, pattern)
}

/// Looks whether the page still holds what [`write`] wrote.
pub fn check(frames: &mut Frames, pattern: u64) -> Look {
    probed(frames, probe::probe_check_tags, pattern)
}

/// Writes a word and its complement to the start of one of the frames' pages and, where they have tags, the word to the
/// first of those, all the way to memory.
pub fn mark(frames: &mut Frames, page: u64, word: u64) -> Look {
    let probe = match frames.pool() {
        Pool::Tagged => probe::probe_mark_tags,
        Pool::Plain => probe::probe_mark,
    };
    // SAFETY: a page of frames that we hold exclusively, without Rust objects, mapped read-write, and Tagged with MTE2 if
    // it is of that pool; aborts are recovered.
    look(unsafe { probe(page_of(frames, page).start.0, word) })
}

/// Zeroes the data of one of the frames' pages, and its tags where it has any. It must have answered to [`write`] or
/// [`mark`].
pub fn clear(frames: &mut Frames, page: u64) {
    // SAFETY: a page of frames that we hold exclusively, mapped read-write, and Tagged with MTE2 if they are of that pool;
    // they hold no Rust object.
    unsafe { crate::fill::zero(page_of(frames, page), frames.pool() == Pool::Tagged) };
}

/// A page of the frames, whatever the number.
fn page_of(frames: &Frames, page: u64) -> Region<Pa> {
    let Region { start, size } = frames.region();
    Region { start: Pa(start.0 + page * PAGE_SIZE % size), size: PAGE_SIZE }
}

/// Memory that is not mapped Tagged is not touched: it aborts.
fn probed(frames: &mut Frames, probe: unsafe extern "C" fn(u64, u64) -> u64, pattern: u64) -> Look {
    if frames.pool() != Pool::Tagged {
        return Look::Aborted;
    }
    // SAFETY: a page of frames that we hold exclusively, without Rust objects, of the pool that is mapped Tagged on
    // CPUs with MTE2; aborts are recovered.
    look(unsafe { probe(frames.region().start.0, pattern) })
}
