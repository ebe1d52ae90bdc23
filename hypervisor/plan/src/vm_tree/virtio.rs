//! One `assay,virtio` node of a VM: a virtio device whose backend is another VM.

use super::{VirtioClaim, field, shared};
use crate::fields::virtio::{BACKEND, NAME, TYPE};
use crate::gate::{Malformed, Node};
use alloc::string::String;
use assay_model::virtio::Kind;

/// The properties beside the manifest's fields.
pub(super) const OTHERS: [&str; 2] = ["compatible", "phandle"];

/// Reads the node.
pub(super) fn read(node: &Node<'_, '_>) -> Result<VirtioClaim, Malformed> {
    let name = node.str(NAME.property)?.filter(|name| shared::is_name(name));
    let kind = field::word(node, &TYPE, Kind::from_word)?;
    let backend = node.str(BACKEND.property)?.filter(|backend| !backend.is_empty());
    Ok(VirtioClaim {
        name: String::from(name.ok_or_else(|| node.malformed(NAME.property, shared::NAME))?),
        kind: kind.ok_or_else(|| node.malformed(TYPE.property, TYPE.kind))?,
        backend: String::from(backend.ok_or_else(|| node.malformed(BACKEND.property, BACKEND.kind))?),
    })
}
