//! Where there is room for a BAR: in a window of the host bridge that fits, beside what others have.
//!
//! All ranges are of bus addresses, and of whole pages: a page is what stage 2 can give to one VM.

use alloc::vec::Vec;
use core::ops::Range;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use super::PciWindow;
use super::walk::Found;
use super::{Bar, ConfigSpace, Function, bar, bridge};
use crate::ranges::widen;
use assay_model::pci::header::{Layout, ROM_ADDRESS, ROM_ENABLE};

/// Lists what every function but `own` has: BARs and ROMs with an address, and bridges' windows.
pub(super) fn taken(config: &mut dyn ConfigSpace, found: &[Found], own: Function) -> Vec<Range<u64>> {
    let mut taken = Vec::new();
    for other in found.iter().filter(|other| other.function != own) {
        let bars = bar::all(config, other.function, other.layout);
        let placed = bars.iter().filter(|bar| bar.address != 0);
        taken.extend(placed.filter(|bar| bar.memory().is_some()).map(extent));
        if other.layout == Layout::Bridge {
            taken.extend(bridge::windows(config, other.function));
        }
        taken.extend(rom(config, other));
    }
    taken.retain(|range| !range.is_empty());
    taken
}

/// The range of an expansion ROM that answers. It is not sized: 16 MiB is the most that one can have
/// (PCI 3.0 §6.2.5.2).
fn rom(config: &mut dyn ConfigSpace, other: &Found) -> Option<Range<u64>> {
    let register = config.read(other.function, other.layout.rom()?);
    let start = u64::from(register & ROM_ADDRESS);
    (register & ROM_ENABLE == 1 && start != 0).then_some(start..start + 0x100_0000)
}

/// Tells whether a range shares an address with one of `taken`.
pub(super) fn is_taken(taken: &[Range<u64>], range: &Range<u64>) -> bool {
    overlapping(taken, range).is_some()
}

fn overlapping<'a>(taken: &'a [Range<u64>], range: &Range<u64>) -> Option<&'a Range<u64>> {
    let overlaps = |other: &&Range<u64>| other.start < range.end && range.start < other.end;
    taken.iter().find(overlaps)
}

/// The pages of a BAR.
pub(super) fn extent(bar: &Bar) -> Range<u64> {
    let start = bar.address & !(PAGE_SIZE - 1);
    start..bar.address.saturating_add(bar.size.max(PAGE_SIZE))
}

/// Returns where the CPUs see a range of bus addresses; `None` if no window holds all of it, or if it ends beyond
/// `pa_bits` bits.
pub(super) fn seen_at(windows: &[PciWindow], range: &Range<u64>, pa_bits: u8) -> Option<Region<Pa>> {
    let size = range.end.checked_sub(range.start)?;
    windows.iter().find_map(|window| {
        let offset = range.start.checked_sub(window.bus)?;
        let region = Region::new(Pa(window.region.start.0.checked_add(offset)?), size)?;
        (window.region.covers(&region) && region.end().0 <= 1 << pa_bits.min(48)).then_some(region)
    })
}

/// Yields the bus addresses at which the CPUs' `region` is seen, in whole pages.
pub(super) fn on_bus(windows: &[PciWindow], region: &Region<Pa>) -> impl Iterator<Item = Range<u64>> {
    let region = widen(region, PAGE_SIZE);
    windows.iter().filter(move |window| window.region.overlaps(&region)).map(move |window| {
        let offset = |address: u64| address.saturating_sub(window.region.start.0).min(window.region.size);
        let at = |address: u64| window.bus.saturating_add(offset(address));
        at(region.start.0)..at(region.end().0)
    })
}

/// Finds a bus address for `bar`, beside all of `taken`.
///
/// Memory that is not prefetchable never goes into a prefetchable window, and a 32-bit BAR only below 4 GiB. A 64-bit
/// one goes into a 64-bit window if it can, since what others need is scarcer.
pub(super) fn find(windows: &[PciWindow], taken: &[Range<u64>], bar: &Bar, pa_bits: u8) -> Option<u64> {
    let (wide, prefetchable) = bar.memory()?;
    let fits = |window: &&PciWindow| prefetchable || !window.prefetchable;
    let (first, last): (Vec<_>, Vec<_>) = windows.iter().filter(fits).partition(|window| window.wide == wide);
    first.into_iter().chain(last).find_map(|window| {
        let start = within(window, taken, bar, wide)?;
        let range = start..start.checked_add(bar.size)?;
        seen_at(windows, &range, pa_bits).map(|_| start)
    })
}

fn within(window: &PciWindow, taken: &[Range<u64>], bar: &Bar, wide: bool) -> Option<u64> {
    let size = bar.size.max(PAGE_SIZE);
    let end = window.bus.checked_add(window.region.size)?;
    let end = if wide { end } else { end.min(1 << 32) };
    // Address 0 is what a BAR without a place has.
    let mut start = window.bus.max(1).checked_next_multiple_of(size)?;
    // Each step passes one of finitely many ranges.
    loop {
        let range = start..start.checked_add(size).filter(|last| *last <= end)?;
        match overlapping(taken, &range) {
            Some(other) => start = other.end.checked_next_multiple_of(size)?,
            None => return Some(start),
        }
    }
}
