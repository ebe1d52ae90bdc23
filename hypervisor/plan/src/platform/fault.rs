//! What is wrong with a coherent region's node by the trees' words alone (rule T1).

use alloc::borrow::Cow;

/// Why what a node declares is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeFault {
    /// It is, or was in an earlier tree, tag storage.
    TagStorage,
    /// It was a reservation in an earlier tree.
    Reserved,
    /// `/reserved-memory` is of no form that an operating system reads.
    Parent(ParentFault),
    /// It has `reusable`: an operating system uses the memory meanwhile.
    Reusable,
    /// It is a pool for DMA too.
    Pool,
    /// It has no `no-map`.
    NoMap,
    /// Its `assay,mte-capable` has a value.
    MarkWithValue,
    /// It is not marked, and the root's `assay,uniform-memory` has a value.
    UniformWithValue,
}

/// What is wrong with `/reserved-memory`. Linux passes over such a node, with all below it
/// (`Documentation/devicetree/bindings/reserved-memory`), so whoever else boots from the tree takes the memory for free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ParentFault {
    /// It has no `ranges`.
    NoRanges,
    /// Its `ranges` is not empty.
    Ranges,
    /// Its `#address-cells` and `#size-cells` are not there, or are not the root's.
    Cells,
}

impl ParentFault {
    /// Says it in words, with what to do.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoRanges => "it has no ranges, so that Linux ignores it and all below it: add an empty ranges",
            Self::Ranges => "its ranges is not empty, so that Linux ignores it and all below it: write an empty ranges",
            Self::Cells => {
                "its #address-cells and #size-cells are not those of the root, so that Linux ignores it and all below it: \
                 give it the root's"
            }
        }
    }
}

/// Something odd in the trees that decides nothing by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Oddity<'a> {
    /// The node's path.
    pub node: &'a str,
    /// What is odd, and what to do.
    pub reason: Cow<'static, str>,
}
