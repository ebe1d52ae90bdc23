//! A reader for the guest's own device tree, a flattened one (Devicetree Specification v0.4 §5).
//!
//! It is not a validator: a guest trusts whoever started it, and a malformed tree ends the walk.

/// A tree in memory.
#[derive(Clone, Copy)]
pub struct Tree {
    bytes: &'static [u8],
    structure: usize,
    strings: usize,
}

/// A node: its name, its depth, and the cell counts that its parent set.
#[derive(Clone, Copy)]
pub struct Node {
    tree: Tree,
    /// The name with its unit address; empty for the root.
    pub name: &'static str,
    /// 0 for the root.
    pub depth: usize,
    properties: usize,
    cells: (usize, usize),
}

/// Walks all nodes in the order of the tree.
pub struct Nodes {
    tree: Tree,
    at: usize,
    depth: usize,
    cells: [(usize, usize); 8],
}

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

impl Tree {
    /// Takes the tree at `address`, or `None` if there is no tree's magic number.
    pub fn at(address: u64) -> Option<Self> {
        if address == 0 || address & 7 != 0 {
            return None;
        }
        // SAFETY: the boot protocol gives the address of a tree in RAM, and nobody writes it.
        let header = unsafe { core::slice::from_raw_parts(address as *const u8, 40) };
        if big_endian(header, 0)? != 0xd00d_feed {
            return None;
        }
        let size = big_endian(header, 4)? as usize;
        // SAFETY: as above; the header gives the size.
        let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, size) };
        let structure = big_endian(bytes, 8)? as usize;
        let strings = big_endian(bytes, 12)? as usize;
        Some(Self { bytes, structure, strings })
    }
    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
    /// Walks the nodes.
    pub fn nodes(&self) -> Nodes {
        Nodes { tree: *self, at: self.structure, depth: 0, cells: [(2, 1); 8] }
    }
    /// Returns the first node that lists `compatible`.
    pub fn compatible(&self, compatible: &str) -> Option<Node> {
        self.nodes().find(|node| node.is_compatible(compatible))
    }
    /// Returns the first node of this name, unit address included.
    pub fn named(&self, name: &str) -> Option<Node> {
        self.nodes().find(|node| node.name == name)
    }
    /// Walks the memory reservation block (5.3): address and size of each entry.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> {
        let bytes = self.bytes;
        let start = big_endian(bytes, 16).map_or(bytes.len(), |start| start as usize);
        let word = move |at| Some(u64::from(big_endian(bytes, at)?) << 32 | u64::from(big_endian(bytes, at + 4)?));
        let entries = (start..).step_by(16).map_while(move |at| Some((word(at)?, word(at + 8)?)));
        entries.take_while(|entry| *entry != (0, 0))
    }
    fn string(&self, at: usize) -> &'static str {
        let bytes = self.bytes.get(at..).unwrap_or(&[]);
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
        core::str::from_utf8(bytes.get(..length).unwrap_or(&[])).unwrap_or("?")
    }
    /// Returns the property at `at`: name, value, and where the next token is.
    fn property(&self, at: usize) -> Option<(&'static str, &'static [u8], usize)> {
        let length = big_endian(self.bytes, at + 4)? as usize;
        let name = self.string(self.strings + big_endian(self.bytes, at + 8)? as usize);
        let value = self.bytes.get(at + 12..at + 12 + length)?;
        Some((name, value, at + 12 + length.next_multiple_of(4)))
    }
}

impl Iterator for Nodes {
    type Item = Node;
    fn next(&mut self) -> Option<Node> {
        loop {
            match big_endian(self.tree.bytes, self.at)? {
                BEGIN_NODE => {
                    let name = self.tree.string(self.at + 4);
                    self.at += 4 + (name.len() + 1).next_multiple_of(4);
                    let parent = self.depth.checked_sub(1).and_then(|depth| self.cells.get(depth));
                    let cells = parent.copied().unwrap_or((2, 1));
                    let node = Node { tree: self.tree, name, depth: self.depth, properties: self.at, cells };
                    let own = |name, default| node.u32(name).map_or(default, |cells| cells as usize);
                    if let Some(slot) = self.cells.get_mut(self.depth) {
                        *slot = (own("#address-cells", 2), own("#size-cells", 1));
                    }
                    self.depth += 1;
                    return Some(node);
                }
                END_NODE => {
                    self.depth = self.depth.checked_sub(1)?;
                    self.at += 4;
                }
                PROPERTY => self.at = self.tree.property(self.at)?.2,
                NOP => self.at += 4,
                _ => return None,
            }
        }
    }
}

impl Node {
    /// Returns a property's bytes.
    pub fn property(&self, name: &str) -> Option<&'static [u8]> {
        let mut at = self.properties;
        loop {
            match big_endian(self.tree.bytes, at)? {
                PROPERTY => {
                    let (found, value, next) = self.tree.property(at)?;
                    if found == name {
                        return Some(value);
                    }
                    at = next;
                }
                NOP => at += 4,
                _ => return None,
            }
        }
    }
    /// Returns the first cell of a property.
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.cell(name, 0)
    }
    /// Returns cell `n` of a property.
    pub fn cell(&self, name: &str, n: usize) -> Option<u32> {
        big_endian(self.property(name)?, n * 4)
    }
    /// Returns a property as text.
    pub fn str(&self, name: &str) -> Option<&'static str> {
        let value = self.property(name)?;
        core::str::from_utf8(value.split(|&byte| byte == 0).next()?).ok()
    }
    /// Returns entry `n` of `reg`: address and size.
    pub fn reg(&self, n: usize) -> Option<(u64, u64)> {
        let reg = self.property("reg")?;
        let (address, size) = self.cells;
        let at = n * (address + size) * 4;
        let number = |at: usize, cells: usize| {
            (0..cells).try_fold(0u64, |sum, cell| Some(sum << 32 | u64::from(big_endian(reg, at + cell * 4)?)))
        };
        Some((number(at, address)?, number(at + address * 4, size)?))
    }
    /// Tells whether `compatible` lists the text.
    pub fn is_compatible(&self, compatible: &str) -> bool {
        let list = self.property("compatible").unwrap_or(&[]);
        list.split(|&byte| byte == 0).any(|entry| entry == compatible.as_bytes())
    }
    /// Returns the INTID of entry `n` of `interrupts` in the GIC's three cells.
    pub fn intid(&self, n: usize) -> Option<u32> {
        let number = self.cell("interrupts", n * 3 + 1)?;
        Some(number + if self.cell("interrupts", n * 3)? == 0 { 32 } else { 16 })
    }
}

fn big_endian(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
