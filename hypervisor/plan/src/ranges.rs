//! Memory as a list of disjoint ranges: what remains after something is taken out.

use alloc::vec::Vec;

use assay_spec::addr::{Address, Region};

/// Takes `hole` out of every range.
pub fn subtract<A: Address>(ranges: &mut Vec<Region<A>>, hole: &Region<A>) {
    let mut index = 0;
    while let Some(&range) = ranges.get(index) {
        if !range.overlaps(hole) {
            index += 1;
            continue;
        }
        let _ = ranges.swap_remove(index);
        let before = hole.start.raw().checked_sub(range.start.raw());
        let after = range.end().raw().checked_sub(hole.end().raw());
        ranges.extend(before.and_then(|size| Region::new(range.start, size)));
        ranges.extend(after.and_then(|size| Region::new(hole.end(), size)));
        // What was put at the end does not overlap the hole; what moved here has yet to be looked at.
    }
}

/// Returns `range` widened to whole multiples of `align`, a power of two; one that would wrap is cut short.
pub fn widen<A: Address>(range: &Region<A>, align: u64) -> Region<A> {
    let start = range.start.align_down(align);
    let end = range.end().raw().checked_next_multiple_of(align).unwrap_or(!(align - 1));
    Region { start, size: end.saturating_sub(start.raw()) }
}

#[cfg(test)]
mod tests {
    use super::{subtract, widen};
    use assay_spec::addr::{Pa, Region};
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::vec;
    use std::vec::Vec;

    fn region(start: u64, size: u64) -> Region<Pa> {
        Region { start: Pa(start), size }
    }

    #[test]
    fn a_hole_in_the_middle_leaves_both_ends() {
        let mut ranges = vec![region(0x1000, 0x4000)];
        subtract(&mut ranges, &region(0x2000, 0x1000));
        assert_eq!(ranges, [region(0x1000, 0x1000), region(0x3000, 0x2000)]);
    }

    #[test]
    fn a_hole_that_covers_a_range_leaves_nothing() {
        let mut ranges = vec![region(0x1000, 0x1000)];
        subtract(&mut ranges, &region(0, 0x10000));
        assert!(ranges.is_empty());
    }

    #[test]
    fn widening_reaches_whole_pages_on_both_sides() {
        assert_eq!(widen(&region(0x1234, 0x10), 0x1000), region(0x1000, 0x1000));
        assert_eq!(widen(&region(0x1ff8, 0x10), 0x1000), region(0x1000, 0x2000));
    }

    proptest! {
        #[test]
        fn what_remains_is_what_was_there_and_not_in_the_hole(
            ranges in proptest::collection::vec((0u64..64, 1u64..16), 0..6),
            hole in (0u64..64, 1u64..32),
        ) {
            // Disjoint by construction: range n lives in its own hundred.
            let mut list: Vec<_> = (0u64..).zip(ranges).map(|(n, (start, size))| region(n * 100 + start, size)).collect();
            let hole = region(hole.0 * 8, hole.1 * 8);
            let before = list.clone();
            subtract(&mut list, &hole);
            for address in (0..700).map(Pa) {
                let was = before.iter().any(|range| range.contains(address));
                let is = list.iter().filter(|range| range.contains(address)).count();
                prop_assert_eq!(is, usize::from(was && !hole.contains(address)));
            }
        }
    }
}
