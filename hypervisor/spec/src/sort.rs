//! Sorting in little code: the standard library's sorts are made for speed, and each type that they are used with makes them
//! anew, in two to six kilobytes.

/// Sorts by a key, in place, by a heap: in O(n log n), and what has one key may come in any order.
pub fn by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let mut below = items.len();
    let mut top = below / 2;
    while below > 1 {
        // First each item becomes the top of a heap, last to first, and then the highest of all goes behind the rest.
        if top > 0 {
            top -= 1;
        } else {
            below -= 1;
            items.swap(0, below);
        }
        let mut at = top;
        loop {
            let mut highest = 2 * at + 1;
            if highest + 1 < below && key(&items[highest]) < key(&items[highest + 1]) {
                highest += 1;
            }
            if highest >= below || key(&items[at]) >= key(&items[highest]) {
                break;
            }
            items.swap(at, highest);
            at = highest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::by_key;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::vec::Vec;

    proptest! {
        #[test]
        fn what_is_sorted_is_as_the_standard_library_sorts_it(mut items: Vec<(u8, u16)>, long in any::<[u64; 32]>()) {
            let mut wanted = items.clone();
            wanted.sort_unstable();
            by_key(&mut items, |item| *item);
            prop_assert_eq!(items, wanted);
            let (mut long, mut wanted) = (long, long);
            wanted.sort_unstable_by_key(|item| core::cmp::Reverse(*item));
            by_key(&mut long, |item| core::cmp::Reverse(*item));
            prop_assert_eq!(long, wanted);
        }
    }

    #[test]
    fn none_and_one_are_sorted() {
        by_key(&mut [0u8; 0], |item| *item);
        let mut one = [7];
        by_key(&mut one, |item| *item);
        assert_eq!(one, [7]);
    }
}
