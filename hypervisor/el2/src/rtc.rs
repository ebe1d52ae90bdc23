//! The host's real-time clock: a PL031 (Arm DDI 0224), read once.

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use crate::claim::claim;
use crate::frames::Use;
use crate::mmu::{self, Kind};
use crate::{mmio, probe};

/// Reads seconds since 1970 from the PL031 with these registers. `None` if they are not there, or it stands at 0.
pub fn seconds(registers: Region<Pa>) -> Option<u32> {
    let start = registers.start;
    let page = Region { start, size: PAGE_SIZE };
    if !mmio::is_usable(registers, 4) || !claim(page, Use::Clock) {
        return None;
    }
    mmu::add(page, Kind::Device).ok()?;
    // SAFETY: an aligned word of a claimed page, mapped just now as Device: no Rust object and no guest is in it. A read of
    // RTCDR changes nothing, and an abort is recovered.
    let seconds = unsafe { probe::probe_read(start.0) };
    (seconds != 0 && seconds != u32::MAX).then_some(seconds)
}
