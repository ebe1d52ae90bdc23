//! Addresses of devices behind buses: `reg` through every `ranges` up to the CPUs' own.
//!
//! Only numbers: what is at the address is the caller's matter. (Devicetree Specification 0.4 §2.3.8.)

use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use crate::gate::decode::{cell_bytes, number};
use crate::gate::{Bare, Malformed, Node};

/// Reads a device's `reg` as the CPUs see it; at least one entry.
///
/// Errors if it is missing, malformed, empty, or if a bus on the way does not pass it on.
pub(super) fn registers(node: Node<'_, '_>) -> Result<Vec<Region<Pa>>, Malformed> {
    let mut regions = Vec::new();
    for (address, size) in node.reg()? {
        let buses = node.ancestors().map(|bus| bus.bare());
        let start = to_physical(buses, address, size);
        let start = start.ok_or_else(|| {
            let wants = "must be reachable: the `ranges` of each bus above it must hold the address";
            node.malformed("reg", wants)
        })?;
        regions.push(region(node, start, size)?);
    }
    if regions.is_empty() {
        return Err(node.malformed("reg", "must be there with an address and a size"));
    }
    Ok(regions)
}

/// Makes a region of one `reg` entry.
pub(super) fn region(node: Node<'_, '_>, start: u64, size: u64) -> Result<Region<Pa>, Malformed> {
    let region = Region::new(Pa(start), size);
    region.ok_or_else(|| node.malformed("reg", "must have a size above 0 and end below 2^64"))
}

/// Translates an address on the first bus through all to the last, which is the root.
///
/// `None` if a bus has no `ranges`, none that holds all of `address` and `size`, or a malformed one.
pub(super) fn to_physical<'a>(buses: impl Iterator<Item = Bare<'a>>, address: u64, size: u64) -> Option<u64> {
    let mut address = address;
    let mut buses = buses.peekable();
    while let Some(bus) = buses.next() {
        let Some(parent) = buses.peek() else {
            break;
        };
        let ranges = bus.property("ranges")?;
        if !ranges.is_empty() {
            address = through(ranges, &bus, parent, address, size)?;
        }
    }
    Some(address)
}

/// Translates by one bus's `ranges`: (address on the bus, address on its parent, size) entries.
fn through(ranges: &[u8], bus: &Bare<'_>, parent: &Bare<'_>, address: u64, size: u64) -> Option<u64> {
    let cells = bus.cells()?;
    let child = cell_bytes(cells.address).filter(|&bytes| bytes != 0)?;
    let above = cell_bytes(parent.cells()?.address).filter(|&bytes| bytes != 0)?;
    let entry = child + above + cell_bytes(cells.size)?;
    ranges.chunks_exact(entry).find_map(|entry| {
        let (from, rest) = entry.split_at(child);
        let (to, length) = rest.split_at(above);
        let offset = address.checked_sub(number(from))?;
        let fits = offset.checked_add(size)? <= number(length);
        fits.then(|| number(to).checked_add(offset))?
    })
}
