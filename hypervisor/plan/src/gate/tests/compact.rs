//! A tree without firmware's padding.

use std::string::String;
use std::vec::Vec;

use super::dts::compile;
use super::{SMALL, TOTAL_SIZE};
use crate::gate::{Tree, compact};

#[test]
fn a_compact_copy_reads_the_same_without_the_padding() {
    let mut padded = compile(SMALL);
    let used = padded.len();
    padded.resize(used + 0x1000, 0);
    let total = u32::try_from(padded.len()).unwrap();
    padded[TOTAL_SIZE..TOTAL_SIZE + 4].copy_from_slice(&total.to_be_bytes());
    let copy = compact(&padded).unwrap();
    assert!(copy.len() <= used);
    let paths = |blob: &[u8]| -> Vec<String> { Tree::new(blob).unwrap().nodes().map(|node| node.path()).collect() };
    assert_eq!(paths(&copy), paths(&padded));
    let (copied, original) = (Tree::new(&copy).unwrap(), Tree::new(&padded).unwrap());
    assert!(copied.reservations().eq(original.reservations()));
}
