//! Which node a claim means: a node's name without unit address, or its full path.

use alloc::vec::Vec;

use super::Trouble;
use crate::platform::CoherentNode;

/// What the VM's RAM is called.
pub(super) const RAM: &str = "memory";

/// Returns the index of the node that `wanted` names.
pub(super) fn find<'a>(nodes: &'a [CoherentNode], wanted: &'a str) -> Result<usize, Trouble<'a>> {
    let is_path = wanted.starts_with('/');
    let is_it = |node: &CoherentNode| {
        if is_path { node.path == wanted } else { node.name == wanted }
    };
    let mut found = nodes.iter().enumerate().filter(|(_, node)| is_it(node));
    match (found.next(), found.next()) {
        // In messages and in `--proof` this is the name of RAM.
        (Some((_, node)), None) if wanted == RAM => Err(Trouble::CalledMemory { path: &node.path }),
        (Some((index, _)), None) => Ok(index),
        (None, _) => {
            Err(Trouble::Unknown { region: wanted, known: nodes.iter().map(|node| label(nodes, node)).collect() })
        }
        (Some(_), Some(_)) => Err(Trouble::Ambiguous { region: wanted, paths: paths(nodes, is_it) }),
    }
}

fn paths(nodes: &[CoherentNode], is_it: impl Fn(&CoherentNode) -> bool) -> Vec<&str> {
    let found = nodes.iter().filter(|node| is_it(node));
    found.map(|node| node.path.as_str()).collect()
}

/// Returns the shortest text that names the node.
pub(super) fn label<'a>(nodes: &[CoherentNode], node: &'a CoherentNode) -> &'a str {
    let namesakes = nodes.iter().filter(|other| other.name == node.name);
    if namesakes.count() > 1 || node.name == RAM { &node.path } else { &node.name }
}
