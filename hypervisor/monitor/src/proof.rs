//! The boot-time proof that tags stick: RAM first, from free frames only.

use assay_el2::cpu;
use assay_el2::frames::{self, Frames, Pool};
use assay_el2::tags::{self, TagProof};
use assay_plan::policy::Proof;
use assay_spec::addr::PAGE_SIZE;

use crate::console::say;
use crate::memory::Pooled;

/// Pages looked at in each region: enough to see a machine that keeps no tags, or too few of them, and few
/// enough not to be felt at boot.
const PAGES: u64 = 64;

/// Proves the tag storage of RAM that the platform says has it, and prints the result of each region.
///
/// One failure is enough: from then on the machine counts as one without MTE.
pub(crate) fn ram(free: &[Pooled]) -> Proof {
    let mut result = Proof::Passed;
    let tagged = free.iter().filter(|(_, pool)| *pool == Pool::Tagged);
    for (region, _) in tagged {
        let before = cpu::counter();
        let mut pages = 0;
        let mut outcome = TagProof::Passed;
        for page in sampled(region.size / PAGE_SIZE, PAGES) {
            let Some(mut frames) = Frames::at(region.start.0 + page * PAGE_SIZE) else {
                continue;
            };
            outcome = tags::prove_page(&mut frames, 0, page);
            // A page that aborts or loses data is no memory, whatever else it is: nobody gets it.
            if matches!(outcome, TagProof::Passed | TagProof::TagsLost) {
                frames::give_back(frames);
            }
            pages += 1;
            if outcome != TagProof::Passed {
                result = Proof::FailedTags;
                break;
            }
        }
        let text = match outcome {
            TagProof::Passed => "passed",
            TagProof::TagsLost => "failed-tags",
            TagProof::DataLost | TagProof::Aborted => "failed-memory",
        };
        let ticks = cpu::counter().wrapping_sub(before);
        say!("proof region=memory@{:x} part=tags pages={pages} result={text} ticks={ticks}", region.start.0);
    }
    result
}

/// Page numbers, spread evenly over a region, both ends among them.
#[derive(Clone)]
pub(crate) struct Sampled {
    last: u64,
    wanted: u64,
    next: u64,
}

/// Spreads at most `most` page numbers over `count` pages.
pub(crate) fn sampled(count: u64, most: u64) -> Sampled {
    Sampled { last: count.saturating_sub(1), wanted: count.min(most), next: 0 }
}

impl Iterator for Sampled {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let n = self.next;
        if n >= self.wanted {
            return None;
        }
        self.next += 1;
        let steps = self.wanted.saturating_sub(1).max(1);
        Some(self.last / steps * n + self.last % steps * n / steps)
    }
}
