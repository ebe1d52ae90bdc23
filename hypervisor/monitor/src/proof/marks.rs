//! Marks in free RAM, looked for in coherent memory before anything of it is written.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::coherent::CoherentMemory;
use assay_el2::frames::{self, Frames};
use assay_el2::{cpu, serror, tags};
use assay_model::proof::{Found, Markable, Marks};
use assay_plan::policy::Proof;
use assay_spec::addr::PAGE_SIZE;
use assay_spec::look::{Look, Seen};
use assay_spec::sort;

use super::verdict_of;
use crate::console::say;

/// Looks whether these regions, which are open, have the storage of free RAM, in data or tags; `None`: nothing was found.
pub(crate) fn seek_ram(regions: Vec<(&str, &mut CoherentMemory)>) -> Vec<Option<Proof>> {
    if regions.is_empty() {
        return Vec::new();
    }
    let named: Vec<_> = regions.iter().map(|(name, memory)| (String::from(*name), memory.region())).collect();
    let pages: Vec<u64> = named.iter().map(|(_, region)| region.size / PAGE_SIZE).collect();
    let marks = Marks::of(&frames::managed(), &pages);
    let regions: Vec<_> = regions.into_iter().map(|(_, memory)| memory).collect();
    let mut memory = Memory::new(&marks, regions);
    let found = marks.seek(&pages, &mut memory);
    let ram = if memory.has_aborted { Proof::FailedMemory } else { Proof::Passed };
    let (marked, ticks) = (memory.marked, memory.ticks.clone());
    say!("proof region=memory part=ram pages={marked} result={ram} ticks={}", memory.give_back());
    for (((name, region), found), ticks) in named.iter().zip(&found).zip(&ticks) {
        let looked_at = marks.looked_at(region.size / PAGE_SIZE).count();
        say!("proof region={name} part=ram pages={looked_at} result={} ticks={ticks}", verdict_of(found.look));
        if let Some((page, of)) = found.pages {
            let (page, of) = (region.start.0 + page * PAGE_SIZE, of * PAGE_SIZE);
            say!("error region={name} reason=\"its page at {page:#x} has the storage of RAM at {of:#x}\"");
        }
    }
    let failed = |Found { look, .. }| (look != Look::Good).then(|| verdict_of(look));
    found.into_iter().map(failed).collect()
}

/// Free RAM, held while it is marked, and open regions; and for how many ticks each was looked at.
struct Memory<'m> {
    /// Sorted.
    ram: Vec<Frames>,
    ram_ticks: u64,
    /// How many marks were taken.
    marked: u64,
    /// A block of RAM has aborted, which makes it no memory: it is set aside for good.
    has_aborted: bool,
    regions: Vec<&'m mut CoherentMemory>,
    ticks: Vec<u64>,
}

impl<'m> Memory<'m> {
    /// Takes RAM in blocks that have a mark each: what is smaller is left to the heap.
    fn new(marks: &Marks, regions: Vec<&'m mut CoherentMemory>) -> Self {
        let before = cpu::counter();
        let mut ram = frames::take_blocks(marks.stride() * PAGE_SIZE);
        sort::by_key(&mut ram, |frames| frames.region().start);
        let ram_ticks = cpu::counter().wrapping_sub(before);
        let ticks = regions.iter().map(|_| 0).collect();
        Self { ram, ram_ticks, marked: 0, has_aborted: false, regions, ticks }
    }

    /// Does something with the page of RAM that has this number in the machine, if it is held.
    fn at(&mut self, page: u64, act: impl FnOnce(&mut Frames, u64) -> Look) -> bool {
        let before = cpu::counter();
        let block = self.ram.partition_point(|frames| frames.region().start.0 <= page * PAGE_SIZE);
        let Some(block) = block.checked_sub(1) else { return false };
        let frames = &mut self.ram[block];
        let page = page - frames.region().start.0 / PAGE_SIZE;
        let is_there = page < frames.region().size / PAGE_SIZE;
        // A late abort too, before it is taken for one of a region's.
        if is_there && (act(frames, page) == Look::Aborted || serror::drain()) {
            self.has_aborted = true;
            let _ = self.ram.remove(block);
        }
        self.ram_ticks += cpu::counter().wrapping_sub(before);
        is_there
    }

    /// Gives RAM back. Returns what RAM has cost.
    fn give_back(self) -> u64 {
        let before = cpu::counter();
        self.ram.into_iter().for_each(frames::give_back);
        self.ram_ticks + cpu::counter().wrapping_sub(before)
    }
}

impl Markable for Memory<'_> {
    fn mark(&mut self, page: u64, word: u64) {
        let marked = self.at(page, |frames, page| tags::mark(frames, page, word));
        self.marked += u64::from(marked);
    }
    fn clear(&mut self, page: u64) {
        let _ = self.at(page, |frames, page| {
            tags::clear(frames, page);
            Look::Good
        });
    }
    fn read(&mut self, region: usize, page: u64) -> Option<Seen> {
        let before = cpu::counter();
        let seen = self.regions[region].seen(page);
        self.ticks[region] += cpu::counter().wrapping_sub(before);
        seen
    }
    fn is_late(&mut self, _region: usize) -> bool {
        serror::drain()
    }
}
