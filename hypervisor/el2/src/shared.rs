//! RAM between VMs: frames that the tables of several VMs may lead to, each with the rights that it was granted.
//!
//! Beside RAM that is lent (`GuestRam::lend`) it is the only memory that more than one VM can be granted. It is cleared
//! once, when it is made: no restart of a VM clears what its peers still use.

use assay_spec::addr::{Pa, Region};

use crate::frames::{Frames, Pool};
use crate::mmu::Hidden;
use crate::{cache, fill};

/// Frames that have become memory between VMs. EL2 keeps no Rust object in them and does not touch them again.
pub struct SharedRam {
    frames: Frames,
}

impl SharedRam {
    /// Makes `frames` memory between VMs, for good: clear, also of Allocation Tags where they are of the tagged
    /// pool, and with nothing of that left in the caches, which a guest's accesses may bypass without FWB.
    pub fn new(frames: Frames) -> Self {
        let region = frames.region();
        let tagged = frames.pool() == Pool::Tagged;
        // SAFETY: frames hold no Rust object and are mapped read-write, those of the tagged pool Tagged; they are
        // whole pages.
        unsafe { fill::zero(region, tagged) };
        if tagged {
            cache::clean_and_invalidate_tags(region);
        } else {
            cache::clean_and_invalidate(region);
        }
        Self { frames }
    }

    /// Lets the narrow map lack it (`mmu::leave_out`): EL2 has no business there.
    pub fn hide(&self) -> Hidden {
        Hidden(self.region())
    }

    /// Returns where it is.
    pub fn region(&self) -> Region<Pa> {
        self.frames.region()
    }
}
