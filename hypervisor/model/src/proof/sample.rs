//! Which pages of a region are looked at.

use alloc::vec::Vec;

use assay_spec::sort;

/// One page in 2 MiB at least: tag storage may be missing for any of them.
const SPACING: u64 = 512;
/// The fewest pages of a region, and the most.
const FEWEST: u64 = 64;
const MOST: u64 = 4096;
/// The most of the pages that storage of a power of two, or a part of the region's size, would show twice.
const TURNS: u32 = 64;

/// The pages of one region that are looked at: evenly spread with both ends; those at each power of two from the
/// start and from the end; and those at a half, a quarter and so on of the region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    last: u64,
    evenly: u64,
    turns: Vec<u64>,
}

impl Sample {
    /// The sample of a region of so many pages, 1 at least.
    pub fn of(pages: u64) -> Self {
        let pages = pages.max(1);
        let last = pages - 1;
        let evenly = (last / SPACING + 2).clamp(FEWEST, MOST - 6 * u64::from(TURNS)).min(last + 1);
        let mut sample = Self { last, evenly, turns: Vec::new() };
        let offsets = (0..TURNS).flat_map(|turn| [1 << turn, pages >> turn]);
        let mut turns: Vec<u64> =
            offsets.filter(|offset| *offset <= last).flat_map(|at| [at, last - at, pages - at.max(1)]).collect();
        sort::by_key(&mut turns, |page| *page);
        turns.dedup();
        turns.retain(|page| !sample.is_evenly(*page));
        sample.turns = turns;
        sample
    }

    /// No pages, of a region that is not looked at.
    pub const fn none() -> Self {
        Self { last: 0, evenly: 0, turns: Vec::new() }
    }

    /// How many pages they are.
    pub fn count(&self) -> u64 {
        self.evenly + self.turns.len() as u64
    }

    /// The `n`th of the pages, each of which there is once. `n` is less than [`Self::count`].
    pub fn page(&self, n: u64) -> u64 {
        let turn = n.checked_sub(self.evenly).and_then(|turn| usize::try_from(turn).ok());
        turn.map_or_else(|| self.evenly(n), |turn| self.turns[turn])
    }

    /// The `n`th of the evenly spread pages. Regions end below 2^48, so that nothing overflows.
    fn evenly(&self, n: u64) -> u64 {
        self.last * n / (self.evenly - 1).max(1)
    }

    /// Tells whether a page is one of those.
    fn is_evenly(&self, page: u64) -> bool {
        let near = page * (self.evenly - 1) / self.last.max(1);
        [near, near + 1].into_iter().any(|n| n < self.evenly && self.evenly(n) == page)
    }
}
