//! Reading properties of a node: values that have the right form, and nothing where they haven't.

use dtoolkit::model::DeviceTreeNode;
use dtoolkit::{Node as _, Property as _};

/// `#address-cells` and `#size-cells` that hold below a node.
#[derive(Clone, Copy)]
pub(super) struct Cells {
    address: usize,
    size: usize,
}

impl Default for Cells {
    /// Those of `virt`'s root, into which a fragment goes.
    fn default() -> Self {
        Self { address: 2, size: 2 }
    }
}

impl Cells {
    /// What holds below `node`: what it says, else what holds here, as Xen reads it.
    pub(super) fn of(self, node: &DeviceTreeNode) -> Self {
        let cell = |name| number(node, name).and_then(|value| usize::try_from(value).ok());
        Self { address: cell("#address-cells").unwrap_or(self.address), size: cell("#size-cells").unwrap_or(self.size) }
    }

    /// The whole entries of the node's `reg`.
    pub(super) fn entries(self, node: &DeviceTreeNode) -> Vec<(u64, u64)> {
        let reg = node.property("reg");
        let bytes = reg.as_ref().map_or(&[][..], |reg| reg.value());
        let (address, length) = (self.address * 4, (self.address + self.size) * 4);
        if !(1..=2).contains(&self.address) || self.size > 2 {
            return Vec::new();
        }
        let entries = bytes.chunks_exact(length);
        entries.map(|entry| (wide(&entry[..address]), wide(&entry[address..]))).collect()
    }
}

pub(super) fn find<T>(node: &DeviceTreeNode, look: &impl Fn(&DeviceTreeNode) -> Option<T>) -> Option<T> {
    look(node).or_else(|| node.children().find_map(|child| find(child, look)))
}

pub(super) fn number(node: &DeviceTreeNode, name: &str) -> Option<u64> {
    let property = node.property(name)?;
    let value = property.value();
    matches!(value.len(), 4 | 8).then(|| wide(value))
}

/// At most 8 bytes as one number.
fn wide(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

pub(super) fn string(node: &DeviceTreeNode, name: &str) -> Option<String> {
    let property = node.property(name)?;
    let text = property.value().strip_suffix(b"\0")?;
    String::from_utf8(text.to_vec()).ok()
}

pub(super) fn compatible(node: &DeviceTreeNode, word: &str) -> bool {
    let list = node.property("compatible");
    list.is_some_and(|list| list.value().split(|byte| *byte == 0).any(|one| one == word.as_bytes()))
}
