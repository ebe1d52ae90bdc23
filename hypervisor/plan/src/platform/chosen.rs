//! What the boot loader says in `/chosen`, and how firmware is called.

use assay_spec::addr::{Pa, Region};
use assay_spec::smccc::Conduit;

use super::PlatformError;
use crate::gate::{Malformed, Node, Tree};

/// PSCI 0.1 is left out: its function numbers are in the tree and mean nothing to anyone today.
pub(super) const PSCI: &[&str] = &["arm,psci-1.0", "arm,psci-0.2"];

/// Reads `bootargs`, which may be there without a value (a legal empty property).
pub(super) fn bootargs<'a>(chosen: Node<'_, 'a>) -> Result<&'a str, Malformed> {
    if chosen.property("bootargs").is_none_or(<[u8]>::is_empty) {
        return Ok("");
    }
    Ok(chosen.str("bootargs")?.unwrap_or_default())
}

/// Reads where the initrd is; the end is the first byte after it.
pub(super) fn initrd(chosen: Node<'_, '_>) -> Result<Option<Region<Pa>>, Malformed> {
    let start = chosen.u64("linux,initrd-start")?;
    let end = chosen.u64("linux,initrd-end")?;
    match (start, end) {
        (Some(start), Some(end)) if start == end => Ok(None),
        (Some(start), Some(end)) => {
            let region = end.checked_sub(start);
            let region = region.and_then(|size| Region::new(Pa(start), size));
            let wants = "must not be below linux,initrd-start";
            let region = region.ok_or_else(|| chosen.malformed("linux,initrd-end", wants))?;
            Ok(Some(region))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(chosen.malformed("linux,initrd-end", "must be there too")),
        (None, Some(_)) => Err(chosen.malformed("linux,initrd-start", "must be there too")),
    }
}

/// Reads the random bytes for whoever needs some early; more than 4 KiB are cut off.
pub(super) fn seed<'a>(chosen: Node<'_, 'a>) -> &'a [u8] {
    let seed = chosen.property("rng-seed").unwrap_or_default();
    seed.get(..0x1000).unwrap_or(seed)
}

/// Reads the number for address randomisation; 0 means that there is none.
pub(super) fn kaslr_seed(chosen: Node<'_, '_>) -> Result<Option<u64>, Malformed> {
    Ok(chosen.u64("kaslr-seed")?.filter(|&seed| seed != 0))
}

/// Reads by which instruction PSCI is called.
pub(super) fn conduit(tree: &Tree<'_>) -> Result<Option<Conduit>, PlatformError> {
    let psci = |node: &Node<'_, '_>| node.is_compatible(PSCI) && node.is_available();
    let Some(node) = tree.nodes().find(psci) else {
        return Ok(None);
    };
    let method = node.str("method")?.and_then(method);
    method.map(Some).ok_or_else(|| node.malformed("method", "must be \"smc\" or \"hvc\"").into())
}

/// The instruction of this name.
pub(super) fn method(name: &str) -> Option<Conduit> {
    match name {
        "smc" => Some(Conduit::Smc),
        "hvc" => Some(Conduit::Hvc),
        _ => None,
    }
}
