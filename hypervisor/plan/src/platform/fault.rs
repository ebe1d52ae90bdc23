//! What is wrong with a coherent region's node by the trees' words alone (rule T1).

/// Why what a node declares is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeFault {
    /// It is, or was in an earlier tree, tag storage.
    TagStorage,
    /// It was a reservation in an earlier tree.
    Reserved,
    /// Its `assay,mte-capable` has a value.
    MarkWithValue,
    /// It is not marked, and the root's `assay,uniform-memory` has a value.
    UniformWithValue,
}

/// Something odd in the trees that decides nothing by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oddity<'a> {
    /// The node's path.
    pub node: &'a str,
    /// What is odd, and what to do.
    pub reason: &'static str,
}
