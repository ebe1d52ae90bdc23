//! The proof of memory: which pages are looked at, and in which order.
//!
//! Storage that is missing, too small, or behind two addresses shows when all pages are written before the first is
//! read. So one proof is of all regions together: what one region's page overwrites of another's shows too. Before it,
//! regions are looked at for marks in RAM ([`Marks`]): one that is RAM is not written at all.

mod marks;
mod sample;
#[cfg(test)]
mod tests;

pub use marks::{Found, Markable, Marks};
pub use sample::Sample;

use alloc::vec::Vec;
use assay_spec::look::Look;

/// The memory to look at, a region by its place in the list that [`run`] is given.
pub trait Memory {
    /// Writes a page, so that its data and tags are like no other page's of any region.
    fn write(&mut self, region: usize, page: u64) -> Look;
    /// Looks whether a page still holds that.
    fn check(&mut self, region: usize, page: u64) -> Look;
    /// Clears a page, its tags too. Its region has not aborted.
    fn clear(&mut self, region: usize, page: u64);
    /// Tells whether an access to the region has aborted late, and not as an abort.
    fn is_late(&mut self, region: usize) -> bool;
}

/// Looks at the sampled pages of all regions, and returns what each has shown: the first thing that is not good.
/// A region that has aborted is not touched again.
pub fn run<M: Memory>(samples: &[Sample], memory: &mut M) -> Vec<Look> {
    let mut looks: Vec<Look> = samples.iter().map(|_| Look::Good).collect();
    for act in [M::write, M::check] {
        for (region, (sample, look)) in samples.iter().zip(&mut looks).enumerate() {
            if *look == Look::Good {
                let found = sample.pages().map(|page| act(memory, region, page)).find(|look| *look != Look::Good);
                *look = if memory.is_late(region) { Look::Aborted } else { found.unwrap_or(Look::Good) };
            }
        }
    }
    for (region, (sample, look)) in samples.iter().zip(&mut looks).enumerate() {
        if *look != Look::Aborted {
            sample.pages().for_each(|page| memory.clear(region, page));
            if memory.is_late(region) {
                *look = Look::Aborted;
            }
        }
    }
    looks
}

/// What is written to a page, from its number in the machine: the pages of any two addresses differ in nearly every
/// tag and word. (The finaliser of SplitMix64: each bit of the number changes half of the bits.)
pub const fn pattern(page: u64) -> u64 {
    let mixed = (page ^ page >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
