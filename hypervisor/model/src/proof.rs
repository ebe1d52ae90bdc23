//! The proof of memory: which pages are looked at, and in which order.
//!
//! Storage that is missing, too small, or behind two addresses shows when all pages are written before the first is
//! read. So one proof is of all regions together: what one region's page overwrites of another's shows too. Before it,
//! regions are looked at for marks in RAM ([`Marks`]): one that is RAM is not written at all.
//!
//! The boot proves regions of all VMs at once ([`run`]); what a VM has proved at each of its starts is looked at by the
//! same [`Run`], a few pages at a time ([`at_start`]).

pub mod at_start;
mod marks;
mod sample;
#[cfg(test)]
mod tests;

pub use marks::{Found, Markable, Marks};
pub use sample::Sample;

use alloc::vec::Vec;
use assay_spec::look::Look;

/// The memory to look at, a region by its place in the list that the proof is made of.
pub trait Memory {
    /// Writes a page, so that its data and tags are like no other page's of any region.
    fn write(&mut self, region: usize, page: u64) -> Look;
    /// Looks whether a page still holds that.
    fn check(&mut self, region: usize, page: u64) -> Look;
    /// Clears a page, its tags too. Its region has not aborted so far.
    fn clear(&mut self, region: usize, page: u64) -> Look;
    /// Tells whether an access to the region has aborted late, and not as an abort.
    fn is_late(&mut self, region: usize) -> bool;
}

/// The first thing of a region that is not good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What it was.
    pub look: Look,
    /// Which page has shown it; of an abort that came late, the last that was touched.
    pub page: u64,
}

/// What is done to all pages before the next is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Write,
    Check,
    Clear,
    Nothing,
}

/// A proof of some regions together, which goes on a few pages at a time. It allocates when it is made.
#[derive(Debug)]
pub struct Run {
    samples: Vec<Sample>,
    faults: Vec<Option<Fault>>,
    act: Act,
    region: usize,
    /// How many pages of the region are done.
    done: u64,
}

impl Run {
    /// A proof of the sampled pages of regions.
    pub fn new(samples: Vec<Sample>) -> Self {
        let faults = samples.iter().map(|_| None).collect();
        Self { samples, faults, act: Act::Write, region: 0, done: 0 }
    }

    /// Begins anew.
    pub fn restart(&mut self) {
        self.faults.fill(None);
        (self.act, self.region, self.done) = (Act::Write, 0, 0);
    }

    /// The sampled pages of the regions.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// What each region has shown so far.
    pub fn faults(&self) -> &[Option<Fault>] {
        &self.faults
    }

    /// Notes that a region cannot be touched at all.
    fn fail(&mut self, region: usize) {
        self.faults[region] = Some(Fault { look: Look::Aborted, page: 0 });
    }

    /// Does the next pages, at most `most`. Returns whether there are more. A region that has aborted is not touched
    /// again.
    pub fn step(&mut self, memory: &mut dyn Memory, most: u64) -> bool {
        let mut left = most.max(1);
        while left != 0 && self.act != Act::Nothing {
            left = left.saturating_sub(self.some(memory, left));
        }
        self.act != Act::Nothing
    }

    /// Does at most `most` pages of one region. Returns how many.
    fn some(&mut self, memory: &mut dyn Memory, most: u64) -> u64 {
        let Some((sample, fault)) = self.samples.get(self.region).zip(self.faults.get_mut(self.region)) else {
            self.act = match self.act {
                Act::Write => Act::Check,
                Act::Check => Act::Clear,
                Act::Clear | Act::Nothing => Act::Nothing,
            };
            (self.region, self.done) = (0, 0);
            return 0;
        };
        let is_skipped = match self.act {
            Act::Clear => fault.is_some_and(|fault| fault.look == Look::Aborted),
            _ => fault.is_some(),
        };
        if is_skipped || self.done == sample.count() {
            (self.region, self.done) = (self.region + 1, 0);
            return 0;
        }
        let (region, first) = (self.region, self.done);
        let end = sample.count().min(first.saturating_add(most));
        while self.done < end {
            let page = sample.page(self.done);
            self.done += 1;
            let look = match self.act {
                Act::Write => memory.write(region, page),
                Act::Check => memory.check(region, page),
                Act::Clear | Act::Nothing => memory.clear(region, page),
            };
            if look != Look::Good {
                *fault = Some(Fault { look, page });
                break;
            }
        }
        if memory.is_late(region) {
            *fault = Some(Fault { look: Look::Aborted, page: sample.page(self.done - 1) });
        }
        self.done - first
    }
}

/// Looks at the sampled pages of all regions, and returns what each has shown.
pub fn run(samples: Vec<Sample>, memory: &mut dyn Memory) -> Vec<Option<Fault>> {
    let mut run = Run::new(samples);
    while run.step(memory, u64::MAX) {}
    run.faults
}

/// What is written to a page, from its number in the machine: the pages of any two addresses differ in nearly every
/// tag and word. (The finaliser of SplitMix64: each bit of the number changes half of the bits.)
pub const fn pattern(page: u64) -> u64 {
    let mixed = (page ^ page >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
