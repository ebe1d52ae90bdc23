//! Facts about the platform from the bundle's overlays (`platform/*.dtbo`).
//!
//! This is no overlay engine: nothing is merged into a tree. The fragments are walked, and what stands
//! in them about nodes that EL2 knows is read as if it stood in the firmware's tree, the later winning.

use alloc::string::String;

use super::{HostPlatform, PlatformError, missing, reserved};
use crate::gate::{Malformed, Node, Tree};

/// Adds the facts of one overlay to `machine`.
///
/// `Ok(false)`, and nothing is added, if its root `compatible` shares no string with the board's. Errors
/// name the fragment or the node and what to do; the machine then has the facts that came before.
pub fn overlay(machine: &mut HostPlatform, dtbo: &[u8]) -> Result<bool, PlatformError> {
    let tree = Tree::new(dtbo)?;
    let root = tree.root();
    let wants = "no `compatible`; give the overlay the board's, so that it is not applied to another";
    if !root.has("compatible") {
        return Err(missing("/", wants));
    }
    let mut list = root.strs("compatible")?;
    if !list.any(|one| machine.compatible.iter().any(|board| board == one)) {
        return Ok(false);
    }
    let applied = fragments(machine, root);
    machine.derive();
    applied.map(|()| true)
}

fn fragments(machine: &mut HostPlatform, root: Node<'_, '_>) -> Result<(), PlatformError> {
    for fragment in root.children() {
        // What dtc adds besides (`__fixups__`, `__symbols__`) is about labels.
        if let Some(body) = fragment.child("__overlay__") {
            apply(machine, target(fragment)?, body)?;
        }
    }
    Ok(())
}

/// Reads where a fragment goes.
fn target<'a>(fragment: Node<'_, 'a>) -> Result<&'a str, Malformed> {
    let target = fragment.str("target-path")?;
    let target = target.filter(|path| path.starts_with('/'));
    let wants = "must be there with a full path: labels (`target`, &name) need symbols that firmware trees lack; write &{/path} or target-path";
    target.ok_or_else(|| fragment.malformed("target-path", wants))
}

/// Reads what a fragment says about the target and the nodes below it, which it may also create.
fn apply(machine: &mut HostPlatform, target: &str, body: Node<'_, '_>) -> Result<(), PlatformError> {
    let target = target.trim_end_matches('/');
    fact(machine, target, body)?;
    for child in body.children() {
        let path = join(target, child);
        fact(machine, &path, child)?;
        for grandchild in child.children() {
            fact(machine, &join(&path, grandchild), grandchild)?;
        }
    }
    Ok(())
}

fn join(parent: &str, child: Node<'_, '_>) -> String {
    let mut path = String::from(parent);
    path.push('/');
    path.push_str(&child.full_name());
    path
}

/// Adds what `node` says about the node at `path` ("" is the root).
fn fact(machine: &mut HostPlatform, path: &str, node: Node<'_, '_>) -> Result<(), PlatformError> {
    if let Some(name) = path.strip_prefix(reserved::PARENT) {
        return if name.contains('/') { Ok(()) } else { reserved_child(machine, path, node) };
    }
    if path.is_empty() {
        machine.uniform_memory |= node.has("assay,uniform-memory");
    }
    let numa = node.u32("numa-node-id")?;
    let no_mte = node.has("arm,no-mte");
    let mut known = false;
    for memory in machine.memory.iter_mut().filter(|memory| memory.path == path) {
        memory.numa = numa.or(memory.numa);
        memory.no_mte |= no_mte;
        known = true;
    }
    // A warning about memory must not be lost for a misspelt path.
    if no_mte && !known {
        let wants = "the platform has no such memory node for `arm,no-mte`; correct the overlay's path";
        return Err(missing(path, wants));
    }
    Ok(())
}

/// Adds a child of `/reserved-memory`. Its `reg` has the cells that the overlay states above it, or else
/// those of the platform's `/reserved-memory`.
fn reserved_child(machine: &mut HostPlatform, path: &str, node: Node<'_, '_>) -> Result<(), PlatformError> {
    let parent = node.parent().filter(|parent| parent.has("#address-cells"));
    let cells = match parent {
        Some(parent) => parent.child_cells()?,
        None => machine.reserved_cells,
    };
    machine.facts.absorb(path, node, cells)
}
