//! Where a guest finds the registers of devices of the platform tree, and which of its interrupts theirs are.

use alloc::vec::Vec;

use assay_model::layout;
use assay_spec::addr::{BLOCK_2M, Ipa, PAGE_SIZE, Pa, Region};
use assay_spec::intid::IntId;
use assay_spec::sort;

use crate::platform::{PlatformDevice, Wire};
use crate::ranges::widen;

/// The registers of one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlatformOffer {
    /// The pages to map, and where.
    pub pages: Vec<(Region<Pa>, Region<Ipa>)>,
    /// Its registers in the guest, in the order of its `reg`.
    pub registers: Vec<Region<Ipa>>,
}

/// Places the registers of all devices of a VM upwards from the start of [`layout::PLATFORM`].
///
/// # Errors
/// The first device that there is no room for.
pub fn platform<'a>(devices: &[&'a PlatformDevice]) -> Result<Vec<PlatformOffer>, &'a PlatformDevice> {
    let mut next = layout::PLATFORM.start.0;
    let of_one = |device: &&'a PlatformDevice| of_one(device, &mut next).ok_or(*device);
    devices.iter().map(of_one).collect()
}

fn of_one(device: &PlatformDevice, next: &mut u64) -> Option<PlatformOffer> {
    let registers = device.registers.as_deref().unwrap_or_default();
    let mut offer = PlatformOffer { pages: Vec::new(), registers: Vec::new() };
    for pages in pages(registers) {
        // Blocks where there can be some.
        let align = if pages.size >= BLOCK_2M { BLOCK_2M } else { PAGE_SIZE };
        let start = next.checked_next_multiple_of(align)?;
        let place = Region::new(Ipa(start), pages.size).filter(|place| layout::PLATFORM.covers(place))?;
        *next = place.end().0;
        offer.pages.push((pages, place));
    }
    for region in registers {
        let (pages, place) = offer.pages.iter().find(|(pages, _)| pages.covers(region))?;
        let start = Ipa(place.start.0 + (region.start.0 - pages.start.0));
        offer.registers.push(Region { start, size: region.size });
    }
    Some(offer)
}

/// The pages that registers are in, each once, by their addresses.
fn pages(registers: &[Region<Pa>]) -> Vec<Region<Pa>> {
    let mut all: Vec<_> = registers.iter().map(|region| widen(region, PAGE_SIZE)).collect();
    sort::by_key(&mut all, |pages| pages.start);
    all.dedup_by(|second, first| {
        let is_one = second.start <= first.end();
        if is_one {
            first.size = first.size.max(second.end().0 - first.start.0);
        }
        is_one
    });
    all
}

/// Lists the interrupts of all devices of a VM, each once, with the guest's own.
pub fn lines(devices: &[&PlatformDevice]) -> Vec<(Wire, IntId)> {
    let mut lines: Vec<(Wire, IntId)> = Vec::new();
    for wire in devices.iter().flat_map(|device| device.wires()) {
        if lines.iter().all(|(known, _)| known.intid != wire.intid) {
            lines.push((wire, layout::platform_intid(lines.len())));
        }
    }
    lines
}
