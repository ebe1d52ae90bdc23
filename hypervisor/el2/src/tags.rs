//! Allocation Tags of free frames: proving that memory keeps them (DDI0487 D10).
//!
//! Frames of the tagged pool are mapped Normal Tagged, with `SCTLR_EL2.ATA` = 1 and no checking (`TCF` = 0).

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

/// Zeroes the frames' data and tags. The first page must have answered to [`write`].
pub fn clear(frames: &mut Frames) {
    if frames.pool() == Pool::Tagged {
        // SAFETY: frames that we hold exclusively, of the pool that is mapped Tagged on CPUs with MTE2; they hold no
        // Rust object.
        unsafe { crate::fill::zero(frames.region(), true) };
    }
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
