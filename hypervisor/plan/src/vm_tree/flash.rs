//! One `assay,flash` node of a VM: memory in the place of a flash.

use super::{FlashAccess, FlashClaim, Source, field, shared};
use crate::fields::flash::{ACCESS, CFI, IPA, NAME, SIZE};
use crate::fields::{Field, MEMBER};
use crate::gate::{Malformed, Node};
use alloc::string::String;
use assay_model::flash::BLOCK;
use assay_spec::addr::Ipa;

/// The properties beside the manifest's fields.
pub(super) const OTHERS: [&str; 3] = ["compatible", "phandle", MEMBER];

/// Reads the node.
pub(super) fn read(node: &Node<'_, '_>) -> Result<FlashClaim, Malformed> {
    let name = node.str(NAME.property)?.filter(|name| shared::is_name(name));
    let number = |field: &Field| field::wide(node, field)?.ok_or_else(|| node.malformed(field.property, field.kind));
    let access = field::word(node, &ACCESS, FlashAccess::from_word)?.unwrap_or(FlashAccess::ReadOnly);
    let size = number(&SIZE)?;
    if access == FlashAccess::Commands && !size.is_multiple_of(BLOCK) {
        return Err(node.malformed(SIZE.property, "must be a multiple of 256 KiB with access = \"commands\""));
    }
    Ok(FlashClaim {
        name: String::from(name.ok_or_else(|| node.malformed(NAME.property, shared::NAME))?),
        ipa: Ipa(number(&IPA)?),
        size,
        file: node.str(MEMBER)?.map(|member| Source::Member(String::from(member))),
        access,
        cfi: field::flag(node, &CFI),
    })
}
