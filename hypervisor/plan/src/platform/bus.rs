//! Addresses of devices behind buses: `reg` through every `ranges` up to the CPUs' own.
//!
//! Only numbers: what is at the address is the caller's matter. (Devicetree Specification 0.4 §2.3.8.)

use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use crate::gate::{Bare, Cells, Malformed, Node};

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

/// Translates by one bus's `ranges`.
fn through(ranges: &[u8], bus: &Bare<'_>, parent: &Bare<'_>, address: u64, size: u64) -> Option<u64> {
    let (address, size) = (u128::from(address), u128::from(size));
    let found = entries(ranges, bus.cells()?, parent.cells()?)?.find_map(|[from, to, length]| {
        let offset = address.checked_sub(from)?;
        (offset.checked_add(size)? <= length).then(|| to.checked_add(offset))?
    });
    u64::try_from(found?).ok()
}

/// Splits `ranges` into (address on the bus, address on its parent, size). Numbers may have four cells: those of PCI
/// have three, and so have those of buses that put a chip select before the address.
fn entries(ranges: &[u8], bus: Cells, parent: Cells) -> Option<impl Iterator<Item = [u128; 3]> + use<'_>> {
    split(ranges, [bus.address, parent.address, bus.size])
}

/// Splits a value into entries of numbers with so many cells; what is left over at the end is no entry.
pub(super) fn split<const N: usize>(
    value: &[u8],
    cells: [u32; N],
) -> Option<impl Iterator<Item = [u128; N]> + use<'_, N>> {
    let is_number = |cells: &u32| (1..=4).contains(cells);
    cells.iter().all(is_number).then(|| {
        let entry = cells.iter().sum::<u32>() as usize * 4;
        value.chunks_exact(entry).map(move |entry| {
            let mut rest = entry;
            cells.map(|cells| {
                let (number, after) = rest.split_at(cells as usize * 4);
                rest = after;
                number.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
            })
        })
    })
}

/// What a bus says about the addresses on it.
#[derive(Clone, Copy)]
pub(super) struct Bus<'a> {
    pub(super) cells: Option<Cells>,
    ranges: Option<&'a [u8]>,
}

impl<'a> Bus<'a> {
    pub(super) fn of(node: Node<'_, 'a>) -> Self {
        Self { cells: node.bare().cells(), ranges: node.property("ranges") }
    }

    /// The same after an overlay's node for it, whose properties win.
    pub(super) fn overlaid(self, by: Node<'_, 'a>) -> Self {
        let states_cells = by.has("#address-cells") || by.has("#size-cells");
        Self {
            cells: if states_cells { by.bare().cells() } else { self.cells },
            ranges: by.property("ranges").or(self.ranges),
        }
    }
}

/// The most pieces that the `ranges` above a device may cut its registers into.
const MAX_PIECES: usize = 1024;

/// Translates ranges, as (start, size) on the first bus, through all to the last, which is the root: as much of
/// them as each bus passes on. `None` if that is more than [`MAX_PIECES`].
pub(super) fn reach(mut pieces: Vec<[u128; 2]>, buses: &[Bus<'_>]) -> Option<Vec<Region<Pa>>> {
    for pair in buses.windows(2) {
        let (Some(ranges), Some(bus), Some(parent)) = (pair[0].ranges, pair[0].cells, pair[1].cells) else {
            return Some(Vec::new());
        };
        if ranges.is_empty() {
            continue;
        }
        let mut passed = Vec::new();
        for [start, size] in pieces {
            for [from, to, length] in entries(ranges, bus, parent).into_iter().flatten() {
                let first = start.max(from);
                let end = start.saturating_add(size).min(from.saturating_add(length));
                if first < end {
                    passed.push([to.saturating_add(first - from), end - first]);
                }
            }
            if passed.len() > MAX_PIECES {
                return None;
            }
        }
        pieces = passed;
    }
    let region = |[start, size]: [u128; 2]| {
        let start = u64::try_from(start).ok()?;
        let most = u64::MAX - start;
        Region::new(Pa(start), u64::try_from(size).map_or(most, |size| size.min(most)))
    };
    Some(pieces.into_iter().filter_map(region).collect())
}
