//! The part of T1 and T2 that looks at all regions at once: where they lie and who claims them.
//!
//! Pure checks over plain slices; whoever parses the platform tree adapts to them. The answers go into
//! [`Facts::fault`](super::Facts::fault) and [`Facts::other_owner`](super::Facts::other_owner).

use assay_spec::addr::{Address, PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::PA_BITS_MAX;

use super::{Fault, Kind};
use crate::pci::BarFault;

/// Where a region's node puts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// One `reg` entry, or one BAR.
    One(Region<Pa>),
    /// No `reg`, an empty one, or one that passes 2^64.
    Missing,
    /// Several `reg` entries. (Of MMIO, each entry is a region of its own instead.)
    Several,
    /// A BAR of which this much is memory, in bytes, and whose place is not known: on the host, or because no VM
    /// claims it.
    Unplaced(u64),
    /// A BAR that cannot be used.
    Unusable(BarFault),
}

/// A region as the platform tree has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionFact<'a> {
    /// The node's name or path, as messages are to call it.
    pub name: &'a str,
    /// What it is. RAM is only checked against the address space: others may be carved out of it.
    pub kind: Kind,
    /// Where it is.
    pub extent: Extent,
}

/// Who has memory that no VM may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occupant {
    /// `arm,mte-tag-storage`: tags, reachable as data.
    TagStorage,
    /// `/memreserve/` and the children of `/reserved-memory` that are not themselves checked regions.
    Firmware,
    /// Assay's image, heap and tables, and the bundle.
    Assay,
}

/// Memory that no VM may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupied<'a> {
    /// What messages are to call it.
    pub name: &'a str,
    /// Whose it is.
    pub occupant: Occupant,
    /// Where it is.
    pub region: Region<Pa>,
}

/// All that a region's place is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// All regions, claimed or not.
    pub regions: &'a [RegionFact<'a>],
    /// What no VM may get.
    pub occupied: &'a [Occupied<'a>],
    /// What `/memory` describes.
    pub memory: &'a [Region<Pa>],
    /// Bits of a physical address, the minimum of all CPUs; beyond 48 it counts as 48.
    pub pa_bits: u8,
}

/// One VM's claim on one region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// The region's index among [`Layout::regions`].
    pub region: usize,
}

/// Checks all regions; yields index and fault of those that have one.
pub fn check<'a>(layout: &Layout<'a>) -> impl Iterator<Item = (usize, Fault<'a>)> {
    let layout = *layout;
    (0..layout.regions.len()).filter_map(move |index| Some((index, fault(&layout, index)?)))
}

/// Checks one region of `layout` (T1). An index beyond the list has no fault.
pub fn fault<'a>(layout: &Layout<'a>, index: usize) -> Option<Fault<'a>> {
    let fact = layout.regions.get(index)?;
    let region = match fact.extent {
        Extent::One(region) => region,
        Extent::Missing => return Some(Fault::NoReg),
        Extent::Several => return Some(Fault::SeveralRegs),
        Extent::Unplaced(size) => {
            return (!size.is_multiple_of(PAGE_SIZE)).then_some(Fault::Unaligned);
        }
        Extent::Unusable(fault) => return Some(Fault::Bar(fault)),
    };
    let bits = layout.pa_bits.min(PA_BITS_MAX);
    if region.end().raw() > 1 << bits {
        return Some(Fault::Beyond(bits));
    }
    if fact.kind == Kind::Ram {
        return None;
    }
    if !region.is_aligned(PAGE_SIZE) {
        return Some(Fault::Unaligned);
    }
    overlap(layout, index, &region)
        .or_else(|| is_partly_inside(&region, layout.memory).then_some(Fault::PartlyInMemory))
}

/// Returns another claim's VM on the region of claim `index` (T2). Of a VM that claims a region twice
/// it is the VM itself: the same memory at two addresses could get two memory types.
pub fn other_owner<'a>(claims: &[Claimed<'a>], index: usize) -> Option<&'a str> {
    let region = claims.get(index)?.region;
    let mut others = claims.iter().enumerate();
    others.find(|(at, other)| *at != index && other.region == region).map(|(_, other)| other.vm)
}

fn overlap<'a>(layout: &Layout<'a>, index: usize, region: &Region<Pa>) -> Option<Fault<'a>> {
    for (at, other) in layout.regions.iter().enumerate() {
        if at == index || other.kind == Kind::Ram {
            continue;
        }
        if let Extent::One(place) = other.extent
            && place.overlaps(region)
        {
            let is_device = matches!(other.kind, Kind::Mmio | Kind::MmioWriteCombining);
            return Some(if is_device { Fault::OverlapsRegisters } else { Fault::Overlaps }(other.name));
        }
    }
    let other = layout.occupied.iter().find(|other| other.region.overlaps(region))?;
    Some(match other.occupant {
        Occupant::TagStorage => Fault::OverlapsTagStorage(other.name),
        Occupant::Firmware => Fault::OverlapsReservation(other.name),
        Occupant::Assay => Fault::OverlapsAssay,
    })
}

/// Tells whether some but not all of `region` lies in `memory`, whose parts may adjoin each other.
fn is_partly_inside(region: &Region<Pa>, memory: &[Region<Pa>]) -> bool {
    if !memory.iter().any(|part| part.overlaps(region)) {
        return false;
    }
    let mut covered = region.start;
    // Each part can extend the covered range at most once.
    for _ in memory {
        match memory.iter().find(|part| part.contains(covered)) {
            Some(part) if part.end() < region.end() => covered = part.end(),
            Some(_) => return false,
            None => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests;
