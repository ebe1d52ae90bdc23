//! How much memory the boot takes for itself: the size of EL2's heap, from what there is to be read and made.
//!
//! Upper bounds, and generous: what they cost is the memory of machines that are large. `tests/heap.rs` measures.

use crate::gate::{self, Measure};

/// Whatever the trees say: warnings, and what the boot itself needs.
const BASE: usize = 128 << 10;

/// Returns the bytes that reading these trees takes, and what is made of them before there are VMs.
pub fn to_read<'a>(trees: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let tree = |blob| {
        let Measure { bytes, nodes, paths } = gate::measure(blob);
        nodes * 1024 + paths * 2 + bytes * 2
    };
    trees.into_iter().map(tree).sum::<usize>() + BASE
}
