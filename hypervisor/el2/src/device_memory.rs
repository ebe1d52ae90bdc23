//! Frames that a device reads and writes by itself: tables and queues of an SMMU or an ITS.

use core::sync::atomic::{AtomicU64, Ordering};

use assay_spec::addr::{Pa, Region};

use crate::frames::{self, Frames};
use crate::sysreg::dsb_sy;

/// Bytes that all devices have so.
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Returns how many bytes tables and queues of devices take.
pub fn all_bytes() -> u64 {
    BYTES.load(Ordering::Relaxed)
}

/// Frames that are a device's for good, whoever drops this: it may have their address. EL2 keeps no Rust object in them.
pub(crate) struct DeviceMemory(Frames);

impl DeviceMemory {
    /// Takes `bytes`, rounded up to a power of two of pages and aligned to their own size, and clears them.
    pub(crate) fn take(bytes: u64) -> Option<Self> {
        let frames = frames::take(bytes)?;
        // SAFETY: frames hold no Rust object and are mapped read-write by EL2's map.
        unsafe { crate::fill::zero(frames.region(), false) };
        dsb_sy();
        let _ = BYTES.fetch_add(frames.region().size, Ordering::Relaxed);
        Some(Self(frames))
    }

    /// Returns where it is.
    pub(crate) fn region(&self) -> Region<Pa> {
        self.0.region()
    }

    /// Returns the address of the word at `offset`, a multiple of 8, if there is one.
    fn word(&self, offset: u64) -> Option<*mut u64> {
        let region = self.region();
        let fits = offset.is_multiple_of(8) && offset < region.size;
        fits.then_some((region.start.0 + offset) as *mut u64)
    }

    /// Loads the word at `offset` as the device may have written it; 0 where there is none.
    pub(crate) fn load(&self, offset: u64) -> u64 {
        // SAFETY: an aligned word in frames of ours that hold no Rust object; the device may write it at any time.
        self.word(offset).map_or(0, |word| unsafe { word.read_volatile() })
    }

    /// Stores a word at `offset`, before all stores that come after: the device may read it at once. Nothing where there is
    /// none.
    pub(crate) fn store(&self, offset: u64, value: u64) {
        if let Some(word) = self.word(offset) {
            // SAFETY: as in `load`.
            unsafe { word.write_volatile(value) };
            dsb_sy();
        }
    }
}
