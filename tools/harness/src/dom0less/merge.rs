//! Adding the nodes of one tree to another.
//!
//! Not an overlay engine: nodes are found by path, and no label or phandle is resolved.

use anyhow::{Context as _, Result};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node as _, Property as _};

/// An overlay's fragments as plain nodes at the paths that they are for; any other tree as it is.
///
/// # Errors
/// A fragment is for a label.
pub(super) fn without_fragments(tree: DeviceTree) -> Result<DeviceTree> {
    let is_fragment = |node: &DeviceTreeNode| node.child("__overlay__").is_some();
    if !tree.root.children().any(is_fragment) {
        return Ok(tree);
    }
    let mut plain = DeviceTree::new();
    for node in tree.root.children() {
        let Some(content) = node.child("__overlay__") else {
            continue;
        };
        let path = super::node::string(node, "target-path").with_context(|| {
            format!(
                "{} has no target-path: a label of the machine's tree is not known here, write &{{/chosen}}",
                node.name()
            )
        })?;
        let mut target = &mut plain.root;
        for component in path.split('/').filter(|name| !name.is_empty()) {
            target = child(target, component);
        }
        into(target, content);
    }
    Ok(plain)
}

/// Adds a fragment's nodes to the machine's tree, whose root's properties stay as they are.
pub(super) fn fragment(machine: &mut DeviceTree, part: &DeviceTree) {
    for node in part.root.children() {
        into(child(&mut machine.root, node.name()), node);
    }
    // The fragment's root says how its VMs' addresses are to be read where they don't, and it is left out.
    let chosen = child(&mut machine.root, "chosen");
    for name in ["#address-cells", "#size-cells"] {
        if let (Some(cells), None) = (part.root.property(name), chosen.property(name)) {
            chosen.add_property(cells.clone());
        }
    }
}

/// Adds properties, which replace those of the same name, and children, which are merged.
fn into(target: &mut DeviceTreeNode, from: &DeviceTreeNode) {
    for property in from.properties() {
        let copy = DeviceTreeProperty::new_unchecked(property.name(), property.value().to_vec());
        target.add_property(copy);
    }
    for node in from.children() {
        into(child(target, node.name()), node);
    }
}

/// The child of this name, made if it is missing. It becomes the last; the order of nodes means nothing.
fn child<'a>(node: &'a mut DeviceTreeNode, name: &str) -> &'a mut DeviceTreeNode {
    let kept = node.remove_child(name);
    node.add_child_mut(kept.unwrap_or_else(|| DeviceTreeNode::new_unchecked(name)))
}
