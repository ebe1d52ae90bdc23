//! A page leaves tables that were in use: every other page translates as before.

use proptest::prelude::{Just, any, prop_assert_eq, prop_oneof, proptest};
use std::vec::Vec;

use super::super::WithdrawError;
use super::machine::{GuestMachine, Leaf};
use super::{Attributes, DEVICE, GIB, Geometry, Ipa, MIB, PAGE, Pa, RAM, READ_ONLY, Stage2, config, ipas};

/// What is mapped in one piece, however many leaves that takes: guest address, bytes, memory and attribute bits.
type Run = (u64, u64, u64, u64);

fn runs(stage2: &Stage2, machine: &GuestMachine) -> Vec<Run> {
    machine.assert_quiet(stage2);
    let mut runs: Vec<Run> = Vec::new();
    for Leaf { ipa, size, pa, attributes, .. } in machine.leaves(stage2) {
        match runs.last_mut() {
            Some((start, length, to, bits))
                if *start + *length == ipa && *to + *length == pa && *bits == attributes =>
            {
                *length += size;
            }
            _ => runs.push((ipa, size, pa, attributes)),
        }
    }
    runs
}

/// The same runs without the page.
fn without(runs: &[Run], page: u64) -> Vec<Run> {
    let cut = |&(ipa, size, pa, bits): &Run| {
        if !(ipa..ipa + size).contains(&page) {
            return [(ipa, size, pa, bits), (0, 0, 0, 0)];
        }
        let below = page - ipa;
        [(ipa, below, pa, bits), (page + PAGE, size - below - PAGE, pa + below + PAGE, bits)]
    };
    runs.iter().flat_map(cut).filter(|(_, size, ..)| *size != 0).collect()
}

fn made(bits: u8, fwb: bool, mappings: &[(u64, u64, u64, Attributes)]) -> (Stage2, GuestMachine) {
    let mut machine = GuestMachine::new();
    let stage2 = Stage2::new(Geometry::new(bits, 48).unwrap(), fwb, &mut machine).unwrap();
    machine.watch(&stage2);
    for (ipa, size, pa, attributes) in mappings {
        stage2.map(ipas(*ipa, *size), Pa(*pa), *attributes, &mut machine).unwrap();
    }
    (stage2, machine)
}

/// Takes a page out of one mapping. Returns how many tables that took.
fn withdrawn(bits: u8, mapping: (u64, u64, u64), page: u64) -> Vec<usize> {
    let (ipa, size, pa) = mapping;
    let (stage2, mut machine) = made(bits, true, &[(ipa, size, pa, RAM)]);
    let (before, tables) = (runs(&stage2, &machine), machine.allocations.len());
    // Any byte of it will do.
    assert_eq!(stage2.withdraw(Ipa(page + 0x123), &mut machine), Ok(()));
    assert_eq!(runs(&stage2, &machine), without(&before, page));
    machine.allocations[tables..].to_vec()
}

#[test]
fn a_page_leaves_leaves_of_every_size() {
    // A page, a group of pages, a block of 2 MiB, a group of those, a block of 1 GiB: its first, a middle, its last page.
    let cases: [(u8, u64, u64, &[usize]); 5] = [
        (32, PAGE, GIB + 7 * PAGE, &[]),
        (32, 16 * PAGE, GIB, &[]),
        (32, 2 * MIB, GIB + 2 * MIB, &[1]),
        (32, 32 * MIB, GIB, &[1]),
        (36, GIB, GIB, &[2]),
    ];
    for (bits, size, ipa, tables) in cases {
        for page in [0, size / 2, size - PAGE] {
            let page = ipa + page / PAGE * PAGE;
            assert_eq!(withdrawn(bits, (ipa, size, 4 * GIB + ipa % GIB), page), tables, "{size:#x} {page:#x}");
        }
    }
}

#[test]
fn a_page_that_is_not_there_changes_nothing() {
    let (stage2, mut machine) = made(32, true, &[(GIB, MIB, 4 * GIB, RAM)]);
    let (before, stores) = (runs(&stage2, &machine), machine.stores);
    for page in [0, GIB - PAGE, GIB + MIB, 3 * GIB, 4 * GIB, u64::MAX] {
        assert_eq!(stage2.withdraw(Ipa(page), &mut machine), Ok(()));
    }
    assert_eq!((runs(&stage2, &machine), machine.stores), (before, stores));
    // Nor does one that has left already.
    assert_eq!(stage2.withdraw(Ipa(GIB), &mut machine), Ok(()));
    let (before, stores) = (runs(&stage2, &machine), machine.stores);
    assert_eq!(stage2.withdraw(Ipa(GIB), &mut machine), Ok(()));
    assert_eq!((runs(&stage2, &machine), machine.stores), (before, stores));
}

#[test]
fn without_tables_or_while_a_device_uses_them_all_stays() {
    let (stage2, mut machine) = made(36, true, &[(GIB, GIB, 4 * GIB, RAM)]);
    let (before, stores) = (runs(&stage2, &machine), machine.stores);
    machine.busy = true;
    assert_eq!(stage2.withdraw(Ipa(GIB), &mut machine), Err(WithdrawError::Busy));
    (machine.busy, machine.allocations_left) = (false, 0);
    assert_eq!(stage2.withdraw(Ipa(GIB), &mut machine), Err(WithdrawError::OutOfTables));
    assert_eq!((runs(&stage2, &machine), machine.stores), (before.clone(), stores));
    // Later there are some.
    machine.allocations_left = 1;
    assert_eq!(stage2.withdraw(Ipa(GIB), &mut machine), Ok(()));
    assert_eq!(runs(&stage2, &machine), without(&before, GIB));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn only_the_page_leaves(
        bits in prop_oneof![Just(34), Just(36), Just(40), Just(44), Just(48)],
        fwb in any::<bool>(),
        // Of pages: how far memory is off the guest's alignment, what lies before a block, and the mapping's end.
        offset in prop_oneof![3 => Just(0), 1 => Just(512), 1 => Just(16), 1 => Just(1)],
        head in prop_oneof![Just(0), Just(1), Just(16), Just(512), Just(8192)],
        tail in prop_oneof![Just(0), Just(1), Just(17), Just(513), Just(8191)],
        pages in proptest::collection::vec((any::<u64>(), any::<bool>()), 1..16),
    ) {
        // A GiB of single pages would take long.
        let start = if offset % 512 == 0 { GIB } else { 2 * GIB - 34 * MIB };
        let (first, last) = (start - head * PAGE, 2 * GIB + tail * PAGE);
        let mappings = [
            (first, last - first, 7 * GIB + first + offset * PAGE, RAM),
            (last, 2 * MIB, 16 * GIB, DEVICE),
            (last + 2 * MIB, 17 * PAGE, 16 * GIB + 2 * MIB, READ_ONLY),
        ];
        let (stage2, mut machine) = made(bits, fwb, &mappings);
        let mut expected = runs(&stage2, &machine);
        let mut before = first;
        for (page, is_near) in pages {
            // Near the one before, so that a leaf loses several; or anywhere, also beyond the end.
            let all = (last - first) / PAGE + 600;
            let page = if is_near { before + page % 20 * PAGE } else { first + page % all * PAGE };
            prop_assert_eq!(stage2.withdraw(Ipa(page), &mut machine), Ok(()));
            expected = without(&expected, page);
            prop_assert_eq!(runs(&stage2, &machine), expected.clone(), "{:#x}", page);
            before = page;
        }
    }
}
