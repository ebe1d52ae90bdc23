//! Facts about the platform from the bundle's overlays (`platform/*.dtbo`).
//!
//! This is no overlay engine: nothing is merged into a tree. The fragments are walked, and what stands
//! in them about nodes that EL2 knows is read as if it stood in the firmware's tree, the later winning.

use alloc::string::String;
use alloc::vec::Vec;

use super::bus::Bus;
use super::memory::is_called_memory;
use super::registers::Above;
use super::{HostPlatform, PlatformError, missing, reserved};
use crate::gate::{Malformed, Node, Tree};

/// Adds the facts of one overlay to `machine`, which was read from `platform`.
///
/// `Ok(false)`, and nothing is added, if its root `compatible` shares no string with the board's. Errors
/// name the fragment or the node and what to do; the machine then has the facts that came before.
pub fn overlay<'p: 'o, 'o>(
    machine: &mut HostPlatform,
    platform: &Tree<'p>,
    dtbo: &'o [u8],
) -> Result<bool, PlatformError> {
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
    let applied = Overlay { machine, platform }.fragments(root);
    machine.derive();
    applied.map(|()| true)
}

/// One overlay on its way into the facts.
struct Overlay<'m, 't, 'p> {
    machine: &'m mut HostPlatform,
    platform: &'t Tree<'p>,
}

impl<'p> Overlay<'_, '_, 'p> {
    fn fragments<'o>(&mut self, root: Node<'_, 'o>) -> Result<(), PlatformError>
    where
        'p: 'o,
    {
        // What dtc adds besides (`__fixups__`, `__symbols__`) is about labels.
        for fragment in root.children().filter(|child| !child.name().starts_with("__")) {
            let Some(body) = fragment.child("__overlay__") else {
                let reason = "a node of an overlay that has no __overlay__ says nothing: write it as &{/path} { … } after /plugin/";
                self.machine.in_vain.push((fragment.path(), reason));
                continue;
            };
            let target = self.target(fragment)?;
            let above = match self.platform.find(&target) {
                Some(node) => self.machine.devices.above(node),
                None => Above { buses: Vec::new(), is_on: true },
            };
            let target = target.trim_end_matches('/');
            if !target.is_empty() && self.platform.find(target).is_none() && !self.is_added(target) {
                let reason =
                    "the platform has no such node, for which an overlay has a fragment: correct its target-path";
                self.machine.in_vain.push((String::from(target), reason));
            }
            self.apply(target, body, &above)?;
        }
        Ok(())
    }

    fn is_added(&self, path: &str) -> bool {
        self.machine.added.iter().any(|added| added == path)
    }

    /// Reads where a fragment goes: the full path of its node, if the platform has it.
    fn target(&self, fragment: Node<'_, '_>) -> Result<String, Malformed> {
        let wants = "must be there with a full path or an alias: labels (`target`, &name) need symbols that firmware trees lack; write &{/path} or target-path";
        let path = fragment.str("target-path")?.and_then(|path| self.full_path(path));
        let path = path.ok_or_else(|| fragment.malformed("target-path", wants))?;
        Ok(self.platform.find(&path).map_or(path, |node| node.path()))
    }

    /// Puts what an alias stands for in front of the rest of a path.
    fn full_path(&self, path: &str) -> Option<String> {
        if path.starts_with('/') {
            return Some(String::from(path));
        }
        let end = path.find('/').unwrap_or(path.len());
        let (alias, rest) = path.split_at_checked(end)?;
        let aliased = self.platform.find("/aliases")?.property(alias)?;
        let mut full = String::from(crate::gate::decode::str(aliased)?);
        full.push_str(rest);
        Some(full)
    }

    /// What is RAM the firmware knows: it may itself be in what an overlay adds.
    fn memory(&mut self, path: &str, node: Node<'_, '_>) {
        let is_known = self.machine.memory.iter().any(|memory| memory.path == path);
        let is_memory = is_known || (path.rfind('/') == Some(0) && is_called_memory(&node.bare()));
        if is_memory && ["reg", "status"].iter().any(|name| node.has(name)) {
            let reason =
                "what is RAM the firmware's tree alone says: reg and status of memory are not read from an overlay";
            self.machine.in_vain.push((String::from(path), reason));
        }
    }

    /// Reads what a fragment says about the node at `path` ("" is the root) and those below it, which it may also create.
    fn apply<'o>(&mut self, path: &str, node: Node<'_, 'o>, above: &Above<'o>) -> Result<(), PlatformError>
    where
        'p: 'o,
    {
        let known = self.platform.find(if path.is_empty() { "/" } else { path });
        if known.is_none() && !self.is_added(path) {
            self.machine.added.push(String::from(path));
        }
        self.memory(path, node);
        self.machine.said.add(path, node);
        fact(self.machine, path, node)?;
        let is_on = self.machine.devices.overlay(path, node, known, above)?;
        let own = known.map_or_else(|| Bus::of(node), |known| Bus::of(known).overlaid(node));
        let below = Above { buses: core::iter::once(own).chain(above.buses.iter().copied()).collect(), is_on };
        for child in node.children() {
            let mut path = String::from(path);
            path.push('/');
            path.push_str(&child.full_name());
            // A name without unit address means the node that has one.
            let path = self.platform.find(&path).map_or(path, |node| node.path());
            self.apply(&path, child, &below)?;
        }
        Ok(())
    }
}

/// Adds what `node` says about the node at `path` ("" is the root).
fn fact(machine: &mut HostPlatform, path: &str, node: Node<'_, '_>) -> Result<(), PlatformError> {
    if let Some(name) = path.strip_prefix(reserved::PARENT) {
        return if name.contains('/') { Ok(()) } else { reserved_child(machine, path, node) };
    }
    if path.is_empty() {
        machine.vouch(node);
    } else if path == "/reserved-memory" {
        machine.facts.parent.absorb(node)?;
    }
    let no_mte = node.has("arm,no-mte");
    let mut known = false;
    for memory in machine.memory.iter_mut().filter(|memory| memory.path == path) {
        memory.numa = node.u32("numa-node-id")?.or(memory.numa);
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
        None => machine.facts.parent.cells(),
    };
    machine.facts.absorb(path, node, cells)
}
