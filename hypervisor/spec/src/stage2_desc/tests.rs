//! Golden values, written out by hand from the manual's figures.

use super::{Attributes, Descriptor, MemAttr, Rights, Shape, Vtcr, entry_size, pa_bits, vttbr};
use crate::addr::Pa;

const ALL: [MemAttr; 4] = [MemAttr::NormalWb, MemAttr::NormalWbNoTag, MemAttr::NormalNc, MemAttr::DeviceNgnre];

fn bits(mem: MemAttr, rights: Rights, exec: bool, fwb: bool) -> u64 {
    Attributes { mem, rights, exec }.encode(fwb)
}

#[test]
fn memory_types_have_the_encodings_of_the_manual() {
    assert_eq!(ALL.map(|mem| mem.encode(false)), [0b1111, 0b0100, 0b0101, 0b0001]);
    assert_eq!(ALL.map(|mem| mem.encode(true)), [0b0110, 0b1110, 0b0101, 0b0001]);
}

#[test]
fn a_write_back_page_is_inner_shareable_accessed_and_executable() {
    let attributes = bits(MemAttr::NormalWb, Rights::ReadWrite, true, true);
    assert_eq!(Descriptor::leaf(3, Pa(0x4000_1000), attributes).0, 0x4000_17db);
    let attributes = bits(MemAttr::NormalWb, Rights::ReadWrite, true, false);
    assert_eq!(Descriptor::leaf(3, Pa(0x4000_1000), attributes).0, 0x4000_17ff);
}

#[test]
fn a_read_only_page_has_s2ap_01() {
    let attributes = bits(MemAttr::NormalWb, Rights::ReadOnly, true, true);
    assert_eq!(Descriptor::leaf(3, Pa(0x1000), attributes).0, 0x175b);
}

#[test]
fn a_block_has_bit_1_clear() {
    let attributes = bits(MemAttr::NormalWb, Rights::ReadWrite, true, true);
    assert_eq!(Descriptor::leaf(2, Pa(0x4020_0000), attributes).0, 0x4020_07d9);
    assert_eq!(Descriptor::leaf(1, Pa(0x4000_0000), attributes).0, 0x4000_07d9);
}

#[test]
fn only_xn_0b10_lets_no_exception_level_execute() {
    for (xn, expected) in [(0b00, true), (0b01, true), (0b10, false), (0b11, true)] {
        assert_eq!(Descriptor(0b11 | xn << 53).is_executable(), expected, "{xn:#b}");
    }
}

#[test]
fn never_executable_is_bit_54_alone_with_and_without_xnx() {
    let device = bits(MemAttr::DeviceNgnre, Rights::ReadWrite, false, true);
    assert_eq!(Descriptor::leaf(3, Pa(0x900_0000), device).0, 0x0040_0000_0900_06c7);
    let nc = bits(MemAttr::NormalNc, Rights::ReadWrite, false, false);
    assert_eq!(Descriptor::leaf(3, Pa(0x900_0000), nc).0, 0x0040_0000_0900_06d7);
}

#[test]
fn no_tag_access_sets_memattr_3_only_with_fwb() {
    let with = bits(MemAttr::NormalWbNoTag, Rights::ReadWrite, false, true);
    assert_eq!(Descriptor::leaf(3, Pa(0), with).0, 0x0040_0000_0000_07fb);
    let without = bits(MemAttr::NormalWbNoTag, Rights::ReadWrite, false, false);
    assert_eq!(Descriptor::leaf(3, Pa(0), without).0, 0x0040_0000_0000_07d3);
}

#[test]
fn the_contiguous_hint_is_bit_52() {
    let attributes = bits(MemAttr::NormalWb, Rights::ReadWrite, true, true);
    let leaf = Descriptor::leaf(3, Pa(0x1_0000), attributes);
    assert_eq!(leaf.contiguous().0, 0x0010_0000_0001_07db);
    assert!(leaf.contiguous().is_contiguous() && !leaf.is_contiguous());
    assert_eq!(leaf.contiguous().0 & attributes, attributes);
}

#[test]
fn a_table_descriptor_is_an_address_and_two_bits() {
    assert_eq!(Descriptor::table(Pa(0x8000_3000)).0, 0x8000_3003);
    assert_eq!(Descriptor(0x8000_3003).shape(2), Shape::Table(Pa(0x8000_3000)));
    assert_eq!(Descriptor(0x8000_3003).shape(3), Shape::Leaf);
}

#[test]
fn a_block_is_invalid_at_levels_0_and_3() {
    assert_eq!(Descriptor(0x7d9).shape(0), Shape::Invalid);
    assert_eq!(Descriptor(0x7d9).shape(1), Shape::Leaf);
    assert_eq!(Descriptor(0x7d9).shape(2), Shape::Leaf);
    assert_eq!(Descriptor(0x7d9).shape(3), Shape::Invalid);
    assert_eq!(Descriptor(0).shape(2), Shape::Invalid);
    assert_eq!(Descriptor(0x7d8).shape(2), Shape::Invalid);
}

#[test]
fn a_leaf_gives_back_its_address_and_what_it_allows() {
    for fwb in [false, true] {
        for mem in ALL {
            for rights in [Rights::ReadOnly, Rights::ReadWrite] {
                for exec in [false, true] {
                    let pa = Pa(0xffff_ffff_f000);
                    let leaf = Descriptor::leaf(3, pa, bits(mem, rights, exec, fwb)).contiguous();
                    assert_eq!(leaf.output(), pa);
                    assert_eq!((leaf.is_writable(), leaf.is_executable()), (rights == Rights::ReadWrite, exec));
                }
            }
        }
    }
}

#[test]
fn an_entry_translates_512_gib_1_gib_2_mib_or_4_kib() {
    assert_eq!([0, 1, 2, 3].map(entry_size), [1 << 39, 1 << 30, 1 << 21, 1 << 12]);
}

#[test]
fn vtcr_has_its_fields_where_the_manual_has_them() {
    let vtcr = Vtcr { t0sz: 24, sl0: 1, pa_range: 5, vmid_16: true };
    assert_eq!(vtcr.encode(), 0x800d_3558);
    let vtcr = Vtcr { t0sz: 32, sl0: 0, pa_range: 2, vmid_16: false };
    assert_eq!(vtcr.encode(), 0x8002_3520);
}

#[test]
fn a_pa_range_beyond_48_bits_is_cut_since_ds_is_0() {
    let vtcr = Vtcr { t0sz: 16, sl0: 2, pa_range: 6, vmid_16: false };
    assert_eq!(vtcr.encode(), 0x8005_3590);
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(pa_bits), [32, 36, 40, 42, 44, 48, 48, 48]);
}

#[test]
fn vttbr_is_the_vmid_above_the_base_address() {
    assert_eq!(vttbr(0x1234, Pa(0x8000_4000)), 0x1234_0000_8000_4000);
}
