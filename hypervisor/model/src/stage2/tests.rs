//! Stage 2 against a machine that watches every store, and against a flat map.

use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::stage2_desc::{Attributes, MemAttr, Rights};

use proptest::prelude::ProptestConfig;

use super::{Geometry, MapError, Stage2};
use machine::GuestMachine;

mod blocks;
mod flat;
mod machine;
mod withdraw;

const PAGE: u64 = 0x1000;
const MIB: u64 = 0x10_0000;
const GIB: u64 = 0x4000_0000;

const RAM: Attributes = Attributes { mem: MemAttr::NormalWb, rights: Rights::ReadWrite, exec: true };
const DEVICE: Attributes = Attributes { mem: MemAttr::DeviceNgnre, rights: Rights::ReadWrite, exec: false };
const READ_ONLY: Attributes = Attributes { mem: MemAttr::NormalWb, rights: Rights::ReadOnly, exec: false };

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 128 },
        // Failures are printed with their input; nothing is written beside the sources.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn ipas(start: u64, size: u64) -> Region<Ipa> {
    Region::new(Ipa(start), size).unwrap()
}

/// An empty stage 2 with FWB and its machine.
fn stage2(ipa_bits: u8) -> (Stage2, GuestMachine) {
    let mut machine = GuestMachine::new();
    let geometry = Geometry::new(ipa_bits, 48).unwrap();
    let stage2 = Stage2::new(geometry, true, &mut machine).unwrap();
    machine.watch(&stage2);
    machine.assert_quiet(&stage2);
    (stage2, machine)
}

fn translate(stage2: &Stage2, machine: &GuestMachine, ipa: u64) -> Option<(u64, u64)> {
    machine.translate(stage2, ipa)
}

#[test]
fn empty_tables_map_nothing() {
    let (stage2, machine) = stage2(40);
    assert!(machine.leaves(&stage2).is_empty());
}

#[test]
fn no_memory_for_tables_is_an_error() {
    for allocations in 0..4 {
        let mut machine = GuestMachine::new();
        machine.allocations_left = allocations;
        let made = Stage2::new(Geometry::new(44, 48).unwrap(), true, &mut machine);
        // Level 1, 2 and 3 tables below the start table.
        let mapped = made.and_then(|stage2| stage2.map(ipas(3 * GIB, PAGE), Pa(0), RAM, &mut machine));
        assert_eq!(mapped, Err(MapError::OutOfTables));
    }
}

#[test]
fn start_tables_are_allocated_together_and_aligned_to_their_size() {
    for (bits, pages) in [(32, 4), (34, 16), (36, 1), (43, 16), (48, 1)] {
        let (stage2, machine) = stage2(bits);
        assert_eq!(machine.allocations, [pages]);
        assert_eq!(stage2.root.0 % (pages as u64 * PAGE), 0);
    }
}

#[test]
fn a_table_below_them_is_a_page() {
    let (stage2, mut machine) = stage2(48);
    stage2.map(ipas(3 * GIB, PAGE), Pa(0), RAM, &mut machine).unwrap();
    assert_eq!(machine.allocations, [1; 4]);
}

#[test]
fn a_conflict_inside_a_group_names_the_page_that_is_mapped_already() {
    let (stage2, mut machine) = stage2(32);
    stage2.map(ipas(0x4000_5000, PAGE), Pa(0), RAM, &mut machine).unwrap();
    let conflict = stage2.map(ipas(0x4000_0000, 16 * PAGE), Pa(0), RAM, &mut machine);
    assert_eq!(conflict, Err(MapError::Conflict(Ipa(0x4000_5000))));
}

#[test]
fn vtcr_says_what_the_geometry_is() {
    let (stage2, _) = stage2(40);
    // T0SZ 24, SL0 1, walks WB Inner Shareable, PS 40 bits, RES1.
    assert_eq!(stage2.vtcr(2, false), 0x8002_3558);
}

#[test]
fn a_byte_translates_to_its_own_place_in_the_page() {
    let (stage2, mut machine) = stage2(32);
    stage2.map(ipas(0x4000_0000, PAGE), Pa(0x8765_4000), RAM, &mut machine).unwrap();
    assert_eq!(translate(&stage2, &machine, 0x4000_0abc), Some((0x8765_4abc, RAM.encode(true))));
    assert_eq!(translate(&stage2, &machine, 0x4000_1000), None);
    assert_eq!(translate(&stage2, &machine, 0x3fff_ffff), None);
}

#[test]
fn attributes_are_those_that_were_asked_for_with_and_without_fwb() {
    for fwb in [false, true] {
        let mut machine = GuestMachine::new();
        let geometry = Geometry::new(32, 40).unwrap();
        let stage2 = Stage2::new(geometry, fwb, &mut machine).unwrap();
        machine.watch(&stage2);
        for (at, attributes) in [(0, RAM), (1, DEVICE), (2, READ_ONLY)] {
            stage2.map(ipas(at * PAGE, PAGE), Pa(0), attributes, &mut machine).unwrap();
            assert_eq!(translate(&stage2, &machine, at * PAGE), Some((0, attributes.encode(fwb))));
        }
    }
}

#[test]
fn addresses_must_be_of_whole_pages() {
    let (stage2, mut machine) = stage2(32);
    let mut map = |ipas, pa| stage2.map(ipas, Pa(pa), RAM, &mut machine);
    assert_eq!(map(ipas(0x800, PAGE), 0), Err(MapError::Unaligned));
    assert_eq!(map(ipas(0, 0x1800), 0), Err(MapError::Unaligned));
    assert_eq!(map(ipas(0, PAGE), 0x10), Err(MapError::Unaligned));
}

#[test]
fn addresses_beyond_the_geometry_are_refused() {
    let (stage2, mut machine) = stage2(32);
    let last = ipas((1 << 32) - PAGE, PAGE);
    assert_eq!(stage2.map(last, Pa(0), RAM, &mut machine), Ok(()));
    let over = ipas((1 << 32) - PAGE, 2 * PAGE);
    let beyond = Err(MapError::Beyond);
    assert_eq!(stage2.map(over, Pa(0), RAM, &mut machine), beyond);
    assert_eq!(stage2.map(ipas(u64::MAX - PAGE, PAGE), Pa(0), RAM, &mut machine), beyond);
    let wraps = Region { start: Ipa(PAGE), size: u64::MAX };
    assert_eq!(stage2.map(wraps, Pa(0), RAM, &mut machine), beyond);
    let empty = Region { start: Ipa(PAGE), size: 0 };
    assert_eq!(stage2.map(empty, Pa(0), RAM, &mut machine), beyond);
}

#[test]
fn memory_beyond_48_bits_is_refused() {
    let (stage2, mut machine) = stage2(32);
    let last = Pa((1 << 48) - PAGE);
    assert_eq!(stage2.map(ipas(0, PAGE), last, RAM, &mut machine), Ok(()));
    let beyond = Err(MapError::Beyond);
    assert_eq!(stage2.map(ipas(PAGE, 2 * PAGE), last, RAM, &mut machine), beyond);
    assert_eq!(stage2.map(ipas(PAGE, PAGE), Pa(!0xfff), RAM, &mut machine), beyond);
}

#[test]
fn memory_of_the_hypervisor_is_never_mapped() {
    let (stage2, mut machine) = stage2(32);
    machine.own = Some(Region::new(Pa(0x4008_0000), PAGE).unwrap());
    let map = |size, machine: &mut GuestMachine| stage2.map(ipas(0x4000_0000, size), Pa(0x4000_0000), RAM, machine);
    assert_eq!(map(2 * MIB, &mut machine), Err(MapError::Forbidden));
    assert_eq!(translate(&stage2, &machine, 0x4000_0000), None);
    assert_eq!(map(0x8_0000, &mut machine), Ok(()));
}

#[test]
fn mapping_over_something_is_a_conflict_and_changes_none_of_it() {
    let (stage2, mut machine) = stage2(32);
    stage2.map(ipas(0x4020_0000, 2 * MIB), Pa(0x8020_0000), RAM, &mut machine).unwrap();
    stage2.map(ipas(0x4060_0000, PAGE), Pa(0x8060_0000), RAM, &mut machine).unwrap();
    let before = machine.leaves(&stage2);
    let mut conflict = |start, size, pa, at| {
        let result = stage2.map(ipas(start, size), Pa(pa), RAM, &mut machine);
        assert_eq!(result, Err(MapError::Conflict(Ipa(at))));
    };
    // Other memory, the same memory, a page of a block, and a block over a table.
    conflict(0x4020_0000, 2 * MIB, 0x9000_0000, 0x4020_0000);
    conflict(0x4020_0000, 2 * MIB, 0x8020_0000, 0x4020_0000);
    conflict(0x4030_0000, PAGE, 0x8030_0000, 0x4030_0000);
    conflict(0x4060_0000, 2 * MIB, 0x8060_0000, 0x4060_0000);
    conflict(0x4000_0000, 4 * MIB, 0x8000_0000, 0x4020_0000);
    for leaf in before {
        assert!(machine.leaves(&stage2).contains(&leaf));
    }
}

#[test]
fn errors_say_where() {
    let text = std::format!("{}", MapError::Conflict(Ipa(0x4000_0000)));
    assert_eq!(text, "guest address 0x40000000 is mapped already");
}
