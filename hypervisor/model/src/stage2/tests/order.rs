//! The order of stores and TLB maintenance, and calls that fail half way.

use super::machine::GuestMachine;
use super::{DEVICE, GIB, MIB, MapError, PAGE, Pa, RAM, Stage2, ipas, stage2};

/// Runs `call` with ever more memory for tables until it succeeds; each failure must leave all as it was.
fn starve(
    prepare: impl Fn(&Stage2, &mut GuestMachine),
    call: impl Fn(&Stage2, &mut GuestMachine) -> Result<(), MapError>,
) -> usize {
    for allocations in 0..16 {
        let (stage2, mut machine) = stage2(44);
        prepare(&stage2, &mut machine);
        let before = flattened(&stage2, &machine);
        machine.allocations_left = allocations;
        match call(&stage2, &mut machine) {
            Ok(()) => {
                machine.assert_quiet(&stage2);
                return allocations;
            }
            Err(error) => assert_eq!(error, MapError::OutOfTables),
        }
        machine.assert_quiet(&stage2);
        assert_eq!(flattened(&stage2, &machine), before);
    }
    panic!("16 tables are not enough");
}

/// Pages, not leaves: splitting changes no translation.
fn flattened(stage2: &Stage2, machine: &GuestMachine) -> std::vec::Vec<(u64, u64, u64)> {
    let mut ranges: std::vec::Vec<(u64, u64, u64)> = std::vec::Vec::new();
    let mut end = (0, 0, 0);
    for leaf in machine.leaves(stage2) {
        if end != (leaf.ipa, leaf.pa, leaf.attributes) {
            ranges.push((leaf.ipa, leaf.pa, leaf.attributes));
        }
        end = (leaf.ipa + leaf.size, leaf.pa + leaf.size, leaf.attributes);
    }
    ranges.push(end);
    ranges
}

#[test]
fn a_call_that_fails_changes_no_mapping() {
    let block = |stage2: &Stage2, machine: &mut GuestMachine| {
        stage2.map(ipas(GIB, GIB), Pa(4 * GIB), RAM, machine).unwrap();
    };
    let inner = ipas(GIB + 3 * PAGE, 512 * MIB);
    // Level 1, 2 and 3 tables at both ends of an unaligned range.
    let unaligned = ipas(3 * GIB - PAGE, 2 * PAGE);
    let needed = starve(block, |stage2, machine| stage2.map(unaligned, Pa(0), RAM, machine));
    assert_eq!(needed, 4);
    let needed = starve(block, |stage2, machine| stage2.unmap(inner, machine));
    assert_eq!(needed, 3);
    let needed = starve(block, |stage2, machine| stage2.protect(inner, DEVICE, machine));
    assert_eq!(needed, 3);
}

#[test]
fn no_memory_for_the_start_tables_is_an_error() {
    let mut machine = GuestMachine::new();
    machine.allocations_left = 0;
    let geometry = super::Geometry::new(40, 40).unwrap();
    let result = Stage2::new(geometry, true, &mut machine);
    assert_eq!(result.err(), Some(MapError::OutOfTables));
}

/// The machine panics on a store that violates the rule; these are the calls that could.
#[test]
fn no_live_descriptor_is_overwritten_without_break_and_invalidate() {
    let (stage2, mut machine) = stage2(36);
    let all = ipas(GIB, GIB);
    stage2.map(all, Pa(4 * GIB), RAM, &mut machine).unwrap();
    assert!(machine.invalidations.is_empty(), "from invalid to valid needs none");
    stage2.protect(all, DEVICE, &mut machine).unwrap();
    assert_eq!(machine.invalidations, [(all, GIB)]);
    machine.invalidations.clear();

    // 1 GiB to 2 MiB, out of its group, to 4 KiB, out of its group, then the page itself.
    stage2.protect(ipas(GIB + PAGE, PAGE), RAM, &mut machine).unwrap();
    assert_eq!(
        machine.invalidations,
        [
            (all, GIB),
            (ipas(GIB, 32 * MIB), 2 * MIB),
            (ipas(GIB, 2 * MIB), 2 * MIB),
            (ipas(GIB, 16 * PAGE), PAGE),
            (ipas(GIB + PAGE, PAGE), PAGE),
        ]
    );
    machine.assert_quiet(&stage2);
}

#[test]
fn a_contiguous_group_is_broken_whole() {
    let (stage2, mut machine) = stage2(36);
    let group = ipas(GIB, 16 * PAGE);
    stage2.map(group, Pa(4 * GIB), RAM, &mut machine).unwrap();
    let stores = machine.stores;
    stage2.unmap(ipas(GIB + 15 * PAGE, PAGE), &mut machine).unwrap();
    // 16 broken, 16 made, 1 removed.
    assert_eq!(machine.stores - stores, 33);
    assert_eq!(machine.invalidations[0], (group, PAGE));
    assert!(machine.leaves(&stage2).iter().all(|leaf| !leaf.contiguous));
    machine.assert_quiet(&stage2);
}
