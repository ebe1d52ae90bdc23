//! Nodes and properties of the tree that is written.

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};

/// The phandle of the interrupt controller.
pub(super) const GIC: u32 = 1;
/// The phandles of ITSs begin here, in the MADT's order.
pub(super) const ITS: u32 = 0x100;
/// The phandles of SMMUs begin here, in the IORT's order.
pub(super) const SMMU: u32 = 0x200;

pub(super) fn node(name: &str) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name)
}

/// A node with a unit address.
pub(super) fn at(name: &str, address: u64) -> DeviceTreeNode {
    node(&format!("{name}@{address:x}"))
}

pub(super) fn put<T: ToPropertyValue>(node: &mut DeviceTreeNode, name: &str, value: T) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// A property without a value.
pub(super) fn flag(node: &mut DeviceTreeNode, name: &str) {
    put(node, name, &[] as &[u8]);
}

pub(super) fn strings(node: &mut DeviceTreeNode, name: &str, list: &[&str]) {
    let bytes: Vec<u8> = list.iter().flat_map(|text| text.bytes().chain([0])).collect();
    put(node, name, bytes.as_slice());
}

/// `reg` with addresses and sizes of two cells.
pub(super) fn reg(node: &mut DeviceTreeNode, regions: &[(u64, u64)]) {
    let cells: Vec<u32> = regions.iter().flat_map(|&(start, size)| [wide(start), wide(size)].concat()).collect();
    put(node, "reg", cells.as_slice());
}

/// The two cells of a number.
pub(super) fn wide(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, (number & 0xffff_ffff) as u32]
}

/// What a node says of its children's addresses.
pub(super) fn cells(node: &mut DeviceTreeNode, address: u32, size: u32) {
    put(node, "#address-cells", address);
    put(node, "#size-cells", size);
}
