//! Stage 2 against a machine that watches every store, and against a flat map.

use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::stage2_desc::{Attributes, MemAttr, Rights};

use super::{Geometry, MapError, Stage2, Tables};
use machine::GuestMachine;

mod blocks;
mod flat;
mod machine;
mod order;

const PAGE: u64 = 0x1000;
const MIB: u64 = 0x10_0000;
const GIB: u64 = 0x4000_0000;

const RAM: Attributes = Attributes { mem: MemAttr::NormalWb, rights: Rights::ReadWrite, exec: true };
const DEVICE: Attributes = Attributes { mem: MemAttr::DeviceNgnre, rights: Rights::ReadWrite, exec: false };
const READ_ONLY: Attributes = Attributes { mem: MemAttr::NormalWb, rights: Rights::ReadOnly, exec: false };

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

#[test]
fn empty_tables_map_nothing() {
    let (stage2, machine) = stage2(40);
    for ipa in [0, 0x4000_0000, (1 << 40) - 1, 1 << 40, u64::MAX] {
        assert_eq!(stage2.translate(Ipa(ipa), &machine), None);
    }
}

#[test]
fn a_walk_never_leaves_the_start_tables() {
    let (stage2, mut machine) = stage2(36);
    // What lies behind the 64 entries of the start table, and looks like a block.
    machine.store(Pa(stage2.root.0 + 64 * 8), 0x4000_07d9);
    assert_eq!(stage2.translate(Ipa(1 << 36), &machine), None);
}

#[test]
fn start_tables_are_allocated_together_and_aligned_to_their_size() {
    for (bits, pages) in [(32, 4), (34, 16), (36, 1), (43, 16), (48, 1)] {
        let (stage2, machine) = stage2(bits);
        assert_eq!(machine.allocations, [pages]);
        assert_eq!(stage2.vttbr(7), 7 << 48 | stage2.root.0);
        assert_eq!(stage2.root.0 % (pages as u64 * PAGE), 0);
    }
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
    assert_eq!(stage2.translate(Ipa(0x4000_0abc), &machine), Some((Pa(0x8765_4abc), RAM)));
    assert_eq!(stage2.translate(Ipa(0x4000_1000), &machine), None);
    assert_eq!(stage2.translate(Ipa(0x3fff_ffff), &machine), None);
}

#[test]
fn attributes_come_back_with_and_without_fwb() {
    for fwb in [false, true] {
        let mut machine = GuestMachine::new();
        let geometry = Geometry::new(32, 40).unwrap();
        let stage2 = Stage2::new(geometry, fwb, &mut machine).unwrap();
        machine.watch(&stage2);
        for (at, attributes) in [(0, RAM), (1, DEVICE), (2, READ_ONLY)] {
            stage2.map(ipas(at * PAGE, PAGE), Pa(0), attributes, &mut machine).unwrap();
            let found = stage2.translate(Ipa(at * PAGE), &machine);
            assert_eq!(found, Some((Pa(0), attributes)));
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
    assert_eq!(stage2.unmap(ipas(0x800, PAGE), &mut machine), Err(MapError::Unaligned));
    let protected = stage2.protect(ipas(0, 0x1801), RAM, &mut machine);
    assert_eq!(protected, Err(MapError::Unaligned));
}

#[test]
fn addresses_beyond_the_geometry_are_refused() {
    let (stage2, mut machine) = stage2(32);
    let last = ipas((1 << 32) - PAGE, PAGE);
    assert_eq!(stage2.map(last, Pa(0), RAM, &mut machine), Ok(()));
    let over = ipas((1 << 32) - PAGE, 2 * PAGE);
    let beyond = Err(MapError::Beyond);
    assert_eq!(stage2.map(over, Pa(0), RAM, &mut machine), beyond);
    assert_eq!(stage2.unmap(over, &mut machine), beyond);
    assert_eq!(stage2.protect(over, DEVICE, &mut machine), beyond);
    assert_eq!(stage2.map(ipas(u64::MAX - PAGE, PAGE), Pa(0), RAM, &mut machine), beyond);
    let wraps = Region { start: Ipa(PAGE), size: u64::MAX };
    assert_eq!(stage2.map(wraps, Pa(0), RAM, &mut machine), beyond);
    let empty = Region { start: Ipa(PAGE), size: 0 };
    assert_eq!(stage2.unmap(empty, &mut machine), beyond);
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
    assert_eq!(stage2.translate(Ipa(0x4000_0000), &machine), None);
    assert_eq!(map(0x8_0000, &mut machine), Ok(()));
}

#[test]
fn mapping_over_something_else_is_a_conflict_and_changes_nothing() {
    let (stage2, mut machine) = stage2(32);
    stage2.map(ipas(0x4020_0000, 2 * MIB), Pa(0x8020_0000), RAM, &mut machine).unwrap();
    let before = machine.leaves(&stage2);
    let conflict = Err(MapError::Conflict(Ipa(0x4020_0000)));
    // Other memory, other attributes, and a range that only ends in it.
    let wide = ipas(0x4000_0000, 4 * MIB);
    assert_eq!(stage2.map(wide, Pa(0x9000_0000), RAM, &mut machine), conflict);
    assert_eq!(stage2.map(wide, Pa(0x8000_0000), DEVICE, &mut machine), conflict);
    let one = ipas(0x4020_0000, PAGE);
    assert_eq!(stage2.map(one, Pa(0x8020_1000), RAM, &mut machine), conflict);
    assert_eq!(machine.leaves(&stage2), before);
}

#[test]
fn mapping_the_same_again_fills_the_holes_only() {
    let (stage2, mut machine) = stage2(32);
    stage2.map(ipas(0x4020_0000, 2 * MIB), Pa(0x8020_0000), RAM, &mut machine).unwrap();
    stage2.map(ipas(0x4000_0000, 6 * MIB), Pa(0x8000_0000), RAM, &mut machine).unwrap();
    stage2.map(ipas(0x4030_0000, PAGE), Pa(0x8030_0000), RAM, &mut machine).unwrap();
    assert_eq!(stage2.translate(Ipa(0x4000_0000), &machine), Some((Pa(0x8000_0000), RAM)));
    assert_eq!(stage2.translate(Ipa(0x405f_ffff), &machine), Some((Pa(0x805f_ffff), RAM)));
    assert_eq!(machine.leaves(&stage2).len(), 3);
}

#[test]
fn changing_attributes_where_nothing_is_mapped_is_an_error_and_changes_nothing() {
    let (stage2, mut machine) = stage2(32);
    stage2.map(ipas(0x4000_0000, MIB), Pa(0x8000_0000), RAM, &mut machine).unwrap();
    let before = machine.leaves(&stage2);
    let result = stage2.protect(ipas(0x4000_0000, 2 * MIB), DEVICE, &mut machine);
    assert_eq!(result, Err(MapError::NotMapped(Ipa(0x4010_0000))));
    assert_eq!(machine.leaves(&stage2), before);
}

#[test]
fn errors_say_where() {
    let text = std::format!("{}", MapError::Conflict(Ipa(0x4000_0000)));
    assert_eq!(text, "guest address 0x40000000 is mapped to something else already");
}
