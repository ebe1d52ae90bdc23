//! The proof on memory that lies.

mod marks;

use super::at_start::{AtStart, Due, Part, Regions, Step};
use super::{Fault, Memory, Run, Sample, pattern, run};
use assay_spec::look::Look;
use core::cell::Cell;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Pages of 2 MiB.
const BLOCK: u64 = 512;

type Wire = Box<dyn Fn(usize, u64) -> Option<u64>>;

/// Memory in which a region's page reaches a page of data storage and one of tag storage; `None` where there is none:
/// writes are dropped there, and zeros read.
struct Fake {
    data: Wire,
    tags: Wire,
    aborts: Box<dyn Fn(usize, u64) -> bool>,
    data_held: BTreeMap<u64, u64>,
    tags_held: BTreeMap<u64, u64>,
    touched_after_abort: bool,
    aborted: BTreeSet<usize>,
    late: Option<usize>,
}

fn good() -> Fake {
    Fake {
        data: Box::new(|region, page| Some((region as u64) << 40 | page)),
        tags: Box::new(|region, page| Some((region as u64) << 40 | page)),
        aborts: Box::new(|_, _| false),
        data_held: BTreeMap::new(),
        tags_held: BTreeMap::new(),
        touched_after_abort: false,
        aborted: BTreeSet::new(),
        late: None,
    }
}

/// A region's own number for its page, as its address gives it.
fn written(region: usize, page: u64) -> u64 {
    pattern((region as u64) << 40 | page)
}

impl Fake {
    fn aborts(&mut self, region: usize, page: u64) -> bool {
        self.touched_after_abort |= self.aborted.contains(&region);
        let aborts = (self.aborts)(region, page);
        if aborts {
            let _ = self.aborted.insert(region);
        }
        aborts
    }
}

impl Memory for Fake {
    fn write(&mut self, region: usize, page: u64) -> Look {
        if self.aborts(region, page) {
            return Look::Aborted;
        }
        if let Some(at) = (self.data)(region, page) {
            let _ = self.data_held.insert(at, written(region, page));
        }
        if let Some(at) = (self.tags)(region, page) {
            let _ = self.tags_held.insert(at, written(region, page));
        }
        Look::Good
    }

    fn check(&mut self, region: usize, page: u64) -> Look {
        if self.aborts(region, page) {
            return Look::Aborted;
        }
        let wanted = Some(&written(region, page));
        let held = |wire: &Wire, held: &BTreeMap<u64, u64>| wire(region, page).and_then(|at| held.get(&at).copied());
        if held(&self.data, &self.data_held).as_ref() != wanted {
            return Look::DataLost;
        }
        if held(&self.tags, &self.tags_held).as_ref() != wanted { Look::TagsLost } else { Look::Good }
    }

    fn clear(&mut self, region: usize, page: u64) -> Look {
        if self.aborts(region, page) {
            return Look::Aborted;
        }
        if let Some(at) = (self.data)(region, page) {
            let _ = self.data_held.insert(at, 0);
        }
        Look::Good
    }

    fn is_late(&mut self, region: usize) -> bool {
        self.late.take_if(|late| *late == region).is_some()
    }
}

fn looks(mut fake: Fake, pages: &[u64]) -> Vec<Look> {
    let samples: Vec<Sample> = pages.iter().map(|pages| Sample::of(*pages)).collect();
    let looks = run(samples, &mut fake);
    let looks: Vec<Look> = looks.iter().map(|fault| fault.map_or(Look::Good, |fault| fault.look)).collect();
    assert!(!fake.touched_after_abort, "a region that aborted was touched again");
    assert!(looks.contains(&Look::Aborted) || fake.data_held.values().all(|held| *held == 0), "a page is not clear");
    looks
}

/// Sizes in pages, of a power of two and not.
const SIZES: [u64; 6] = [BLOCK, 3 * BLOCK, 1000, 262_144, 300_000, 200_000_000];

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn good_memory_is_good_and_clear_afterwards() {
    for pages in SIZES {
        assert_eq!(looks(good(), &[pages, pages / 2]), [Look::Good, Look::Good], "{pages}");
    }
}

#[test]
fn memory_that_goes_away_before_it_is_cleared_has_aborted() {
    let accesses = Cell::new(0);
    let page_count = Sample::of(1000).count();
    // It is written and checked, and answers to three pages more.
    let aborts = Box::new(move |region, _| {
        accesses.set(accesses.get() + u64::from(region == 0));
        region == 0 && accesses.get() > 2 * page_count + 3
    });
    assert_eq!(looks(Fake { aborts, ..good() }, &[1000, 1000]), [Look::Aborted, Look::Good]);
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn storage_that_wraps_at_a_part_of_the_size_shows() {
    for pages in SIZES {
        for turn in 1..=8 {
            let wrap = (pages >> turn).max(1);
            let data = Fake { data: Box::new(move |_, page| Some(page % wrap)), ..good() };
            assert_eq!(looks(data, &[pages]), [Look::DataLost], "{pages} pages wrap at {wrap}");
            let tags = Fake { tags: Box::new(move |_, page| Some(page % wrap)), ..good() };
            assert_eq!(looks(tags, &[pages]), [Look::TagsLost], "{pages} pages' tags wrap at {wrap}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn storage_that_wraps_at_a_power_of_two_shows() {
    for pages in SIZES {
        for wrap in (0..64).map(|shift| 1u64 << shift).take_while(|wrap| *wrap < pages) {
            let data = Fake { data: Box::new(move |_, page| Some(page & (wrap - 1))), ..good() };
            assert_eq!(looks(data, &[pages]), [Look::DataLost], "{pages} pages wrap at {wrap}");
            let tags = Fake { tags: Box::new(move |_, page| Some(page & (wrap - 1))), ..good() };
            assert_eq!(looks(tags, &[pages]), [Look::TagsLost], "{pages} pages' tags wrap at {wrap}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn an_address_line_that_is_not_there_shows() {
    for line in 0..18 {
        let fake = Fake { data: Box::new(move |_, page| Some(page & !(1 << line))), ..good() };
        assert_eq!(looks(fake, &[262_144]), [Look::DataLost], "bit {line}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn two_regions_over_one_storage_show() {
    for (pages, at) in [(BLOCK, 0), (262_144, 131_072), (300_000, 0), (4096, 4096 - 64)] {
        let shared = move |region: usize, page: u64| Some(if region == 0 { page } else { at + page });
        let data = Fake { data: Box::new(shared), ..good() };
        assert!(looks(data, &[pages, pages]).contains(&Look::DataLost), "{pages} pages, shared from {at}");
        let tags = Fake { tags: Box::new(shared), ..good() };
        assert!(looks(tags, &[pages, pages]).contains(&Look::TagsLost), "{pages} pages' tags, shared from {at}");
    }
}

#[test]
fn one_region_that_lies_does_not_make_another_lie() {
    let fake = Fake { tags: Box::new(|region, page| (region != 1).then_some((region as u64) << 40 | page)), ..good() };
    assert_eq!(looks(fake, &[4096, 4096, 4096]), [Look::Good, Look::TagsLost, Look::Good]);
}

#[test]
fn an_abort_ends_the_look_at_its_region_only() {
    let fake = Fake { aborts: Box::new(|region, page| region == 0 && page >= 2048), ..good() };
    assert_eq!(looks(fake, &[4096, 4096]), [Look::Aborted, Look::Good]);
}

#[test]
fn an_abort_that_comes_late_is_the_regions() {
    let fake = Fake { late: Some(1), ..good() };
    assert_eq!(looks(fake, &[64, 64, 64]), [Look::Good, Look::Aborted, Look::Good]);
}

/// Lies of each kind, of two regions.
const LIES: [fn() -> Fake; 6] = [
    good,
    || Fake { data: Box::new(|_, page| Some(page % 700)), ..good() },
    || Fake { tags: Box::new(|_, page| Some(page)), ..good() },
    || Fake { aborts: Box::new(|region, page| region == 1 && page >= 300), ..good() },
    || Fake { late: Some(1), ..good() },
    || Fake {
        data: Box::new(|region, page| (region == 0 || page < 999).then_some(page << 1 | region as u64)),
        ..good()
    },
];

#[test]
fn a_few_pages_at_a_time_show_the_same_and_leave_nothing_for_the_next_proof() {
    for (index, lie) in LIES.iter().enumerate() {
        let samples = [Sample::of(1000), Sample::of(1500)].to_vec();
        let at_once = run(samples.clone(), &mut lie());
        let mut run = Run::new(samples);
        for most in [1, 7, 512] {
            let (mut fake, mut steps) = (lie(), 0);
            run.restart();
            while run.step(&mut fake, most) {
                steps += 1;
            }
            // Of an abort that came late, only the page depends on where it was looked for.
            let looks = |faults: &[Option<Fault>]| -> Vec<_> { faults.iter().map(|it| it.map(|it| it.look)).collect() };
            assert_eq!(looks(run.faults()), looks(&at_once), "lie {index}");
            assert!(index == 4 || run.faults() == at_once, "lie {index}: another page");
            assert!(most == 512 || steps > 30, "lie {index}: {steps} steps of {most} pages");
        }
    }
}

#[test]
fn a_fault_names_its_page() {
    let fake = &mut Fake { aborts: Box::new(|_, page| page == 1999), ..good() };
    assert_eq!(run([Sample::of(2000)].to_vec(), fake), [Some(Fault { look: Look::Aborted, page: 1999 })]);
    let fake = &mut Fake { data: Box::new(|_, page| Some(page % 1024)), ..good() };
    assert_eq!(run([Sample::of(2048)].to_vec(), fake), [Some(Fault { look: Look::DataLost, page: 0 })]);
}

/// A VM's regions: what was done with them, in order.
struct Started {
    fake: Fake,
    /// This one cannot be opened.
    shut: Option<usize>,
    log: Vec<(usize, Part, &'static str)>,
    open: Vec<(usize, Part)>,
}

impl Memory for Started {
    fn write(&mut self, region: usize, page: u64) -> Look {
        assert!(self.open.iter().any(|(open, _)| *open == region), "a region that is not open is touched");
        self.fake.write(region, page)
    }
    fn check(&mut self, region: usize, page: u64) -> Look {
        self.fake.check(region, page)
    }
    fn clear(&mut self, region: usize, page: u64) -> Look {
        self.fake.clear(region, page)
    }
    fn is_late(&mut self, region: usize) -> bool {
        self.fake.is_late(region)
    }
}

impl Regions for Started {
    fn open(&mut self, region: usize, part: Part) -> bool {
        let opens = self.shut != Some(region);
        if opens {
            self.open.push((region, part));
        }
        opens
    }
    fn close(&mut self) {
        self.open.clear();
    }
    fn tell(&mut self, region: usize, part: Part, pages: u64, fault: Option<Fault>) {
        assert!(self.open.is_empty() && pages != 0);
        self.log.push((region, part, if fault.is_some() { "bad" } else { "good" }));
    }
}

/// Three regions: with tags, not proved at the start, and without tags.
const STARTED: [Option<Due>; 3] =
    [Some(Due { pages: 1000, tags: true, memory: true }), None, Some(Due { pages: 600, tags: false, memory: true })];

fn start(proof: &mut AtStart, fake: Fake, shut: Option<usize>) -> (Step, Vec<(usize, Part, &'static str)>) {
    let mut started = Started { fake, shut, log: Vec::new(), open: Vec::new() };
    proof.restart();
    loop {
        match proof.step(&mut started, 100) {
            Step::More => {}
            end => return (end, started.log),
        }
    }
}

#[test]
fn a_start_proves_tags_then_memory_each_time() {
    let mut proof = AtStart::new(&STARTED).unwrap();
    let good_log = [(0, Part::Tags, "good"), (0, Part::Memory, "good"), (2, Part::Memory, "good")];
    for _ in 0..2 {
        assert_eq!(start(&mut proof, good(), None), (Step::Proved, good_log.to_vec()));
        // Tags that are lost end it before the memory is looked at.
        let lost = Fake { tags: Box::new(|region, page| (region != 0 || page < 500).then_some(page)), ..good() };
        let (end, log) = start(&mut proof, lost, None);
        let Step::Failed(0, Fault { look: Look::TagsLost, page }) = end else { panic!("{end:?}") };
        assert!(page >= 500 && log == [(0, Part::Tags, "bad")]);
        // Memory that is behind two regions of the VM's, and one that is not there.
        let one = Fake { data: Box::new(|_, page| Some(page)), ..good() };
        assert!(matches!(start(&mut proof, one, None).0, Step::Failed(0, Fault { look: Look::DataLost, page: 0 })));
        let (end, log) = start(&mut proof, good(), Some(2));
        assert_eq!(end, Step::Failed(2, Fault { look: Look::Aborted, page: 0 }));
        assert_eq!(log.last(), Some(&(2, Part::Memory, "bad")));
    }
}

#[test]
fn without_anything_to_prove_there_is_no_proof() {
    assert!(AtStart::new(&[None, Some(Due { pages: 4, tags: false, memory: false })]).is_none());
    assert!(AtStart::new(&[]).is_none());
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "many steps of safe code")]
    fn missing_storage_of_any_2_mib_shows(pages in BLOCK..1_900_000u64, at in any::<u64>()) {
        let block = at % (pages / BLOCK);
        let missing = move |region: usize, page: u64| (page / BLOCK != block).then_some((region as u64) << 40 | page);
        prop_assert_eq!(looks(Fake { tags: Box::new(missing), ..good() }, &[pages]), [Look::TagsLost]);
        prop_assert_eq!(looks(Fake { data: Box::new(missing), ..good() }, &[pages]), [Look::DataLost]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "many steps of safe code")]
    fn a_sample_is_in_the_region_and_small_and_has_both_ends(pages in 1u64..1 << 36) {
        let sample = Sample::of(pages);
        let set: BTreeSet<u64> = (0..sample.count()).map(|n| sample.page(n)).collect();
        prop_assert_eq!(set.len() as u64, sample.count());
        prop_assert!(sample.count() <= 4096 && set.contains(&0) && set.last() == Some(&(pages - 1)));
    }

    #[test]
    fn pages_a_power_of_two_apart_differ_in_nearly_every_tag(page in 0u64..1 << 36, shift in 0u32..36) {
        let (one, other) = (pattern(page), pattern(page ^ 1 << shift));
        let alike = (0..16).filter(|tag| (one ^ other) >> (4 * tag) & 0xf == 0).count();
        prop_assert!(alike <= 8, "{alike} of 16 tags are alike");
    }
}
