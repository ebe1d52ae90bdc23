//! A machine that keeps tables in a map and objects to every store that real hardware might punish: here to each
//! store over something, and to each of something while a TLB may hold what was broken, and to half a contiguous group.

use core::cell::Cell;
use std::collections::BTreeMap;
use std::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::super::{Stage2, Tables, TablesInUse};
use super::PAGE;

const CONTIGUOUS: u64 = 1 << 52;
const ADDRESS: u64 = 0xffff_ffff_f000;

/// A leaf as the machine's own walk finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub(super) ipa: u64,
    pub(super) size: u64,
    pub(super) pa: u64,
    /// All but the address, the type bits and the contiguous bit.
    pub(super) attributes: u64,
    pub(super) contiguous: bool,
}

/// Where in the guest's space a table is, once a walk can reach it.
#[derive(Clone, Copy, Debug)]
struct Place {
    ipa: u64,
    level: u8,
}

pub(super) struct GuestMachine {
    memory: BTreeMap<u64, u64>,
    next: u64,
    places: BTreeMap<u64, Place>,
    unpublished: bool,
    /// A TLB may hold what a broken entry was.
    stale: bool,
    /// Pages that no leaf may lead to any more.
    withdrawn: Vec<Pa>,
    /// Whether they can be withdrawn.
    pub(super) busy: bool,
    /// Pages of each allocation so far.
    pub(super) allocations: Vec<usize>,
    /// How many more allocations succeed.
    pub(super) allocations_left: usize,
    /// What no VM may get.
    pub(super) own: Option<Region<Pa>>,
    pub(super) loads: Cell<usize>,
    pub(super) stores: usize,
}

impl GuestMachine {
    pub(super) fn new() -> Self {
        Self {
            memory: BTreeMap::new(),
            next: 0x1000_1000,
            places: BTreeMap::new(),
            unpublished: false,
            stale: false,
            withdrawn: Vec::new(),
            busy: false,
            allocations: Vec::new(),
            allocations_left: usize::MAX,
            own: None,
            loads: Cell::new(0),
            stores: 0,
        }
    }

    /// Takes note of the start tables; from here on walks can happen.
    pub(super) fn watch(&mut self, stage2: &Stage2) {
        let level = stage2.geometry.start_level();
        for table in 0..stage2.geometry.root_pages() as u64 {
            let ipa = table * 512 * size_of_entry(level);
            self.places.insert(stage2.root.0 + table * PAGE, Place { ipa, level });
        }
    }

    /// What must hold whenever a call has returned.
    pub(super) fn assert_quiet(&self, stage2: &Stage2) {
        assert!(!self.unpublished && !self.stale, "stores without a barrier after them");
        self.assert_groups_are_whole(&self.leaves(stage2));
    }

    /// All leaves in order, found by a walk of the machine's own.
    pub(super) fn leaves(&self, stage2: &Stage2) -> Vec<Leaf> {
        let mut found = Vec::new();
        let level = stage2.geometry.start_level();
        let entries = stage2.geometry.end() / size_of_entry(level);
        self.collect(stage2.root.0, entries, Place { ipa: 0, level }, &mut found);
        found
    }

    /// Where a guest address leads, and with which attribute bits, by the machine's own walk.
    pub(super) fn translate(&self, stage2: &Stage2, ipa: u64) -> Option<(u64, u64)> {
        let leaf = self.leaves(stage2).into_iter().find(|leaf| ipa.wrapping_sub(leaf.ipa) < leaf.size)?;
        Some((leaf.pa + (ipa - leaf.ipa), leaf.attributes))
    }

    fn collect(&self, table: u64, entries: u64, place: Place, found: &mut Vec<Leaf>) {
        let size = size_of_entry(place.level);
        let first = place.ipa;
        for (&entry, &descriptor) in self.memory.range(table..table + entries * 8) {
            let ipa = first + (entry - table) / 8 * size;
            let (valid, bit1) = (descriptor & 1 != 0, descriptor & 2 != 0);
            assert!(valid || descriptor == 0, "an invalid entry is 0, not {descriptor:#x}");
            match (valid, bit1, place.level) {
                (false, ..) => {}
                (true, true, 0..=2) => {
                    let next = Place { ipa, level: place.level + 1 };
                    self.collect(descriptor & ADDRESS, 512, next, found);
                }
                (true, true, 3) | (true, false, 1 | 2) => found.push(Leaf {
                    ipa,
                    size,
                    pa: descriptor & ADDRESS,
                    attributes: descriptor & !(ADDRESS | CONTIGUOUS | 3),
                    contiguous: descriptor & CONTIGUOUS != 0,
                }),
                _ => panic!("descriptor {descriptor:#x} at level {}", place.level),
            }
        }
    }

    fn assert_groups_are_whole(&self, leaves: &[Leaf]) {
        let mut at = 0;
        while at < leaves.len() {
            let first = leaves[at];
            assert_eq!((first.ipa | first.pa) % first.size, 0, "{first:x?} is not aligned");
            if !first.contiguous {
                at += 1;
                continue;
            }
            assert!(first.size == PAGE || first.size == 512 * PAGE);
            assert_eq!((first.ipa | first.pa) % (16 * first.size), 0, "{first:x?} begins a group");
            for step in 0..16 {
                let offset = step as u64 * first.size;
                let expected = Leaf { ipa: first.ipa + offset, pa: first.pa + offset, ..first };
                assert_eq!(leaves.get(at + step), Some(&expected));
            }
            at += 16;
        }
    }

    /// The place that the entry decides about, if a walk can reach it.
    fn place(&self, entry: u64) -> Option<Place> {
        let table = self.places.get(&(entry & !(PAGE - 1)))?;
        let ipa = table.ipa + entry % PAGE / 8 * size_of_entry(table.level);
        Some(Place { ipa, level: table.level })
    }
}

impl Tables for GuestMachine {
    fn alloc(&mut self, pages: usize) -> Option<Pa> {
        assert!(pages.is_power_of_two());
        self.allocations_left = self.allocations_left.checked_sub(1)?;
        let size = pages as u64 * PAGE;
        let start = self.next.next_multiple_of(size);
        self.next = start + size;
        self.allocations.push(pages);
        // The zeros are stores too.
        self.unpublished = true;
        Some(Pa(start))
    }

    fn load(&self, entry: Pa) -> u64 {
        assert_eq!(entry.0 % 8, 0);
        self.loads.set(self.loads.get() + 1);
        self.memory.get(&entry.0).copied().unwrap_or(0)
    }

    fn store(&mut self, entry: Pa, descriptor: u64) {
        let entry = entry.0;
        assert!(entry >= 0x1000_1000 && entry < self.next, "{entry:#x} is in no table");
        self.stores += 1;
        let old = self.memory.insert(entry, descriptor).unwrap_or(0);
        let Some(place) = self.place(entry) else {
            return;
        };
        self.unpublished = true;
        if descriptor == 0 && !self.withdrawn.is_empty() {
            assert!(old & 3 == if place.level == 3 { 3 } else { 1 }, "{old:#x} at {place:x?} is no leaf");
            self.stale = true;
            return;
        }
        assert!(old == 0 && descriptor != 0, "{old:#x} at {place:x?} is live, {descriptor:#x}");
        assert!(!self.stale, "{descriptor:#x} is made at {place:x?}, and what was broken is not forgotten");
        if place.level == 3 || descriptor & 2 == 0 {
            let memory = Region { start: Pa(descriptor & ADDRESS), size: size_of_entry(place.level) };
            assert!(!self.withdrawn.iter().any(|page| memory.contains(*page)), "{descriptor:#x} leads to what left");
        }
        if place.level < 3 && descriptor & 2 != 0 {
            let below = Place { ipa: place.ipa, level: place.level + 1 };
            self.places.insert(descriptor & ADDRESS, below);
        }
    }

    fn publish(&mut self) {
        self.unpublished = false;
    }

    fn may_map(&self, memory: Region<Pa>) -> bool {
        self.own.is_none_or(|own| !own.overlaps(&memory))
    }
}

impl TablesInUse for GuestMachine {
    fn withdraw(&mut self, page: Pa) -> bool {
        if !self.busy {
            self.withdrawn.push(page);
        }
        !self.busy
    }

    fn forget(&mut self) {
        (self.stale, self.unpublished) = (false, false);
    }
}

fn size_of_entry(level: u8) -> u64 {
    [512 << 30, 1 << 30, 2 << 20, 4 << 10][usize::from(level)]
}

#[test]
#[should_panic(expected = "is live")]
fn the_machine_objects_to_overwriting_a_live_descriptor() {
    let (_, mut machine) = super::stage2(32);
    machine.store(Pa(0x1000_4000), 0x4000_07d9);
    machine.store(Pa(0x1000_4000), 0x4020_07d9);
}

#[test]
#[should_panic(expected = "is not forgotten")]
fn the_machine_objects_to_making_before_what_was_broken_is_forgotten() {
    let (_, mut machine) = super::stage2(32);
    machine.store(Pa(0x1000_4000), 0x4000_07d9);
    assert!(machine.withdraw(Pa(0x4000_0000)));
    machine.store(Pa(0x1000_4000), 0);
    machine.store(Pa(0x1000_4000), 0x4020_07d9);
}
