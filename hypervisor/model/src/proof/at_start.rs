//! What a VM has proved at each of its starts: first the tags of its regions, then their memory, with the type that the
//! guest gets. What fails ends the start: the guest's tables are made, so that nothing is decided anew.
//!
//! Only this VM's regions are touched, since other VMs may run.

use alloc::vec::Vec;

use super::{Fault, Memory, Run, Sample};

/// What is proved of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// That its tags come back from memory.
    Tags,
    /// That it is memory.
    Memory,
}

impl Part {
    /// Returns the word in `part=` of a `proof` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Memory => "memory",
        }
    }
}

/// The memory of a VM's regions.
pub trait Regions: Memory {
    /// Makes a region fit to be touched for a part. Returns whether it could.
    fn open(&mut self, region: usize, part: Part) -> bool;
    /// Ends that for all of them.
    fn close(&mut self);
    /// Tells what a part has shown of `pages` pages of a region.
    fn tell(&mut self, region: usize, part: Part, pages: u64, fault: Option<Fault>);
}

/// How far the proof is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Call again.
    More,
    /// All regions are what they have to be.
    Proved,
    /// This region is not.
    Failed(usize, Fault),
}

/// Which parts are due of a region, and how long it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Its length in pages.
    pub pages: u64,
    /// It has tags.
    pub tags: bool,
    /// It is memory to EL2, and not only registers of a device.
    pub memory: bool,
}

/// The proof of one VM's regions, as often as the VM is started. It allocates when it is made.
#[derive(Debug)]
pub struct AtStart {
    parts: [(Part, Run); 2],
    /// Which of them is next.
    next: usize,
    is_open: bool,
}

impl AtStart {
    /// The proof of regions, each by its place in the list; `None` stands for one that is not proved now. There is no
    /// proof if nothing of any is due.
    pub fn new(regions: &[Option<Due>]) -> Option<Self> {
        let run = |is_due: fn(&Due) -> bool| {
            let sample = |due: &Option<Due>| due.filter(is_due).map_or_else(Sample::none, |due| Sample::of(due.pages));
            Run::new(regions.iter().map(sample).collect::<Vec<_>>())
        };
        let is_due = regions.iter().flatten().any(|due| due.tags || due.memory);
        is_due.then(|| Self {
            parts: [(Part::Tags, run(|due| due.tags)), (Part::Memory, run(|due| due.memory))],
            next: 0,
            is_open: false,
        })
    }

    /// Begins anew, for the next start.
    pub fn restart(&mut self) {
        self.parts.iter_mut().for_each(|(_, run)| run.restart());
        (self.next, self.is_open) = (0, false);
    }

    /// Looks at the next pages, at most `most`. After [`Step::Proved`] the answer stays the same until [`Self::restart`],
    /// which also comes after [`Step::Failed`].
    pub fn step<R: Regions>(&mut self, regions: &mut R, most: u64) -> Step {
        let Some((part, run)) = self.parts.get_mut(self.next) else { return Step::Proved };
        if !core::mem::replace(&mut self.is_open, true) {
            for region in 0..run.samples().len() {
                if run.samples()[region].count() != 0 && !regions.open(region, *part) {
                    run.fail(region);
                }
            }
        }
        if run.step(regions, most) {
            return Step::More;
        }
        let faults = || run.samples().iter().zip(run.faults()).enumerate();
        let failed = faults().find_map(|(region, (_, fault))| Some((region, (*fault)?)));
        regions.close();
        for (region, (sample, fault)) in faults().filter(|(_, (sample, _))| sample.count() != 0) {
            regions.tell(region, *part, sample.count(), *fault);
        }
        match failed {
            Some((region, fault)) => Step::Failed(region, fault),
            None => {
                (self.next, self.is_open) = (self.next + 1, false);
                Step::More
            }
        }
    }
}
