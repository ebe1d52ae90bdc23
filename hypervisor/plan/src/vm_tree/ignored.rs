//! Words of a VM tree that have no effect here, and what a reader who knows them from Xen should hear.
//!
//! Xen's words are those of its `docs/misc/arm/device-tree/booting.txt`, and of `passthrough.txt` beside it. A
//! word that changes what the guest finds says so; for the others it is enough that they are named.

use super::Warning;
use crate::gate::Node;
use alloc::string::String;
use alloc::vec::Vec;

/// What is said of a word that is not known at all.
const UNKNOWN: &str = "not supported, and ignored";

/// Properties of a `xen,domain` node.
const PROPERTIES: [(&str, &str); 9] = [
    ("direct-map", "ignored: the guest's RAM begins at 0x40000000, whatever the physical address"),
    ("xen,static-mem", "ignored: the RAM is taken wherever the machine has some free"),
    ("nr_spis", "ignored: the VM has as many SPIs as its devices need"),
    ("xen,passthrough", "ignored: no device is passed through to a VM"),
    ("passthrough", "ignored: no device is passed through to a VM"),
    ("xen,enhanced", "ignored: there are no grant tables, event channels or xenstore"),
    ("xen,static-heap", "ignored: what EL2 needs for the VM is taken wherever the machine has some free"),
    ("sve", "ignored: the VM has SVE if the CPUs have it, with their longest vectors"),
    ("capabilities", "ignored: no VM has rights over Assay or over another VM"),
];

/// Nodes below a `xen,domain` node, by `compatible`.
const NODES: [(&str, &str); 2] = [
    ("multiboot,device-tree", "ignored: no device is passed through, so the VM does not get what this tree describes"),
    ("xen,evtchn-v1", "ignored: there are no event channels"),
];

/// The kinds of a module that belongs to no `xen,domain` node.
const MODULES: [&str; 4] = ["multiboot,module", "multiboot,kernel", "multiboot,ramdisk", "xen,multiboot-module"];

/// How many are told of: a tree of nothing else must not fill EL2's memory.
const MOST: usize = 64;

/// Tells of one more.
pub(super) fn warn(warnings: &mut Vec<Warning>, node: &Node<'_, '_>, property: Option<&str>, reason: &'static str) {
    let reason = match warnings.len() {
        0..MOST => reason,
        MOST => "and there is more that is ignored here or below, which is not listed",
        _ => return,
    };
    warnings.push(Warning { node: node.path(), property: property.map(String::from), reason });
}

/// Names the properties of a node beyond those that are read.
pub(super) fn properties(node: &Node<'_, '_>, known: impl Fn(&str) -> bool, warnings: &mut Vec<Warning>) {
    for (property, _) in node.properties() {
        if !known(property) {
            let said = PROPERTIES.iter().find(|(word, _)| *word == property);
            warn(warnings, node, Some(property), said.map_or(UNKNOWN, |(_, reason)| reason));
        }
    }
}

/// Names a node below a VM's that is not read.
pub(super) fn node(node: &Node<'_, '_>, warnings: &mut Vec<Warning>) {
    let said = NODES.iter().find(|(word, _)| node.is_compatible(&[word]));
    warn(warnings, node, None, said.map_or(UNKNOWN, |(_, reason)| reason));
}

/// Names a child of `/chosen` that is a module by itself: dom0's.
pub(super) fn module_of_dom0(node: &Node<'_, '_>, warnings: &mut Vec<Warning>) {
    if node.is_compatible(&MODULES) {
        let reason = "ignored: there is no dom0, and a module outside a xen,domain node is dom0's";
        warn(warnings, node, None, reason);
    }
}
