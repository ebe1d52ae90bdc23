//! What a guest gets of a device's registers, and where: of a function's BARs here.

use alloc::string::String;
use alloc::vec::Vec;

use assay_model::layout;
use assay_model::pci::GuestBar;
use assay_spec::addr::{Address as _, Ipa, PAGE_SIZE, Pa, Region};

use crate::pci::{Address, DeviceFault, Found, Placed, Prepared};
use crate::platform::CoherentNode;

mod platform;

pub use platform::{PlatformOffer, lines, platform};

/// One BAR as the guest gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// What the guest's configuration space has.
    pub guest: GuestBar,
    /// The pages to map, and where, unless the BAR is the claimed region, which is mapped as that.
    pub registers: Option<(Region<Pa>, Region<Ipa>)>,
    /// What to call it on the console.
    pub name: String,
}

/// The region that a function goes with, if there is one: its node, and where the guest finds it.
pub type Own<'a> = Option<(&'a CoherentNode, Region<Ipa>)>;

/// Places the BARs of all functions of a VM in the guest, upwards from [`layout::PCI_REGISTERS`]. The BAR that is the
/// function's own region is where that is; one that is another region is not offered at all.
///
/// # Errors
/// [`DeviceFault::NoRoom`], [`DeviceFault::Narrow`], and of which function.
pub fn all(found: &[(&Found, Own<'_>)], regions: &[CoherentNode]) -> Result<Vec<Vec<Offer>>, (Address, DeviceFault)> {
    let mut next = layout::PCI_REGISTERS.start.0;
    let of_one = |(found, own): &(&Found, Own<'_>)| {
        let prepared = found.outcome.as_ref().map_err(|fault| (found.address, *fault))?;
        of_one(found, prepared, regions, *own, &mut next).map_err(|fault| (found.address, fault))
    };
    found.iter().map(of_one).collect()
}

fn of_one(
    found: &Found,
    prepared: &Prepared,
    regions: &[CoherentNode],
    own: Own<'_>,
    next: &mut u64,
) -> Result<Vec<Offer>, DeviceFault> {
    let region_of = |placed: &Placed| {
        let is_it = |node: &&CoherentNode| {
            node.pci_bar.is_some_and(|bar| {
                bar.segment == found.address.segment
                    && bar.requester_id == found.address.function.0
                    && bar.bar == placed.bar.index
            })
        };
        regions.iter().find(is_it)
    };
    let mut offers = Vec::new();
    for placed in &prepared.memory {
        let name = alloc::format!("{}/bar{}", found.address, placed.bar.index);
        let (guest, registers) = match (region_of(placed), own) {
            (Some(node), Some((own, ipa))) if node.path == own.path => (at_region(placed, ipa)?, None),
            (Some(_), _) => continue,
            (None, _) => {
                let size = placed.bar.size.max(PAGE_SIZE);
                let start = next
                    .checked_next_multiple_of(size)
                    .and_then(|start| Region::new(Ipa(start), size))
                    .filter(|pages| layout::PCI_REGISTERS.covers(pages))
                    .ok_or(DeviceFault::NoRoom)?;
                *next = start.end().0;
                let pages = Region { start: placed.region.start.align_down(PAGE_SIZE), size };
                // Firmware may have put a small BAR anywhere into its page.
                let within = placed.region.start.0 - pages.start.0;
                let guest = GuestBar { bar: placed.bar, address: start.start.0 + within, size: placed.bar.size };
                (guest, Some((pages, start)))
            }
        };
        offers.push(Offer { guest, registers, name });
    }
    Ok(offers)
}

/// The BAR whose memory is the region: as long as that, rounded up to a power of two, which its place is aligned to.
fn at_region(placed: &Placed, ipa: Region<Ipa>) -> Result<GuestBar, DeviceFault> {
    let size = ipa.size.checked_next_power_of_two().ok_or(DeviceFault::NoRoom)?;
    let wide = placed.bar.memory().is_some_and(|(wide, _)| wide);
    if !wide && ipa.start.0.saturating_add(size) > 1 << 32 {
        return Err(DeviceFault::Narrow);
    }
    Ok(GuestBar { bar: placed.bar, address: ipa.start.0, size })
}
