//! The host's real-time clock: a PL031 (Arm DDI 0224), read once.

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use crate::mmu::{self, Kind};
use crate::{mmio, probe};

/// Reads seconds since 1970 from the PL031 with these registers. `None` if they are not there, or it stands at 0.
pub fn seconds(registers: Region<Pa>) -> Option<u32> {
    let start = registers.start;
    if !mmio::is_usable(registers, 4) || !start.0.is_multiple_of(PAGE_SIZE) {
        return None;
    }
    mmu::add(Region { start, size: PAGE_SIZE }, Kind::Device).ok()?;
    // SAFETY: an aligned word, mapped just now as Device; no memory that Rust objects or a guest could be in. A read of
    // RTCDR changes nothing, and an abort is recovered.
    let seconds = unsafe { probe::probe_read(start.0) };
    (seconds != 0 && seconds != u32::MAX).then_some(seconds)
}
