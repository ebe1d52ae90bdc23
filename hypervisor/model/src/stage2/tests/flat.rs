//! Random changes against a flat map: one cell a page.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use std::vec::Vec;

use super::machine::GuestMachine;
use super::{Attributes, DEVICE, GIB, Geometry, Ipa, MIB, MapError, PAGE, Pa, RAM, READ_ONLY, Stage2, ipas};

/// Pages in the window that the changes are made in: 36 MiB on both sides of a 1 GiB border.
const PAGES: u64 = 72 * MIB / PAGE;

#[derive(Clone, Copy, Debug)]
enum Change {
    Map { memory: u64, attributes: Attributes },
    Unmap,
    Protect { attributes: Attributes },
}

/// A change and the pages of the window that it is made to.
type Step = (u64, u64, Change);

fn attributes() -> impl Strategy<Value = Attributes> {
    prop_oneof![Just(RAM), Just(DEVICE), Just(READ_ONLY)]
}

/// Pages of a unit that some leaf has, so that blocks, groups and their borders are all met often.
fn unit() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(16), Just(512), Just(8192)]
}

fn change() -> impl Strategy<Value = Change> {
    // Offsets between guest and machine addresses: mostly such that blocks are possible, and two
    // that are equal now and then, so that mapping the same again happens.
    let memory = prop_oneof![
        4 => Just(0),
        1 => Just(8192),
        1 => Just(512),
        1 => Just(16),
        1 => Just(1),
    ];
    prop_oneof![
        3 => (memory, attributes())
            .prop_map(|(memory, attributes)| Change::Map { memory, attributes }),
        2 => Just(Change::Unmap),
        2 => attributes().prop_map(|attributes| Change::Protect { attributes }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (unit(), any::<u64>(), unit(), 1..20_u64, 0..3_u64, change()).prop_map(
        |(unit, place, length_unit, count, more, change)| {
            let first = place % PAGES / unit * unit;
            let count = (length_unit * count + more).min(PAGES - first);
            (first, count, change)
        },
    )
}

fn index(page: u64) -> usize {
    usize::try_from(page).unwrap()
}

/// What the page leads to.
type Cell = Option<(u64, Attributes)>;

/// Makes the change to the flat map, or returns the error that it must give.
fn apply(flat: &mut [Cell], base: u64, (first, count, change): Step) -> Result<(), MapError> {
    let range = index(first)..index(first + count);
    let ipa_of = |index: usize| Ipa(base + (first + index as u64) * PAGE);
    let cells = &mut flat[range];
    match change {
        Change::Map { memory, attributes } => {
            let wanted = |index: usize| (memory_of(first + index as u64, memory), attributes);
            let other = |(index, cell): (usize, &Cell)| cell.is_some_and(|cell| cell != wanted(index)).then_some(index);
            if let Some(index) = cells.iter().enumerate().find_map(other) {
                return Err(MapError::Conflict(ipa_of(index)));
            }
            for (index, cell) in cells.iter_mut().enumerate() {
                *cell = Some(wanted(index));
            }
        }
        Change::Unmap => cells.fill(None),
        Change::Protect { attributes } => {
            if let Some(index) = cells.iter().position(Option::is_none) {
                return Err(MapError::NotMapped(ipa_of(index)));
            }
            for (_, cell) in cells.iter_mut().flatten() {
                *cell = attributes;
            }
        }
    }
    Ok(())
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

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 128 },
        // Failures are printed with their input; nothing is written beside the sources.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
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
            let (first, count, change) = step;
            let range = ipas(base + first * PAGE, count * PAGE);
            let result = match change {
                Change::Map { memory, attributes } => {
                    let pa = Pa(memory_of(first, memory));
                    stage2.map(range, pa, attributes, &mut machine)
                }
                Change::Unmap => stage2.unmap(range, &mut machine),
                Change::Protect { attributes } => stage2.protect(range, attributes, &mut machine),
            };
            prop_assert_eq!(result, apply(&mut flat, base, step), "{:x?}", step);
            machine.assert_quiet(&stage2);
            let expected: Vec<_> =
                flat.iter().map(|cell| cell.map(|(pa, a)| (pa, a.encode(fwb)))).collect();
            prop_assert_eq!(flatten(&stage2, &machine, base) == expected, true, "{:x?}", step);
        }
        // The walk of `translate` finds the same as the machine's.
        for (page, cell) in flat.iter().enumerate() {
            let found = stage2.translate(Ipa(base + page as u64 * PAGE + 8), &machine);
            prop_assert_eq!(found, cell.map(|(pa, attributes)| (Pa(pa + 8), attributes)));
        }
    }
}
