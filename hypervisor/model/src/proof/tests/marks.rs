//! Marks on RAM that a region shares, and on RAM that it does not.

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::look::{Look, Seen};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::{Found, Markable, Marks};

/// RAM from 1 GiB on, in pages.
const START: u64 = 0x4_0000;

type Wire = Box<dyn Fn(usize, u64) -> Option<u64>>;

/// RAM, and regions whose pages may reach a page of RAM's data or tags.
struct Fake {
    data: Wire,
    tags: Wire,
    /// Pages of RAM that are not free: never to be written.
    used: Box<dyn Fn(u64) -> bool>,
    /// What a page of a region of its own holds.
    own: Box<dyn Fn(u64) -> u64>,
    aborts: bool,
    late: bool,
    ram: BTreeMap<u64, u64>,
    written: BTreeSet<u64>,
    reads: u64,
}

fn good() -> Fake {
    Fake {
        data: Box::new(|_, _| None),
        tags: Box::new(|_, _| None),
        used: Box::new(|_| false),
        own: Box::new(|page| page),
        aborts: false,
        late: false,
        ram: BTreeMap::new(),
        written: BTreeSet::new(),
        reads: 0,
    }
}

impl Markable for Fake {
    fn mark(&mut self, page: u64, word: u64) {
        if !(self.used)(page) {
            let _ = self.ram.insert(page, word);
            let _ = self.written.insert(page);
        }
    }
    fn clear(&mut self, page: u64) {
        let _ = self.ram.remove(&page);
    }
    fn read(&mut self, region: usize, page: u64) -> Option<Seen> {
        self.reads += 1;
        let held = |wire: &Wire| wire(region, page).and_then(|of| self.ram.get(&of)).copied();
        let data = held(&self.data).unwrap_or_else(|| (self.own)(page));
        let tags = held(&self.tags).unwrap_or_else(|| (self.own)(page));
        (!self.aborts).then_some(Seen { data: [data, !data], tags: Some(tags) })
    }
    fn is_late(&mut self, _region: usize) -> bool {
        self.late
    }
}

/// RAM of so many pages, in two parts.
fn ram(pages: u64) -> [Region<Pa>; 2] {
    let part = |start: u64, pages: u64| Region { start: Pa(start * PAGE_SIZE), size: pages * PAGE_SIZE };
    [part(START, pages / 2), part(START + pages / 2, pages - pages / 2)]
}

fn seek(fake: &mut Fake, of: u64, regions: &[u64]) -> Vec<Found> {
    let found = Marks::of(&ram(of), regions).seek(regions, fake);
    assert!(fake.ram.is_empty(), "a mark stays");
    assert!(fake.written.iter().all(|page| (START..START + of).contains(page)), "not RAM");
    found
}

#[test]
fn regions_of_their_own_are_good_and_little_is_marked() {
    for (of, region) in [(16, 1), (262_144, 32_768), (262_144, 16), (1 << 27, 1 << 27), (1 << 27, 16)] {
        let mut fake = good();
        assert_eq!(seek(&mut fake, of, &[region, region])[1], Found { look: Look::Good, pages: None }, "{of} {region}");
        assert!(
            fake.written.len() <= 1 << 16 && fake.reads <= 2 * region.min(1 << 18),
            "{of} {region}: {}",
            fake.reads
        );
    }
}

#[test]
fn no_region_is_nothing_to_mark() {
    let marks = Marks::of(&[], &[]);
    assert_eq!((marks.pages().count(), marks.looked_at(0).count()), (0, 0));
}

#[test]
fn a_page_of_ram_that_is_taken_is_not_marked_and_those_beside_it_show() {
    // EL2's image is two of the five pages of a run that would be marked.
    let used = |page: u64| (START + 512..START + 800).contains(&page);
    let data = |_: usize, page: u64| Some(START + 400 + page);
    let mut fake = Fake { data: Box::new(data), used: Box::new(used), ..good() };
    assert_eq!(seek(&mut fake, 262_144, &[512])[0].look, Look::DataLost);
    assert!(!fake.written.iter().any(|page| used(*page)));
}

#[test]
fn only_the_region_that_is_ram_is_blamed_and_both_pages_are_told() {
    let data = |region: usize, page: u64| (region == 1).then_some(START + 4096 + page);
    let found = seek(&mut Fake { data: Box::new(data), ..good() }, 262_144, &[4096, 4096, 4096]);
    assert_eq!(found.iter().map(|found| found.look).collect::<Vec<_>>(), [Look::Good, Look::DataLost, Look::Good]);
    assert_eq!(found[1].pages, Some((0, START + 4096)));
}

#[test]
fn what_only_looks_like_a_mark_costs_nothing() {
    let own = |page: u64| (0xa5a << 52) | (START + page);
    let found = seek(&mut Fake { own: Box::new(own), ..good() }, 262_144, &[4096]);
    assert_eq!(found, [Found { look: Look::Good, pages: None }]);
    // Also where the same pages of RAM are another part of the region.
    let data = |_: usize, page: u64| (page >= 2048).then_some(START + page - 2048);
    let found = seek(&mut Fake { own: Box::new(own), data: Box::new(data), ..good() }, 262_144, &[4096]);
    assert_eq!(found[0].look, Look::DataLost);
}

#[test]
fn an_abort_is_the_regions_late_or_not() {
    for fake in [Fake { aborts: true, ..good() }, Fake { late: true, ..good() }] {
        let mut fake = fake;
        assert_eq!(seek(&mut fake, 4096, &[512]), [Found { look: Look::Aborted, pages: None }]);
        assert!(!fake.aborts || fake.reads == 1, "it was touched again");
    }
}

proptest! {
    // Each looks at thousands of pages.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    #[cfg_attr(miri, ignore = "many steps of safe code")]
    fn a_region_anywhere_in_ram_shows(of in 65_536u64..600_000, region in 16u64..65_536, at in 0u64..1 << 40) {
        let at = START + at % (of - region + 1);
        let data = Fake { data: Box::new(move |_, page| Some(at + page)), ..good() };
        let tags = Fake { tags: Box::new(move |_, page| Some(at + page)), ..good() };
        for (mut fake, look) in [(data, Look::DataLost), (tags, Look::TagsLost)] {
            let found = seek(&mut fake, of, &[region])[0];
            prop_assert_eq!(found.look, look);
            let (page, of) = found.pages.unwrap();
            prop_assert_eq!(at + page, of);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "many steps of safe code")]
    fn a_part_of_a_region_that_is_ram_shows(shift in 1u32..6, last in proptest::bool::ANY) {
        let region = 131_072u64;
        let part = region >> shift;
        let from = if last { region - part } else { part };
        let data = move |_: usize, page: u64| (from..from + part).contains(&page).then_some(START + page % 65_536);
        prop_assert_eq!(seek(&mut Fake { data: Box::new(data), ..good() }, 262_144, &[region])[0].look, Look::DataLost);
    }

    #[test]
    fn the_pages_that_are_looked_at_are_in_the_region_once_with_both_ends(of in 0u64..1 << 28, region in 1u64..1 << 20) {
        let marks = Marks::of(&ram(of), &[region]);
        let pages: Vec<u64> = marks.looked_at(region).collect();
        let set: BTreeSet<u64> = pages.iter().copied().collect();
        prop_assert_eq!(set.len(), pages.len());
        prop_assert!(set.first() == Some(&0) && set.last() == Some(&(region - 1)));
    }
}
