//! Random mappings against a flat map: one cell a page.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::vec::Vec;

use super::machine::GuestMachine;
use super::{Attributes, DEVICE, GIB, Geometry, MIB, MapError, PAGE, Pa, RAM, READ_ONLY, Stage2, config, ipas};

/// Pages in the window that the changes are made in: 36 MiB on both sides of a 1 GiB border.
const PAGES: u64 = 72 * MIB / PAGE;

/// Pages of the window, their offset in memory, and how they are mapped.
type Step = (u64, u64, u64, Attributes);

fn attributes() -> impl Strategy<Value = Attributes> {
    prop_oneof![Just(RAM), Just(DEVICE), Just(READ_ONLY)]
}

/// Pages of a unit that some leaf has, so that blocks, groups and their borders are all met often.
fn unit() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(16), Just(512), Just(8192)]
}

/// Offsets between guest and machine addresses: mostly such that blocks are possible.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 1 => Just(8192), 1 => Just(512), 1 => Just(16), 1 => Just(1)]
}

fn step() -> impl Strategy<Value = Step> {
    (unit(), any::<u64>(), unit(), 1..20_u64, 0..3_u64, offset(), attributes()).prop_map(
        |(unit, place, length_unit, count, more, offset, attributes)| {
            let first = place % PAGES / unit * unit;
            let count = (length_unit * count + more).min(PAGES - first);
            (first, count, offset, attributes)
        },
    )
}

fn index(page: u64) -> usize {
    usize::try_from(page).unwrap()
}

/// What the page leads to.
type Cell = Option<(u64, Attributes)>;

/// Maps in the flat map. Returns whether nothing was in the way; if something was, what comes before it is mapped.
fn apply(flat: &mut [Cell], (first, count, offset, attributes): Step) -> bool {
    let cells = &mut flat[index(first)..index(first + count)];
    let is_free = cells.iter().all(Option::is_none);
    if is_free {
        for (page, cell) in (first..).zip(cells) {
            *cell = Some((memory_of(page, offset), attributes));
        }
    }
    is_free
}

/// The memory for a page of the window; the window's middle is on a 1 GiB border there too.
fn memory_of(page: u64, offset: u64) -> u64 {
    8 * GIB - PAGES / 2 * PAGE + (page + offset) * PAGE
}

/// The flat map as the tables have it; anything outside of the window is an error.
fn flatten(stage2: &Stage2, machine: &GuestMachine, base: u64) -> Vec<Option<(u64, u64)>> {
    let mut flat = std::vec![None; index(PAGES)];
    for leaf in machine.leaves(stage2) {
        for page in 0..leaf.size / PAGE {
            let cell = &mut flat[index((leaf.ipa - base) / PAGE + page)];
            let before = cell.replace((leaf.pa + page * PAGE, leaf.attributes));
            assert_eq!(before, None, "mapped twice");
        }
    }
    flat
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn stage_2_agrees_with_a_flat_map(
        bits in prop_oneof![Just(32), Just(34), Just(36), Just(40), Just(44), Just(48)],
        at_the_end in any::<bool>(),
        fwb in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..if cfg!(miri) { 3 } else { 14 }),
    ) {
        let mut machine = GuestMachine::new();
        let geometry = Geometry::new(bits, 48).unwrap();
        let stage2 = Stage2::new(geometry, fwb, &mut machine).unwrap();
        machine.watch(&stage2);
        let border = if at_the_end { geometry.end() - GIB } else { GIB };
        let base = border - PAGES / 2 * PAGE;
        let mut flat: Vec<Cell> = std::vec![None; index(PAGES)];
        for step in steps {
            let (first, count, offset, attributes) = step;
            let range = ipas(base + first * PAGE, count * PAGE);
            let result = stage2.map(range, Pa(memory_of(first, offset)), attributes, &mut machine);
            if !apply(&mut flat, step) {
                prop_assert!(matches!(result, Err(MapError::Conflict(_))), "{:x?}", step);
                // Part of it may be mapped: such a VM does not start.
                break;
            }
            prop_assert_eq!(result, Ok(()), "{:x?}", step);
            machine.assert_quiet(&stage2);
            let expected: Vec<_> = flat.iter().map(|cell| cell.map(|(pa, a)| (pa, a.encode(fwb)))).collect();
            prop_assert!(flatten(&stage2, &machine, base) == expected, "{:x?}", step);
        }
    }
}
