//! A device tree from outside, read without trusting it.
//!
//! [`Tree::new`] checks the whole blob once: header, every token, every name, depth and size. What is
//! left for the `fdt` crate is a tree on which its fallible reads cannot fail, so that the accessors
//! here give values and not errors about encoding. The bytes themselves stay where they are.
//!
//! This knows nothing of what the nodes mean: that is `platform` and `vm_tree`. It is the only place that
//! may use `fdt`, and never its panicking constructors or its typed nodes, which divide and unwrap.

use alloc::string::String;
use alloc::vec::Vec;

use fdt::Fdt;

use crate::fields::{Kind, With};

pub mod decode;
mod node;
pub(crate) mod shape;
#[cfg(test)]
pub(crate) mod tests;

pub use decode::Cells;
pub(crate) use node::{Bare, names_one, says_available};
pub use node::{Flag, Node};

/// The most bytes a tree may have: what the arm64 boot protocol allows (2 MiB).
pub const MAX_BYTES: usize = 0x20_0000;
/// The most bytes of a tree that is looked at for a console and a way to power off, so that a larger one is refused aloud.
pub(crate) const MAX_SCANNED: usize = 0x100_0000;
/// The deepest node, the root being at 0: as deep as `fdt` follows a tree.
pub const MAX_DEPTH: usize = 15;
/// The most nodes a tree may have; the largest boards, with symbols, have half of it.
pub const MAX_NODES: usize = 8192;
/// The most bytes in a `reg` that is read: 256 entries of four cells.
pub const MAX_REG: usize = 4096;
/// The most bytes in the name of a node or property.
pub const MAX_NAME: usize = 255;

/// Why a blob is not a device tree that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TreeError {
    /// There is no flattened device tree at the address.
    #[error("no device tree: the magic number 0xd00dfeed is missing; pass the address of a .dtb file")]
    NoMagic,
    /// The header is shorter than 40 bytes or asks for more bytes than there are.
    #[error("device tree: totalsize is larger than the memory given for it; pass the whole file")]
    Truncated,
    /// The blob is larger than [`MAX_BYTES`].
    #[error("device tree: larger than 2 MiB, the most that the arm64 boot protocol allows; make it smaller")]
    TooLarge,
    /// The format is not version 17.
    #[error("device tree: not format version 17; write it with a current dtc")]
    Version,
    /// A block lies outside the blob or is not aligned.
    #[error("device tree: a header field places a block outside the tree or misaligned; write it with dtc")]
    Header,
    /// The structure block breaks the format at this offset in bytes from its start.
    #[error("device tree: broken structure at offset {0:#x} of the structure block; write it with dtc")]
    Structure(usize),
    /// The name of a node or property is longer than [`MAX_NAME`].
    #[error("device tree: a name of more than 255 characters; shorten it")]
    LongName,
    /// A node is deeper than [`MAX_DEPTH`].
    #[error("device tree: nodes nested deeper than 15 levels; flatten the tree")]
    TooDeep,
    /// There are more nodes than [`MAX_NODES`].
    #[error("device tree: more than 8192 nodes; remove what the board does not need")]
    TooManyNodes,
    /// The heap cannot hold the index of so many nodes.
    #[error("device tree: no memory for an index of its {0} nodes; remove what the board does not need")]
    NoMemory(usize),
    /// The memory reservation block has no end inside the tree.
    #[error("device tree: the /memreserve/ block has no end; write it with dtc")]
    Reservations,
}

/// A property whose value is not of the form that its binding prescribes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: property {property}: {wants}")]
pub struct Malformed {
    /// The node's full path.
    pub path: String,
    /// The property's name.
    pub property: &'static str,
    /// What the value must be.
    pub wants: Wants,
}

/// What a property's value must be, as a sentence's end ("must be one cell").
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wants {
    /// In these words.
    #[error("{0}")]
    Words(&'static str),
    /// What the manifest's field is.
    #[error("{0}")]
    Kind(Kind),
    /// Not there without that.
    #[error("needs {} = \"{}\"", .0.field.property, .0.words[0])]
    With(With),
}

impl From<Kind> for Wants {
    fn from(kind: Kind) -> Self {
        Self::Kind(kind)
    }
}

impl From<With> for Wants {
    fn from(with: With) -> Self {
        Self::With(with)
    }
}

impl From<&'static str> for Wants {
    fn from(words: &'static str) -> Self {
        Self::Words(words)
    }
}

/// A checked device tree, with an index of its nodes.
pub struct Tree<'a> {
    /// At least the root.
    entries: Vec<Entry<'a>>,
    reservations: &'a [u8],
}

/// How large a tree is, by a look that needs no heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measure {
    /// Its bytes, without the padding that firmware leaves for additions.
    pub bytes: usize,
    /// Its nodes.
    pub nodes: usize,
    /// The bytes of all nodes' paths together, counted again for each entry of `reg` and `ranges`.
    pub paths: usize,
}

/// Measures a tree; a broken one is nothing.
pub fn measure(bytes: &[u8]) -> Measure {
    shape::check(bytes).map_or(Measure::default(), |shape| shape.measure)
}

/// Shows the properties of a tree up to where it is broken, each with its node's number.
pub(crate) fn scan<'a>(bytes: &'a [u8], see: &mut dyn FnMut(usize, &'a str, &'a [u8])) {
    // What is wrong with it is for whoever reads the tree to say.
    let _ = shape::check_and_show(bytes, see);
}

/// One node in document order.
struct Entry<'a> {
    node: Bare<'a>,
    /// The parent's index; the root is its own parent.
    parent: usize,
    /// The index after the last node below this one.
    end: usize,
    /// `phandle`, 0 if it has none, which is no phandle.
    phandle: u32,
    /// `compatible`, empty if it has none. These two are kept because all nodes are asked for them.
    compatible: &'a [u8],
}

impl<'a> Tree<'a> {
    /// Checks a blob and makes it readable. Bytes after the header's `totalsize` are ignored.
    ///
    /// Errors say what is wrong with the blob; the time is bounded by its size.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TreeError> {
        let shape = shape::check(bytes)?;
        let tree = Fdt::new_unaligned_fallible(shape.bytes).map_err(|_| TreeError::Header)?;
        let root = tree.root().map_err(|_| TreeError::Structure(0))?;
        let nodes = shape.measure.nodes;
        if nodes > MAX_NODES {
            return Err(TreeError::TooManyNodes);
        }
        let mut entries = Vec::new();
        entries.try_reserve_exact(nodes).map_err(|_| TreeError::NoMemory(nodes))?;
        entries.push(Entry::new(Bare::root(root), 0, 0));
        let mut open = [0; MAX_DEPTH + 1];
        // `all_nodes` repeats an error for ever: the first one ends the walk.
        for item in root.all_nodes().map_err(|_| TreeError::Structure(0))? {
            let (depth, node) = item.map_err(|_| TreeError::Structure(0))?;
            if depth == 0 || depth > MAX_DEPTH {
                return Err(TreeError::TooDeep);
            }
            open[depth] = entries.len();
            entries.push(Entry::new(Bare::new(node), open[depth - 1], entries.len()));
        }
        if entries.len() != nodes {
            return Err(TreeError::Structure(0));
        }
        close(&mut entries);
        Ok(Self { entries, reservations: shape.reservations })
    }

    /// Returns the root node.
    pub fn root(&self) -> Node<'_, 'a> {
        Node::new(self, 0)
    }

    /// Iterates over all nodes in document order, the root first.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_, 'a>> {
        (0..self.entries.len()).map(|index| Node::new(self, index))
    }

    /// Finds a node by its full path ("/soc/serial@9000000").
    ///
    /// A component without a unit address takes the first child of that name.
    pub fn find(&self, path: &str) -> Option<Node<'_, 'a>> {
        let mut node = self.root();
        for component in components(path)? {
            node = node.child(component)?;
        }
        Some(node)
    }

    /// Finds the node that has this phandle.
    pub fn by_phandle(&self, phandle: u32) -> Option<Node<'_, 'a>> {
        let has = |entry: &Entry<'_>| entry.phandle == phandle && phandle != 0;
        Some(Node::new(self, self.entries.iter().position(has)?))
    }

    /// Iterates over the `/memreserve/` entries as (address, size in bytes), up to the end mark.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        Reservations(self.reservations)
    }
}

impl<'a> Entry<'a> {
    fn new(node: Bare<'a>, parent: usize, index: usize) -> Self {
        let mut entry = Self { node, parent, end: index + 1, phandle: 0, compatible: &[] };
        for (name, value) in node.properties() {
            match name {
                "phandle" => entry.phandle = decode::u32(value).unwrap_or(0),
                "compatible" => entry.compatible = value,
                _ => {}
            }
        }
        entry
    }
}

/// Carries each subtree's end up to its parent; children come after their parents, so backwards.
fn close(entries: &mut [Entry<'_>]) {
    for index in (1..entries.len()).rev() {
        let (parent, end) = (entries[index].parent, entries[index].end);
        entries[parent].end = entries[parent].end.max(end);
    }
}

/// The names in a full path, one after the other; `None` if it does not begin with a slash.
pub(crate) fn components(path: &str) -> Option<impl Iterator<Item = &str>> {
    let mut rest = path.strip_prefix('/')?;
    Some(core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (component, after) = rest.split_once('/').unwrap_or((rest, ""));
        rest = after;
        Some(component)
    }))
}

/// Checks a blob and hands its root and reservations to `with`, all without the heap and so without an index.
///
/// For the first steps of a boot, also with a tree that is too large to be read. `None` if the blob is no tree, or if `with` says so.
pub(crate) fn without_heap<'a, R>(
    bytes: &'a [u8],
    with: impl FnOnce(Bare<'a>, Reservations<'a>) -> Option<R>,
) -> Option<R> {
    let (root, reservations) = root(bytes)?;
    with(root, reservations)
}

#[inline(never)]
fn root(bytes: &[u8]) -> Option<(Bare<'_>, Reservations<'_>)> {
    let shape = shape::check_and_show(bytes, &mut |_, _, _| {}).ok()?;
    let tree = Fdt::new_unaligned_fallible(shape.bytes).ok()?;
    Some((Bare::root(tree.root().ok()?), Reservations(shape.reservations)))
}

/// The `/memreserve/` entries as (address, size in bytes).
#[derive(Clone)]
pub(crate) struct Reservations<'a>(&'a [u8]);

impl Iterator for Reservations<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, rest) = self.0.split_at_checked(16)?;
        self.0 = rest;
        let (address, size) = entry.split_at_checked(8)?;
        Some((decode::u64(address)?, decode::u64(size)?))
    }
}
