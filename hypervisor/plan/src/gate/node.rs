//! A node of a checked tree and its properties.

use alloc::string::String;

use fdt::nodes;
use fdt::parsing::NoPanic;
use fdt::parsing::unaligned::UnalignedParser;

use super::{Cells, Entry, MAX_REG, Malformed, Tree, Wants, decode};

type Parser<'a> = (UnalignedParser<'a>, NoPanic);

/// A node by itself: it does not know where in the tree it is, and needs no heap.
#[derive(Clone, Copy)]
pub(crate) struct Bare<'a>(nodes::Node<'a, Parser<'a>>);

impl<'a> Bare<'a> {
    pub(super) fn new(node: nodes::Node<'a, Parser<'a>>) -> Self {
        Self(node)
    }
    pub(super) fn root(root: nodes::root::Root<'a, Parser<'a>>) -> Self {
        Self(nodes::AsNode::as_node(&root))
    }

    /// The name split at the `@`; the root has none.
    pub(crate) fn name(&self) -> (&'a str, Option<&'a str>) {
        let name = self.0.name().ok();
        name.map_or(("", None), |name| (name.name, name.unit_address))
    }

    /// Tells whether a path's component means this node; a unit address counts only if it is given.
    fn is_called(&self, component: &str) -> bool {
        let (name, unit) = self.name();
        match component.split_once('@') {
            Some((base, address)) => name == base && unit == Some(address),
            None => name == component,
        }
    }

    #[inline(never)]
    pub(crate) fn property(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.0.raw_property(name).ok()?;
        found.map(|property| property.value)
    }

    /// The first child of that name, by going through them: only for when there is no [`Tree`].
    pub(crate) fn child(&self, component: &str) -> Option<Self> {
        self.children().find(|child| child.is_called(component))
    }

    /// The children, as long as there is no [`Tree`].
    pub(crate) fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        // `map_while` and not `flatten`: the iterator repeats an error for ever.
        let children = self.0.children().ok();
        children.into_iter().flat_map(|children| children.iter().map_while(Result::ok).map(Self))
    }

    /// Tells whether `status` is "okay", "ok" or not there.
    pub(crate) fn is_available(&self) -> bool {
        says_available(self.property("status"))
    }

    /// The cells of the children's `reg`; `None` if they are not one cell each.
    pub(crate) fn cells(&self) -> Option<Cells> {
        let count = |name, default| match self.property(name) {
            Some(value) => decode::u32(value),
            None => Some(default),
        };
        Some(Cells {
            address: count("#address-cells", Cells::DEFAULT.address)?,
            size: count("#size-cells", Cells::DEFAULT.size)?,
        })
    }

    pub(crate) fn is_compatible(&self, with: &[&str]) -> bool {
        self.property("compatible").is_some_and(|list| names_one(list, with))
    }

    /// Names and raw values.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        // `map_while` and not `flatten`: the iterator repeats an error for ever.
        let list = self.0.properties().ok();
        let list = list.into_iter().flat_map(|list| list.iter().map_while(Result::ok));
        list.map(|property| (property.name, property.value))
    }
}

/// Tells whether this `status` is "okay", "ok" or not there.
pub(crate) fn says_available(status: Option<&[u8]>) -> bool {
    matches!(status, None | Some(b"okay\0" | b"ok\0"))
}

/// Tells whether one of `with` is in a list of strings.
pub(crate) fn names_one(list: &[u8], with: &[&str]) -> bool {
    // Whether it is a list is looked at last: most nodes are not the one that is looked for.
    let mut strings = list.split(|byte| *byte == 0);
    strings.any(|string| with.iter().any(|one| one.as_bytes() == string)) && decode::strs(list).is_some()
}

/// A property without a value, which says yes by being there (Devicetree Specification 0.4 §2.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// It is there.
    Set,
    /// It has a value, be it 0 or "no": what is meant nobody knows.
    Valued,
}

/// A node of a [`Tree`], which knows its place.
#[derive(Clone, Copy)]
pub struct Node<'t, 'a> {
    tree: &'t Tree<'a>,
    index: usize,
}

impl PartialEq for Node<'_, '_> {
    /// Tells whether the two are the same node of the same tree.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.tree, other.tree) && self.index == other.index
    }
}

impl<'t, 'a> Node<'t, 'a> {
    /// The node at `index`.
    pub(super) fn new(tree: &'t Tree<'a>, index: usize) -> Self {
        Self { tree, index }
    }

    fn entry(&self) -> &'t Entry<'a> {
        &self.tree.entries[self.index]
    }

    pub(crate) fn bare(&self) -> Bare<'a> {
        self.entry().node
    }

    /// Returns the tree that the node is of.
    pub fn tree(&self) -> &'t Tree<'a> {
        self.tree
    }
    /// Returns the name without the unit address; "/" for the root.
    pub fn name(&self) -> &'a str {
        self.bare().name().0
    }
    /// Returns the unit address: what follows the `@`.
    pub fn unit_address(&self) -> Option<&'a str> {
        self.bare().name().1
    }

    /// Returns the name with the unit address, as it stands in the tree.
    #[inline(never)]
    pub fn full_name(&self) -> String {
        let (name, unit) = self.bare().name();
        let mut full = String::from(name);
        if let Some(unit) = unit {
            full.push('@');
            full.push_str(unit);
        }
        full
    }

    /// Returns the full path; "/" for the root.
    #[inline(never)]
    pub fn path(&self) -> String {
        let Some(parent) = self.parent() else {
            return String::from("/");
        };
        // As deep as the tree at most, which `Tree::new` has bounded.
        let mut path = parent.path();
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&self.full_name());
        path
    }

    /// Returns the parent; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        (self.index != 0).then(|| Self::new(self.tree, self.entry().parent))
    }

    /// Iterates over the parent, its parent and so on; the root is the last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        core::iter::successors(self.parent(), Self::parent)
    }

    /// Iterates over the children in document order.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        let (tree, end) = (self.tree, self.entry().end);
        let within = move |index: usize| (index < end).then(|| Self::new(tree, index));
        core::iter::successors(within(self.index + 1), move |child| within(child.entry().end))
    }

    /// Iterates over all nodes below it in document order.
    pub fn descendants(&self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        let tree = self.tree;
        (self.index + 1..self.entry().end).map(move |index| Self::new(tree, index))
    }

    /// Finds a child by name; without a unit address the first of that name.
    pub fn child(&self, component: &str) -> Option<Self> {
        self.children().find(|child| child.bare().is_called(component))
    }

    /// Iterates over names and raw values of the properties.
    pub fn properties(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.bare().properties()
    }

    /// Returns a property's raw value.
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.bare().property(name)
    }
    /// Tells whether a property is there, with whatever value.
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// Reads a property that is a flag; `None` if it is not there.
    pub fn flag(&self, name: &str) -> Option<Flag> {
        self.property(name).map(|value| if value.is_empty() { Flag::Set } else { Flag::Valued })
    }
    /// Reads a property of one cell; `Ok(None)` if it is not there.
    #[inline(never)]
    pub fn u32(&self, name: &'static str) -> Result<Option<u32>, Malformed> {
        self.read(name, decode::u32, "must be one cell")
    }
    /// Reads a property of one or two cells as one number; `Ok(None)` if it is not there.
    #[inline(never)]
    pub fn u64(&self, name: &'static str) -> Result<Option<u64>, Malformed> {
        self.read(name, decode::u64, "must be one or two cells")
    }
    /// Reads a property that is one string; `Ok(None)` if it is not there.
    #[inline(never)]
    pub fn str(&self, name: &'static str) -> Result<Option<&'a str>, Malformed> {
        self.read(name, decode::str, "must be one string")
    }
    /// Reads a list of strings, which has none if the property is not there.
    #[inline(never)]
    pub fn strs(&self, name: &'static str) -> Result<decode::StrList<'a>, Malformed> {
        let list = self.read(name, decode::strs, "must be a list of strings")?;
        Ok(list.unwrap_or_default())
    }
    /// Reads a list of cells, which has none if the property is not there.
    #[inline(never)]
    pub fn cells(&self, name: &'static str) -> Result<decode::CellList<'a>, Malformed> {
        let list = self.read(name, decode::cells, "must be a whole number of cells")?;
        Ok(list.unwrap_or_default())
    }

    /// Reads `reg` as (address, size in bytes) pairs on the parent's bus; none if it is not there.
    ///
    /// The cells are the parent's. An address of 0 or more than 2 cells, a size of more than 2, a
    /// part of an entry or more than [`MAX_REG`] bytes is an error.
    pub fn reg(&self) -> Result<decode::Entries<'a>, Malformed> {
        let cells = match self.parent() {
            Some(parent) => parent.child_cells()?,
            None => Cells::DEFAULT,
        };
        self.reg_with(cells)
    }

    /// Reads `reg` like [`Node::reg`], with the cells that the caller knows.
    #[inline(never)]
    pub fn reg_with(&self, cells: Cells) -> Result<decode::Entries<'a>, Malformed> {
        let wants = "must be whole (address, size) entries in the parent's #address-cells (1 or 2) and #size-cells (0 to 2), 4 KiB at most";
        let few = |value: &&[u8]| value.len() <= MAX_REG;
        let list = |value| Some(value).filter(few).and_then(|value| cells.entries(value));
        let list = self.read("reg", list, wants)?;
        Ok(list.unwrap_or_default())
    }

    /// Reads `#address-cells` and `#size-cells`, which hold for the children.
    #[inline(never)]
    pub fn child_cells(&self) -> Result<Cells, Malformed> {
        let cells = self.bare().cells();
        cells.ok_or_else(|| self.malformed("#address-cells, #size-cells", "must be one cell each"))
    }

    /// Tells whether one of `with` is in the `compatible` list.
    #[inline(never)]
    pub fn is_compatible(&self, with: &[&str]) -> bool {
        names_one(self.entry().compatible, with)
    }

    /// Returns the `compatible` list as it is, each string with its NUL.
    pub fn compatible(&self) -> &'a [u8] {
        self.entry().compatible
    }

    /// Tells whether `status` is "okay", "ok" or not there.
    pub fn is_available(&self) -> bool {
        self.bare().is_available()
    }

    /// Makes the error for a property of this node; `wants` ends a sentence ("must be …").
    #[cold]
    #[inline(never)]
    pub fn malformed(&self, property: &'static str, wants: impl Into<Wants>) -> Malformed {
        let (path, wants) = (self.path(), wants.into());
        Malformed { path, property, wants }
    }

    fn read<T>(
        &self,
        name: &'static str,
        decode: impl FnOnce(&'a [u8]) -> Option<T>,
        wants: &'static str,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.property(name) else {
            return Ok(None);
        };
        decode(value).map(Some).ok_or_else(|| self.malformed(name, wants))
    }
}
