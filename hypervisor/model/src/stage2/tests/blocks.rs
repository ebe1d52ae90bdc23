//! Which leaves a mapping is made of, and what splitting leaves of them.

use std::vec::Vec;

use super::machine::{GuestMachine, Leaf};
use super::{DEVICE, GIB, Ipa, MIB, PAGE, Pa, RAM, READ_ONLY, Stage2, ipas, stage2};

/// Sizes of the leaves in order, a contiguous group as one.
fn sizes(stage2: &Stage2, machine: &GuestMachine) -> Vec<u64> {
    machine.assert_quiet(stage2);
    let leaves = machine.leaves(stage2);
    let mut sizes = Vec::new();
    let mut at = 0;
    while let Some(Leaf { size, contiguous, .. }) = leaves.get(at) {
        let count = if *contiguous { 16 } else { 1 };
        sizes.push(size * count as u64);
        at += count;
    }
    sizes
}

fn mapped(bits: u8, ipa: u64, size: u64, pa: u64) -> (Stage2, GuestMachine) {
    let (stage2, mut machine) = stage2(bits);
    stage2.map(ipas(ipa, size), Pa(pa), RAM, &mut machine).unwrap();
    (stage2, machine)
}

#[test]
fn an_aligned_gibibyte_is_one_block_where_the_tables_have_level_1() {
    for bits in [36, 40, 44, 48] {
        let (stage2, machine) = mapped(bits, GIB, GIB, 4 * GIB);
        assert_eq!(sizes(&stage2, &machine), [GIB]);
    }
}

#[test]
fn tables_that_start_at_level_2_use_groups_of_32_mib() {
    let (stage2, machine) = mapped(32, GIB, GIB, 4 * GIB);
    assert_eq!(sizes(&stage2, &machine), [32 * MIB; 32]);
    assert_eq!(machine.allocations, [4], "no table beyond the start tables");
}

#[test]
fn leaves_grow_and_shrink_with_the_alignment() {
    let (stage2, machine) = mapped(36, GIB - 0x1_1000, GIB + 0x2_2000, 4 * GIB - 0x1_1000);
    assert_eq!(sizes(&stage2, &machine), [PAGE, 0x1_0000, GIB, 0x1_0000, PAGE]);
    let (stage2, machine) = mapped(36, GIB - 34 * MIB, 68 * MIB, 4 * GIB - 34 * MIB);
    assert_eq!(sizes(&stage2, &machine), [2 * MIB, 32 * MIB, 32 * MIB, 2 * MIB]);
}

#[test]
fn the_alignment_of_both_addresses_counts() {
    let (stage2, machine) = mapped(36, GIB, 4 * MIB, 4 * GIB + 2 * MIB);
    assert_eq!(sizes(&stage2, &machine), [2 * MIB; 2]);
    let (stage2, machine) = mapped(36, GIB, 32 * MIB, 4 * GIB + 2 * MIB);
    assert_eq!(sizes(&stage2, &machine), [2 * MIB; 16], "no group off its alignment");
    let (stage2, machine) = mapped(36, GIB, 2 * MIB, 4 * GIB + 0x1_0000);
    assert_eq!(sizes(&stage2, &machine), [0x1_0000; 32]);
    let (stage2, machine) = mapped(36, GIB, 0x2_0000, 4 * GIB + PAGE);
    assert_eq!(sizes(&stage2, &machine), [PAGE; 32]);
}

#[test]
fn neighbours_with_other_attributes_share_no_leaf() {
    let (stage2, mut machine) = mapped(32, GIB, 0x8000, 4 * GIB);
    let second = ipas(GIB + 0x8000, 0x8000);
    stage2.map(second, Pa(4 * GIB + 0x8000), DEVICE, &mut machine).unwrap();
    assert_eq!(sizes(&stage2, &machine), [PAGE; 16]);
    assert_eq!(stage2.translate(Ipa(GIB + 0x7fff), &machine), Some((Pa(4 * GIB + 0x7fff), RAM)));
    let (pa, attributes) = stage2.translate(Ipa(GIB + 0x8000), &machine).unwrap();
    assert_eq!((pa, attributes), (Pa(4 * GIB + 0x8000), DEVICE));
}

#[test]
fn unmapping_a_page_of_a_gibibyte_splits_only_along_the_way() {
    let (stage2, mut machine) = mapped(36, GIB, GIB, 4 * GIB);
    stage2.unmap(ipas(GIB + 5 * PAGE, PAGE), &mut machine).unwrap();
    let mut expected = Vec::new();
    expected.extend([PAGE; 15]);
    expected.extend([0x1_0000; 31]);
    expected.extend([2 * MIB; 15]);
    expected.extend([32 * MIB; 31]);
    assert_eq!(sizes(&stage2, &machine), expected);
    assert_eq!(stage2.translate(Ipa(GIB + 5 * PAGE), &machine), None);
    for page in [4, 6, 0x3_ffff] {
        let pa = Pa(4 * GIB + page * PAGE + 1);
        assert_eq!(stage2.translate(Ipa(GIB + page * PAGE + 1), &machine), Some((pa, RAM)));
    }
    assert_eq!(machine.allocations, [1, 1, 1]);
}

#[test]
fn unmapping_all_of_a_block_splits_nothing_and_invalidates_once() {
    for (bits, size, stride) in [(36, GIB, GIB), (36, 64 * MIB, 2 * MIB), (32, 0x2_0000, PAGE)] {
        let (stage2, mut machine) = mapped(bits, GIB, size, 4 * GIB);
        let tables = machine.allocations.len();
        // Holes around it cost the TLBs nothing.
        stage2.unmap(ipas(GIB - MIB, size + 2 * MIB), &mut machine).unwrap();
        assert!(sizes(&stage2, &machine).is_empty());
        assert_eq!(machine.allocations.len(), tables);
        assert_eq!(machine.invalidations, [(ipas(GIB, size), stride)]);
    }
}

#[test]
fn unmapping_nothing_does_nothing() {
    let (stage2, mut machine) = stage2(40);
    stage2.unmap(ipas(0, 1 << 40), &mut machine).unwrap();
    assert_eq!((machine.stores, machine.invalidations.len()), (0, 0));
}

#[test]
fn the_whole_space_can_be_mapped_and_unmapped() {
    for bits in [32, 36, 44] {
        let (stage2, mut machine) = mapped(bits, 0, 1 << bits, 0);
        let last = Ipa((1 << bits) - 1);
        assert_eq!(stage2.translate(last, &machine), Some((Pa(last.0), RAM)));
        machine.assert_quiet(&stage2);
        stage2.unmap(ipas(PAGE, (1 << bits) - PAGE), &mut machine).unwrap();
        assert_eq!(machine.leaves(&stage2).len(), 1);
        machine.assert_quiet(&stage2);
    }
}

#[test]
fn tables_left_empty_are_used_again() {
    let (stage2, mut machine) = mapped(36, GIB, 2 * MIB, 4 * GIB);
    for _ in 0..3 {
        stage2.unmap(ipas(GIB, PAGE), &mut machine).unwrap();
        stage2.unmap(ipas(GIB, 2 * MIB), &mut machine).unwrap();
        stage2.map(ipas(GIB, 2 * MIB), Pa(4 * GIB), RAM, &mut machine).unwrap();
        assert_eq!(sizes(&stage2, &machine), [0x1_0000; 32]);
        assert_eq!(machine.allocations, [1, 1, 1]);
    }
}

#[test]
fn a_change_of_attributes_keeps_blocks_and_groups() {
    for (size, leaf) in [(GIB, GIB), (64 * MIB, 32 * MIB), (2 * MIB, 2 * MIB), (0x1_0000, 0x1_0000)] {
        let (stage2, mut machine) = mapped(36, GIB, size, 4 * GIB);
        stage2.protect(ipas(GIB, size), READ_ONLY, &mut machine).unwrap();
        assert!(sizes(&stage2, &machine).iter().all(|&size| size == leaf));
        let last = stage2.translate(Ipa(GIB + size - 1), &machine);
        assert_eq!(last, Some((Pa(4 * GIB + size - 1), READ_ONLY)));
    }
}

#[test]
fn a_change_of_attributes_stays_in_its_range() {
    let (stage2, mut machine) = mapped(36, GIB, GIB, 4 * GIB);
    stage2.protect(ipas(GIB + 0x7000, 0x2000), READ_ONLY, &mut machine).unwrap();
    machine.assert_quiet(&stage2);
    for (page, attributes) in [(6, RAM), (7, READ_ONLY), (8, READ_ONLY), (9, RAM)] {
        let pa = Pa(4 * GIB + page * PAGE);
        assert_eq!(stage2.translate(Ipa(GIB + page * PAGE), &machine), Some((pa, attributes)));
    }
}

#[test]
fn a_change_to_the_same_attributes_stores_nothing() {
    let (stage2, mut machine) = mapped(36, GIB, GIB, 4 * GIB);
    let stores = machine.stores;
    stage2.protect(ipas(GIB, GIB), RAM, &mut machine).unwrap();
    assert_eq!((machine.stores, machine.invalidations.len()), (stores, 0));
}

#[test]
fn mapping_256_mib_costs_a_store_and_three_loads_a_block() {
    for bits in [32, 36] {
        let (stage2, machine) = mapped(bits, GIB, 256 * MIB, 4 * GIB + 32 * MIB);
        assert_eq!(sizes(&stage2, &machine), [32 * MIB; 8]);
        assert!(machine.stores <= 128 + 1);
        assert!(machine.loads.get() <= 3 * 128, "{}", machine.loads.get());
    }
}
