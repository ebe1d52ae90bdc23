//! Which leaves a mapping is made of.

use std::vec::Vec;

use super::machine::{GuestMachine, Leaf};
use super::{DEVICE, GIB, MIB, PAGE, Pa, RAM, Stage2, ipas, stage2};

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
    assert_eq!(machine.translate(&stage2, GIB + 0x7fff), Some((4 * GIB + 0x7fff, RAM.encode(true))));
    assert_eq!(machine.translate(&stage2, GIB + 0x8000), Some((4 * GIB + 0x8000, DEVICE.encode(true))));
}

#[test]
fn the_whole_space_can_be_mapped() {
    for bits in [32, 36, 44] {
        let (stage2, machine) = mapped(bits, 0, 1 << bits, 0);
        let last = (1 << bits) - 1;
        assert_eq!(machine.translate(&stage2, last), Some((last, RAM.encode(true))));
        machine.assert_quiet(&stage2);
    }
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
