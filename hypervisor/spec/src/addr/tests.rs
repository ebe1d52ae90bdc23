extern crate std;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::format;

use super::{Address, BLOCK_1G, BLOCK_2M, Ipa, PAGE_SIZE, Pa, Region, Va};

fn region(start: u64, size: u64) -> Region<Pa> {
    Region::new(Pa(start), size).unwrap()
}

#[test]
fn a_region_is_not_empty_and_does_not_wrap() {
    assert_eq!(Region::new(Pa(0x1000), 0), None);
    assert_eq!(Region::new(Pa(0x1000), u64::MAX), None);
    assert_eq!(Region::new(Pa(1), u64::MAX), None, "2^64 is no address");
    assert!(Region::new(Pa(0), u64::MAX).is_some());
}

#[test]
fn an_end_is_not_in_its_region() {
    let region = region(0x1000, 0x1000);
    assert!(region.contains(Pa(0x1000)) && region.contains(Pa(0x1fff)));
    assert!(!region.contains(Pa(0xfff)) && !region.contains(region.end()));
    assert_eq!(region.end(), Pa(0x2000));
}

#[test]
fn neighbours_do_not_overlap() {
    let (low, high) = (region(0x1000, 0x1000), region(0x2000, 0x1000));
    assert!(!low.overlaps(&high) && !high.overlaps(&low));
    assert!(low.overlaps(&region(0x1fff, 1)));
}

#[test]
fn a_region_covers_itself_and_its_parts() {
    let whole = region(0x1000, 0x3000);
    assert!(whole.covers(&whole));
    assert!(whole.covers(&region(0x1000, 1)) && whole.covers(&region(0x3fff, 1)));
    assert!(!whole.covers(&region(0xfff, 2)) && !whole.covers(&region(0x3fff, 2)));
}

#[test]
fn both_start_and_size_make_a_region_aligned() {
    assert!(region(0x20_0000, 0x40_0000).is_aligned(BLOCK_2M));
    assert!(!region(0x20_0000, 0x40_1000).is_aligned(BLOCK_2M));
    assert!(!region(0x20_1000, 0x40_0000).is_aligned(BLOCK_2M));
    assert!(!region(0x20_0000, 0x40_0000).is_aligned(BLOCK_1G));
}

#[test]
fn rounding_down_ends_at_a_multiple() {
    assert_eq!(Ipa(0x1fff).align_down(PAGE_SIZE), Ipa(0x1000));
    assert_eq!(Ipa(0x2000).align_down(PAGE_SIZE), Ipa(0x2000));
    assert!(Va(0).is_aligned(BLOCK_1G) && !Va(4).is_aligned(8));
}

#[test]
fn an_address_past_the_last_one_is_none() {
    assert_eq!(Va(u64::MAX).checked_add(1), None);
    assert_eq!(Va(u64::MAX - 1).checked_add(1), Some(Va(u64::MAX)));
}

#[test]
fn an_address_is_printed_as_hexadecimal_and_debugged_with_its_kind() {
    assert_eq!(format!("{}", Ipa(0x4000_0000)), "0x40000000");
    assert_eq!(format!("{:?}", Va(0x10)), "Va(0x10)");
    assert_eq!(format!("{:?}", region(0x1000, 0x20)), "Pa(0x1000)+0x20");
}

/// Any region, small ones close to each other among them.
fn regions() -> impl Strategy<Value = Region<Pa>> {
    let wide = (any::<u64>(), any::<u64>());
    let narrow = (0..64_u64, 1..64_u64);
    proptest::prop_oneof![wide, narrow].prop_filter_map("no region", |(start, size)| Region::new(Pa(start), size))
}

proptest! {
    #[test]
    fn two_regions_overlap_if_they_share_an_end(a in regions(), b in regions()) {
        let shares = a.contains(b.start) || b.contains(a.start);
        prop_assert_eq!(a.overlaps(&b), shares);
        prop_assert_eq!(b.overlaps(&a), shares);
    }

    #[test]
    fn a_region_covers_another_if_it_has_its_first_and_last_address(a in regions(), b in regions()) {
        let last = Pa(b.end().0 - 1);
        prop_assert_eq!(a.covers(&b), a.contains(b.start) && a.contains(last));
    }

    #[test]
    fn rounding_down_goes_no_further_than_it_must(address in any::<u64>(), shift in 0..63_u32) {
        let align = 1 << shift;
        let down = Pa(address).align_down(align);
        prop_assert!(down.is_aligned(align));
        prop_assert!(down.0 <= address && address - down.0 < align);
    }
}
