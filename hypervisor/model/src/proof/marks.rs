//! Whether a region's storage is RAM's too: marks in free RAM, looked for in the region before anything is written there.
//!
//! Looking only reads, so that what lies in RAM (EL2, firmware, the bundle) stays whole whatever the region is. The marks
//! stand so close that a run of consecutive pages, if it is RAM at all, has several; a region is looked at in such runs.

use alloc::vec::Vec;
use core::ops::Range;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::look::{Look, Seen};

/// The farthest apart that marks are, in pages, where RAM is small enough for [`MOST`].
const STRIDE: u64 = 128;
/// Marks in a run at least: what lies in RAM takes some of their places.
const IN_A_RUN: u64 = 4;
/// The most marks, and the runs of a region.
const MOST: u64 = 1 << 16;
const RUNS: u64 = 32;
/// Above the number of a page (52 bits of address) in a mark: that it is one, and the other by which it is tried.
const FIRST: u64 = 0xa5a << 52;
const SECOND: u64 = 0x5a5 << 52;

/// RAM that can be marked, and regions to look at, each by its place in the list that [`Marks::seek`] is given.
pub trait Markable {
    /// Marks a page of RAM, by its number in the machine, with a word in its data and, where it has tags, in them; if it
    /// is free.
    fn mark(&mut self, page: u64, word: u64);
    /// Clears a page of RAM that was marked, its tags too.
    fn clear(&mut self, page: u64);
    /// Reads what a page of a region has where a mark would be; `None` if that aborts.
    fn read(&mut self, region: usize, page: u64) -> Option<Seen>;
    /// Tells whether an access to the region has aborted late, and not as an abort.
    fn is_late(&mut self, region: usize) -> bool;
}

/// What looking at one region has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Good; data or tags lost if their storage is RAM's; or aborted.
    pub look: Look,
    /// The page of the region, from its start, and that of RAM by its number in the machine, that are one.
    pub pages: Option<(u64, u64)>,
}

/// Where the marks are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marks {
    stride: u64,
    ram: Vec<Range<u64>>,
}

impl Marks {
    /// The marks in these parts of RAM that show regions of so many pages.
    pub fn of(ram: &[Region<Pa>], regions: &[u64]) -> Self {
        let pages = |part: &Region<Pa>| part.start.0.div_ceil(PAGE_SIZE)..part.end().0 / PAGE_SIZE;
        let ram: Vec<_> = ram.iter().map(pages).collect();
        let all: u64 = ram.iter().map(|part| part.end.saturating_sub(part.start)).sum();
        let smallest = regions.iter().copied().min().unwrap_or(0);
        let near = (smallest / IN_A_RUN).clamp(1, STRIDE);
        // A power of two, rounded down for the region and up for RAM.
        let near = 1 << near.ilog2();
        Self { stride: near.max(all.div_ceil(MOST).next_power_of_two()), ram }
    }

    /// How far apart the marks are, in pages: a power of two.
    pub fn stride(&self) -> u64 {
        self.stride
    }

    /// The pages of RAM that are marked, by their number in the machine.
    pub fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        let numbers = |part: &Range<u64>| part.start.div_ceil(self.stride)..part.end.div_ceil(self.stride);
        self.ram.iter().flat_map(numbers).map(|number| number * self.stride)
    }

    /// The pages of a region of so many that are looked at: runs, evenly spread with both ends, or all.
    pub fn looked_at(&self, pages: u64) -> impl Iterator<Item = u64> + use<> {
        let run = (self.stride * IN_A_RUN).min(pages);
        let are_apart = pages > run * RUNS;
        let runs = if are_apart { RUNS } else { pages.div_ceil(run.max(1)) };
        (0..runs).flat_map(move |n| {
            let start = if are_apart { (pages - run) * n / (RUNS - 1) } else { n * run };
            start..(start + run).min(pages)
        })
    }

    /// Marks RAM, looks for the marks in regions of so many pages, and clears RAM.
    pub fn seek<M: Markable>(&self, regions: &[u64], memory: &mut M) -> Vec<Found> {
        self.pages().for_each(|page| memory.mark(page, FIRST | page));
        let look = |(region, pages): (usize, &u64)| {
            let found = self.looked_at(*pages).find_map(|page| self.look(region, page, memory));
            let good = Found { look: Look::Good, pages: None };
            if memory.is_late(region) { Found { look: Look::Aborted, pages: None } } else { found.unwrap_or(good) }
        };
        let found = regions.iter().enumerate().map(look).collect();
        self.pages().for_each(|page| memory.clear(page));
        found
    }

    /// Looks at a page of a region. Something that is like a mark is one if it turns into another with its page of RAM: what
    /// a guest has left in memory must not cost anybody the region.
    fn look<M: Markable>(&self, region: usize, page: u64, memory: &mut M) -> Option<Found> {
        let aborted = Found { look: Look::Aborted, pages: None };
        let Some(seen) = memory.read(region, page) else { return Some(aborted) };
        for look in [Look::DataLost, Look::TagsLost] {
            let word = |seen: &Seen| if look == Look::DataLost { seen.word() } else { seen.tags };
            let Some(of) = word(&seen).and_then(|word| self.page_of(word)) else { continue };
            memory.mark(of, SECOND | of);
            let Some(again) = memory.read(region, page) else { return Some(aborted) };
            if word(&again) == Some(SECOND | of) {
                return Some(Found { look, pages: Some((page, of)) });
            }
            memory.mark(of, FIRST | of);
        }
        None
    }

    /// The page that a word is the mark of.
    fn page_of(&self, word: u64) -> Option<u64> {
        let page = word ^ FIRST;
        let is_marked = page.is_multiple_of(self.stride) && self.ram.iter().any(|part| part.contains(&page));
        is_marked.then_some(page)
    }
}
