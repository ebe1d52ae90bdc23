//! The boot-time proof of memory: what the plan of it says, done.

mod marks;

pub(crate) use marks::seek_ram;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::coherent::CoherentMemory;
use assay_el2::frames::{self, Frames, Pool};
use assay_el2::{cpu, serror, tags};
use assay_model::proof::{self, Fault, Memory, Sample, pattern};
use assay_plan::policy::Proof;
use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::look::Look;

use crate::console::say;
use crate::memory::Pooled;

/// What a part of the proof says of memory of which this is the first fault.
pub(crate) fn verdict(fault: Option<Fault>) -> Proof {
    verdict_of(fault.map_or(Look::Good, |fault| fault.look))
}

/// What it says of memory that has shown this.
fn verdict_of(look: Look) -> Proof {
    match look {
        Look::Good => Proof::Passed,
        Look::TagsLost => Proof::FailedTags,
        Look::DataLost | Look::AtomicsFailed | Look::Aborted => Proof::FailedMemory,
    }
}

/// Proves regions together, each of so many pages, and prints for each its name, pages, result and cost.
fn prove<M: Memory>(regions: &[(String, u64)], part: &str, memory: M) -> Vec<Proof> {
    let samples: Vec<Sample> = regions.iter().map(|(_, bytes)| Sample::of(bytes / PAGE_SIZE)).collect();
    let mut ticks: Vec<u64> = regions.iter().map(|_| 0).collect();
    let pages: Vec<u64> = samples.iter().map(Sample::count).collect();
    let proofs = proof::run(samples, &mut Timed { memory, ticks: &mut ticks });
    let proofs: Vec<Proof> = proofs.into_iter().map(verdict).collect();
    for (((name, _), pages), (proof, ticks)) in regions.iter().zip(&pages).zip(proofs.iter().zip(&ticks)) {
        say!("proof region={name} part={part} pages={pages} result={proof} ticks={ticks}");
    }
    proofs
}

/// Memory, and for how many ticks each region was looked at.
pub(crate) struct Timed<'t, M> {
    pub(crate) memory: M,
    pub(crate) ticks: &'t mut [u64],
}

impl<M: Memory> Timed<'_, M> {
    fn timed<T>(&mut self, region: usize, act: impl FnOnce(&mut M) -> T) -> T {
        let before = cpu::counter();
        let result = act(&mut self.memory);
        self.ticks[region] += cpu::counter().wrapping_sub(before);
        result
    }
}

impl<M: Memory> Memory for Timed<'_, M> {
    fn write(&mut self, region: usize, page: u64) -> Look {
        self.timed(region, |memory| memory.write(region, page))
    }
    fn check(&mut self, region: usize, page: u64) -> Look {
        self.timed(region, |memory| memory.check(region, page))
    }
    fn clear(&mut self, region: usize, page: u64) -> Look {
        self.timed(region, |memory| memory.clear(region, page))
    }
    fn is_late(&mut self, region: usize) -> bool {
        self.timed(region, |memory| memory.is_late(region))
    }
}

/// Proves the tag storage of RAM that the platform says has it, from free frames only.
///
/// One failure is enough: from then on the machine counts as one without MTE.
pub(crate) fn ram(free: &[Pooled]) -> Proof {
    let tagged = free.iter().filter(|(_, pool)| *pool == Pool::Tagged);
    let regions: Vec<Region<Pa>> = tagged.map(|(region, _)| *region).collect();
    let named = regions.iter().map(|region| (format!("memory@{:x}", region.start.0), region.size));
    let proofs = prove(&named.collect::<Vec<_>>(), "tags", FreeRam { regions: &regions });
    if proofs.iter().all(|proof| *proof == Proof::Passed) { Proof::Passed } else { Proof::FailedTags }
}

/// Free frames with tags. Nobody takes one while they are looked at, so that each can be taken anew for each look.
struct FreeRam<'a> {
    regions: &'a [Region<Pa>],
}

impl FreeRam<'_> {
    /// Looks at a frame, if it is free. One that aborts is no memory, whatever else it is: nobody gets it.
    fn at(&self, region: usize, page: u64, act: impl FnOnce(&mut Frames, u64) -> Look) -> Look {
        let address = self.regions[region].start.0 + page * PAGE_SIZE;
        let Some(mut frames) = Frames::at(address) else { return Look::Good };
        let look = act(&mut frames, pattern(address / PAGE_SIZE));
        if matches!(look, Look::Good | Look::TagsLost) {
            frames::give_back(frames);
        }
        look
    }
}

impl Memory for FreeRam<'_> {
    fn write(&mut self, region: usize, page: u64) -> Look {
        self.at(region, page, tags::write)
    }
    fn check(&mut self, region: usize, page: u64) -> Look {
        self.at(region, page, tags::check)
    }
    fn clear(&mut self, region: usize, page: u64) -> Look {
        self.at(region, page, |frames, _| {
            tags::clear(frames, 0);
            Look::Good
        })
    }
    fn is_late(&mut self, _region: usize) -> bool {
        serror::drain()
    }
}

/// Proves these coherent regions, which are open, together.
pub(crate) fn coherent(regions: Vec<(&str, &mut CoherentMemory)>, part: &str) -> Vec<Proof> {
    let named = regions.iter().map(|(name, memory)| (String::from(*name), memory.region().size));
    let named: Vec<(String, u64)> = named.collect();
    prove(&named, part, Coherent { regions: regions.into_iter().map(|(_, memory)| memory).collect() })
}

struct Coherent<'m> {
    regions: Vec<&'m mut CoherentMemory>,
}

impl Coherent<'_> {
    fn at(&mut self, region: usize, page: u64) -> (&mut CoherentMemory, u64) {
        let memory = &mut *self.regions[region];
        let number = memory.region().start.0 / PAGE_SIZE + page;
        (memory, pattern(number))
    }
}

impl Memory for Coherent<'_> {
    fn write(&mut self, region: usize, page: u64) -> Look {
        let (memory, pattern) = self.at(region, page);
        memory.write(page, pattern)
    }
    fn check(&mut self, region: usize, page: u64) -> Look {
        let (memory, pattern) = self.at(region, page);
        memory.check(page, pattern)
    }
    fn clear(&mut self, region: usize, page: u64) -> Look {
        self.at(region, page).0.clear_page(page)
    }
    fn is_late(&mut self, _region: usize) -> bool {
        serror::drain()
    }
}
