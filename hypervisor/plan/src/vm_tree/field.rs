//! Reads the manifest's fields from a node, by their table.

use super::{Warning, ignored};
use crate::fields::vm::{CMDLINE, ENTRY, FORMAT, LOAD, TREE};
use crate::fields::{Field, MEMBER};
use crate::gate::{Malformed, Node};
use alloc::vec::Vec;

/// The properties of a module's node. Some of them are fields of the VM in the manifest.
pub(super) const OF_MODULES: [&str; 9] = [
    "compatible",
    "reg",
    "phandle",
    CMDLINE.property,
    MEMBER,
    FORMAT.property,
    LOAD.property,
    ENTRY.property,
    TREE.property,
];

/// Whether a flag is set.
pub(super) fn flag(node: &Node<'_, '_>, field: &Field) -> bool {
    node.has(field.property)
}

/// A number, or a time in microseconds.
pub(super) fn number(node: &Node<'_, '_>, field: &Field) -> Result<Option<u32>, Malformed> {
    match node.u32(field.property)? {
        Some(number) if !field.kind.takes(number) => Err(node.malformed(field.property, field.kind)),
        number => Ok(number),
    }
}

/// Bytes or an address.
pub(super) fn wide(node: &Node<'_, '_>, field: &Field) -> Result<Option<u64>, Malformed> {
    match node.u64(field.property)? {
        Some(number) if !field.kind.takes_wide(number) => Err(node.malformed(field.property, field.kind)),
        number => Ok(number),
    }
}

/// A word's meaning.
pub(super) fn word<T>(
    node: &Node<'_, '_>,
    field: &Field,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    match node.str(field.property)? {
        None => Ok(None),
        Some(word) => read(word).map(Some).ok_or_else(|| node.malformed(field.property, field.kind)),
    }
}

/// Refuses what is there without the word of another field that it belongs to.
pub(super) fn alone(node: &Node<'_, '_>, fields: &[Field]) -> Result<(), Malformed> {
    match fields.iter().find(|field| node.has(field.property)).and_then(|field| Some((field, field.with?))) {
        Some((field, with)) => Err(node.malformed(field.property, with)),
        None => Ok(()),
    }
}

/// Names the properties of a node beyond the fields' and Xen's.
pub(super) fn unknown(node: &Node<'_, '_>, properties: &[&str], xen: &[&str], warnings: &mut Vec<Warning>) {
    let known = |name: &str| xen.contains(&name) || properties.contains(&name) && !OF_MODULES.contains(&name);
    ignored::properties(node, known, warnings);
}
