//! Identity maps of the 4 KiB granule, with blocks of 1 GiB and 2 MiB (DDI0487 D8.3.1): what is left beside holes, and how
//! many tables that takes.

use crate::addr::{Pa, Region};

/// Returns what is left of `range` beside `holes`, which are sorted and do not overlap.
pub fn beside(range: Region<Pa>, holes: impl IntoIterator<Item = Region<Pa>>) -> impl Iterator<Item = Region<Pa>> {
    let mut at = range.start.0;
    let end = Region { start: range.end(), size: 0 };
    let holes = holes.into_iter().filter(move |hole| hole.overlaps(&range)).chain([end]);
    holes.filter_map(move |hole| {
        let piece = hole.start.0.checked_sub(at).filter(|size| *size != 0);
        let next = hole.end().0.max(at);
        let start = core::mem::replace(&mut at, next);
        Some(Region { start: Pa(start), size: piece? })
    })
}

/// Returns how many tables map `pieces`, which are sorted, not empty and do not overlap: the root of level 0, and below it a
/// table wherever a piece begins or ends inside of what its entry would map.
pub fn tables(pieces: impl IntoIterator<Item = Region<Pa>>) -> u64 {
    let mut count = 1;
    let mut last = [None; 3];
    for piece in pieces {
        let (first, end) = (piece.start.0, piece.end().0);
        for (last, shift) in last.iter_mut().zip([39, 30, 21]) {
            let (size, ends) = (1u64 << shift, [first, end - 1]);
            // At level 0 there are no blocks: every entry leads to a table.
            let is_cut = |at: u64| shift == 39 || (at & !(size - 1)) < first || (at | (size - 1)) >= end;
            let between = if shift == 39 { ((end - 1) >> 39).saturating_sub((first >> 39) + 1) } else { 0 };
            for index in ends.into_iter().filter(|at| is_cut(*at)).map(|at| at >> shift) {
                count += u64::from(*last != Some(index));
                *last = Some(index);
            }
            count += between;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{beside, tables};
    use crate::addr::{Pa, Region};

    fn region(start: u64, size: u64) -> Region<Pa> {
        Region { start: Pa(start), size }
    }

    fn left(range: Region<Pa>, holes: &[Region<Pa>]) -> Vec<Region<Pa>> {
        beside(range, holes.iter().copied()).collect()
    }

    #[test]
    fn what_is_left_is_before_between_and_behind_the_holes() {
        let range = region(0x1000, 0x9000);
        assert_eq!(left(range, &[]), [range]);
        let holes = [region(0, 0x800), region(0x2000, 0x1000), region(0x3000, 0x1000), region(0x8000, 0x8000)];
        assert_eq!(left(range, &holes), [region(0x1000, 0x1000), region(0x4000, 0x4000)]);
        assert_eq!(left(range, &[region(0x1000, 0x1000)]), [region(0x2000, 0x8000)]);
        assert_eq!(left(range, &[range]), []);
        assert_eq!(left(range, &[region(0, 0x10_0000)]), []);
    }

    #[test]
    fn a_table_is_where_a_piece_is_cut() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        assert_eq!(tables([]), 1);
        // Root and level 1 for blocks of 1 GiB; level 2 for those of 2 MiB; level 3 for pages.
        assert_eq!(tables([region(GIB, 2 * GIB)]), 2);
        assert_eq!(tables([region(GIB, 2 * MIB)]), 3);
        assert_eq!(tables([region(GIB + 0x1000, 0x1000)]), 4);
        // Cut at both ends, in two tables of each level.
        assert_eq!(tables([region(GIB - 0x1000, 0x2000)]), 6);
        assert_eq!(tables([region(GIB - 0x1000, 3 * GIB)]), 6);
        // Pieces in one table share it.
        assert_eq!(tables([region(GIB, 0x1000), region(GIB + 0x4000, 0x1000)]), 4);
        assert_eq!(tables([region(GIB, 0x1000), region(GIB + 4 * MIB, 0x1000)]), 5);
        // Level 1 is always a table, for each 512 GiB.
        assert_eq!(tables([region(0, 2048 * GIB)]), 5);
    }
}
