//! T1 and T2 over whole layouts.

use std::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::super::{Fault, Kind};
use super::{Claimed, Extent, Layout, Occupant, Occupied, RegionFact, check, fault, other_owner};

const MIB: u64 = 0x10_0000;

fn at(start: u64, size: u64) -> Region<Pa> {
    Region::new(Pa(start), size).unwrap()
}

fn coherent(name: &str, start: u64, size: u64) -> RegionFact<'_> {
    RegionFact { name, kind: Kind::Coherent, extent: Extent::One(at(start, size)) }
}

/// Two `/memory` ranges that adjoin, 1 GiB to 1.5 GiB to 2 GiB.
const MEMORY: [Region<Pa>; 2] =
    [Region { start: Pa(0x4000_0000), size: 0x2000_0000 }, Region { start: Pa(0x6000_0000), size: 0x2000_0000 }];

fn layout<'a>(regions: &'a [RegionFact<'a>]) -> Layout<'a> {
    Layout { regions, occupied: &[], memory: &MEMORY, pa_bits: 40 }
}

fn only(region: RegionFact<'static>) -> Option<Fault<'static>> {
    let regions = std::boxed::Box::leak(std::boxed::Box::new([region]));
    fault(&layout(regions), 0)
}

#[test]
fn a_region_outside_of_memory_has_no_fault() {
    assert_eq!(only(coherent("gpu", 0x40_0000_0000, 64 * MIB)), None);
    // It may adjoin /memory.
    assert_eq!(only(coherent("gpu", 0x8000_0000, 64 * MIB)), None);
    assert_eq!(only(coherent("gpu", 0x3c00_0000, 64 * MIB)), None);
}

#[test]
fn a_region_wholly_inside_memory_is_carved_out_and_no_fault() {
    assert_eq!(only(coherent("gpu", 0x4000_0000, 64 * MIB)), None);
    assert_eq!(only(coherent("gpu", 0x7c00_0000, 64 * MIB)), None);
    // Across the border of two /memory ranges that adjoin.
    assert_eq!(only(coherent("gpu", 0x5e00_0000, 64 * MIB)), None);
    assert_eq!(only(coherent("gpu", 0x4000_0000, 1024 * MIB)), None);
}

#[test]
fn a_region_partly_inside_memory_is_refused() {
    let partly = Some(Fault::PartlyInMemory);
    assert_eq!(only(coherent("gpu", 0x3ffff000, 0x2000)), partly);
    assert_eq!(only(coherent("gpu", 0x7ffff000, 0x2000)), partly);
    assert_eq!(only(coherent("gpu", 0x3000_0000, 2048 * MIB)), partly);
    assert_eq!(only(coherent("gpu", 0x4000_0000, 1025 * MIB)), partly);
}

#[test]
fn a_hole_between_memory_ranges_is_outside() {
    let memory = [at(0x4000_0000, MIB), at(0x4020_0000, MIB)];
    let regions = [coherent("across", 0x4000_0000, 3 * MIB), coherent("hole", 0x4010_0000, MIB)];
    let across = Layout { memory: &memory, ..layout(&regions[..1]) };
    assert_eq!(fault(&across, 0), Some(Fault::PartlyInMemory));
    let hole = Layout { memory: &memory, ..layout(&regions[1..]) };
    assert_eq!(fault(&hole, 0), None);
}

#[test]
fn memory_ranges_that_overlap_cover_no_more_than_their_union() {
    let memory = [at(0x4000_0000, 2 * MIB), at(0x4010_0000, MIB)];
    let regions = [coherent("gpu", 0x4000_0000, 3 * MIB)];
    let layout = Layout { memory: &memory, ..layout(&regions) };
    assert_eq!(fault(&layout, 0), Some(Fault::PartlyInMemory));
}

#[test]
fn a_region_needs_exactly_one_reg() {
    let region = coherent("gpu", 0, 0x1000);
    assert_eq!(only(RegionFact { extent: Extent::Missing, ..region }), Some(Fault::NoReg));
    let several = RegionFact { extent: Extent::Several, ..region };
    assert_eq!(only(several), Some(Fault::SeveralRegs));
}

#[test]
fn a_region_that_is_not_of_whole_pages_is_refused() {
    assert_eq!(only(coherent("gpu", 0x40_0000_0800, 0x1000)), Some(Fault::Unaligned));
    assert_eq!(only(coherent("gpu", 0x40_0000_0000, 0x1800)), Some(Fault::Unaligned));
    let bar = |size| RegionFact { extent: Extent::Unplaced(size), ..coherent("npu", 0, 0x1000) };
    assert_eq!(only(bar(0x1000)), None, "a BAR whose place nobody knows yet");
    assert_eq!(only(bar(0x1800)), Some(Fault::Unaligned));
}

#[test]
fn a_region_may_end_where_the_address_space_does_and_not_beyond() {
    assert_eq!(only(coherent("gpu", 0xff_ffff_f000, 0x1000)), None);
    assert_eq!(only(coherent("gpu", 0xff_ffff_f000, 0x2000)), Some(Fault::Beyond(40)));
    let regions = [coherent("gpu", 0xffff_ffff_f000, 0x2000)];
    let wide = Layout { pa_bits: 52, ..layout(&regions) };
    assert_eq!(fault(&wide, 0), Some(Fault::Beyond(48)), "descriptors end at 48 bits");
}

#[test]
fn ram_is_held_to_the_address_space_only() {
    let ram = RegionFact { kind: Kind::Ram, ..coherent("memory", 0x4000_0000, 0x2000_0800) };
    assert_eq!(only(ram), None);
    let beyond = RegionFact { extent: Extent::One(at(0xff_ffff_f000, 0x2000)), ..ram };
    assert_eq!(only(beyond), Some(Fault::Beyond(40)));
}

#[test]
fn what_overlaps_registers_is_told_that_they_are_registers() {
    for (kind, expected) in [
        (Kind::Mmio, Fault::OverlapsRegisters("uart")),
        (Kind::MmioWriteCombining, Fault::OverlapsRegisters("uart")),
        (Kind::Coherent, Fault::Overlaps("uart")),
    ] {
        let device = RegionFact { kind, ..coherent("uart", 0x40_0000_0000, 0x1000) };
        let regions = [coherent("gpu", 0x40_0000_0000, 0x2000), device];
        assert_eq!(fault(&layout(&regions), 0), Some(expected));
    }
}

#[test]
fn overlapping_regions_are_both_refused_and_each_names_the_other() {
    let regions = [
        coherent("gpu", 0x40_0000_0000, 2 * MIB),
        coherent("apart", 0x41_0000_0000, MIB),
        coherent("npu", 0x40_0010_0000, 2 * MIB),
    ];
    let found: Vec<_> = check(&layout(&regions)).collect();
    assert_eq!(found, [(0, Fault::Overlaps("npu")), (2, Fault::Overlaps("gpu"))]);
}

#[test]
fn a_region_carved_out_of_ram_does_not_overlap_it() {
    let ram = RegionFact { kind: Kind::Ram, ..coherent("memory", 0x4000_0000, 1024 * MIB) };
    let regions = [ram, coherent("gpu", 0x5000_0000, MIB)];
    assert_eq!(check(&layout(&regions)).count(), 0);
}

#[test]
fn what_is_occupied_goes_to_nobody() {
    let regions = [coherent("gpu", 0x40_0000_0000, 2 * MIB)];
    for (occupant, expected) in [
        (Occupant::TagStorage, Fault::OverlapsTagStorage("x")),
        (Occupant::Firmware, Fault::OverlapsReservation("x")),
        (Occupant::Assay, Fault::OverlapsAssay),
    ] {
        let mut occupied = [Occupied { name: "x", occupant, region: at(0x40_001f_f000, 0x1000) }];
        let with = Layout { occupied: &occupied, ..layout(&regions) };
        assert_eq!(fault(&with, 0), Some(expected));
        occupied[0].region = at(0x40_0020_0000, 0x1000);
        let with = Layout { occupied: &occupied, ..layout(&regions) };
        assert_eq!(fault(&with, 0), None);
    }
}

#[test]
fn an_index_beyond_the_list_has_neither_fault_nor_owner() {
    assert_eq!(fault(&layout(&[]), 0), None);
    assert_eq!(other_owner(&[], 0), None);
}

#[test]
fn two_claims_on_a_region_name_each_other() {
    let claims =
        [Claimed { vm: "linux", region: 0 }, Claimed { vm: "zephyr", region: 1 }, Claimed { vm: "debian", region: 0 }];
    let owners = [0, 1, 2].map(|claim| other_owner(&claims, claim));
    assert_eq!(owners, [Some("debian"), None, Some("linux")]);
}

#[test]
fn a_vm_that_claims_a_region_twice_is_its_own_rival() {
    let claim = Claimed { vm: "linux", region: 3 };
    assert_eq!(other_owner(&[claim, claim], 0), Some("linux"));
}
