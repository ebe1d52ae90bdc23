//! What is wrong with a coherent region's node by the trees' words alone (rule T1).

/// Why what a node declares is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeFault {
    /// It is, or was in an earlier tree, tag storage.
    TagStorage,
    /// It was a reservation in an earlier tree.
    Reserved,
}
