//! One `xen,domain-shared-memory-v1` node of a VM: its part in a region of RAM that several VMs see.
//!
//! Xen's words are those of its `docs/misc/arm/device-tree/booting.txt`, static shared memory. Here the memory is
//! always the hypervisor's own to choose and to keep, so `role` makes no difference, and a host address none
//! either.

use super::{SharedClaim, field};
use crate::fields::shared::SIZE;
use crate::fields::sharing::{DOORBELL, REGION};
use crate::fields::{READ_ONLY, SHARED_MEM};
use crate::gate::{Malformed, Node};
use alloc::string::String;
use assay_spec::addr::{Ipa, PAGE_SIZE};

/// The longest name: with an address behind it, it becomes a node's name in the guest's tree.
const NAME_MAX: usize = 31;

/// What a name must be.
pub(super) const NAME: &str =
    "must be 1 to 31 letters, digits, comma, dot, underscore, plus and minus, the first a letter, and not \"memory\"";

/// Xen's properties beside the manifest's fields that are read here, or that change nothing.
pub(super) const XENS: [&str; 6] = ["compatible", "phandle", "role", SHARED_MEM, READ_ONLY, SIZE.property];

/// Reads the node. The second answer: whether it names a host address, which has no effect.
pub(super) fn read(node: &Node<'_, '_>) -> Result<(SharedClaim, bool), Malformed> {
    let region = node.str(REGION.property)?.filter(|name| is_name(name));
    let region = region.ok_or_else(|| node.malformed(REGION.property, NAME))?;
    let (ipa, size, by_host) = place(node)?;
    if size == 0 || !size.is_multiple_of(PAGE_SIZE) {
        let property = if ipa.is_some() { SHARED_MEM } else { SIZE.property };
        return Err(node.malformed(property, "must have a size that is a multiple of 4 KiB, from 4 KiB"));
    }
    let claim = SharedClaim {
        region: String::from(region),
        size,
        ipa,
        read_only: node.has(READ_ONLY),
        doorbell: field::flag(node, &DOORBELL),
    };
    Ok((claim, by_host))
}

/// RAM is called `memory` where decisions are printed.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b",._+-".contains(&byte);
    name.len() <= NAME_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && name.bytes().all(plain)
        && name != "memory"
}

/// Returns the guest address if it is given, the size, and whether there is a host address too.
///
/// `xen,shared-mem` has an optional host address, the guest address and the size, in the VM node's cells.
fn place(node: &Node<'_, '_>) -> Result<(Option<Ipa>, u64, bool), Malformed> {
    if !node.has(SHARED_MEM) {
        let size = node.u64(SIZE.property)?;
        let wants = "must be two cells, where xen,shared-mem is missing";
        let size = size.ok_or_else(|| node.malformed(SIZE.property, wants))?;
        return Ok((None, size, false));
    }
    let cells = super::cells::above(node)?;
    let (address, size) = (cells.address as usize, cells.size as usize);
    let count = node.cells(SHARED_MEM)?.take(7).count();
    let wants = "must be an optional host address, a guest address and a size, of 1 or 2 cells each";
    let fits = (1..=2).contains(&address) && (1..=2).contains(&size);
    let by_host = count == 2 * address + size;
    if !fits || !(by_host || count == address + size) {
        return Err(node.malformed(SHARED_MEM, wants));
    }
    let mut list = node.cells(SHARED_MEM)?.skip(if by_host { address } else { 0 });
    let mut number = |cells: usize| {
        let cells = list.by_ref().take(cells);
        cells.fold(0u64, |sum, cell| sum << 32 | u64::from(cell))
    };
    let start = number(address);
    Ok((Some(Ipa(start)), number(size), by_host))
}
