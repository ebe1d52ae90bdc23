//! Where a guest finds its regions: at the `ipa` that a claim gives, else in the manifest's order upwards from
//! the first 1 GiB boundary above the VM's RAM, and never below 1 GiB.
//!
//! A region that is placed here is aligned to its own size, rounded up to a power of two, from 2 MiB to 1 GiB:
//! then stage 2 can use blocks, and Linux can hot-plug it. One that comes with a device is aligned to that size whatever
//! it is.

use alloc::vec::Vec;

use assay_spec::addr::{BLOCK_2M, Ipa, PAGE_SIZE, Region};
use assay_spec::stage2_desc::PA_BITS_MAX;

use super::{Holder, Trouble, World, served_by};
use crate::vm_tree::VmConfig;
use assay_model::layout;

const GIB: u64 = 1 << 30;

/// A region to be placed, of whichever kind.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Its name in messages.
    pub(super) region: &'a str,
    /// Its length in bytes if that is known.
    pub(super) size: Option<u64>,
    /// Where the manifest wants it.
    pub(super) ipa: Option<Ipa>,
    /// It comes with a PCI function, whose BAR it may be.
    pub(super) is_bar: bool,
}

/// `None` of what has no length.
type Placed<'a> = Result<Option<Region<Ipa>>, Trouble<'a>>;

/// Guest addresses, and who has them.
struct Space<'a> {
    taken: Vec<(Region<Ipa>, Holder<'a>)>,
    bits: u8,
    /// Where the search for a place goes on.
    next: Option<u64>,
}

/// Places all claims of a VM.
pub(super) fn all<'a>(world: &World<'_>, vm: &VmConfig, wanted: &[Wanted<'a>]) -> Vec<Placed<'a>> {
    let mut space = Space::of(world, vm);
    // What has its address first: the others go around it.
    let mut placed: Vec<Placed<'a>> = wanted.iter().map(|claim| space.fixed(claim)).collect();
    for (claim, place) in wanted.iter().zip(&mut placed) {
        if claim.ipa.is_none()
            && let Some(size) = claim.size
        {
            *place = space.find(claim, size).map(Some);
        }
    }
    placed
}

/// Where a VM's devices are: memory can be anywhere else.
fn devices(world: &World<'_>, vm: &VmConfig) -> impl Iterator<Item = Region<Ipa>> + use<> {
    let has_function = vm.functions().any(|name| world.machine.device(name).is_none());
    let has_pci = has_function || served_by(world.vms, vm).next().is_some();
    core::iter::once(layout::DEVICES).chain(has_pci.then_some(layout::PCI))
}

/// Says what is wrong with the place of the VM's RAM, if the manifest chose it.
pub(super) fn ram<'a>(world: &World<'_>, vm: &VmConfig) -> Option<Trouble<'a>> {
    let (ipa, size, bits) = (vm.memory_ipa, vm.memory_bytes, world.pa_bits.min(PA_BITS_MAX));
    // At its usual place, what is too large is said by those who count RAM.
    if ipa == layout::RAM {
        return None;
    }
    let place = Region::new(ipa, size).filter(|place| place.end().0 <= 1 << bits);
    let Some(place) = place else {
        return Some(Trouble::RamBeyond { ipa, size, bits });
    };
    let device = devices(world, vm).find(|device| device.overlaps(&place));
    device.map(|device| Trouble::RamOverDevices { ipa, size, device })
}

impl Wanted<'_> {
    /// How much the region occupies: that of a BAR in the guest is a power of two, and its place a multiple of that
    /// (PCI Local Bus Specification 3.0 §6.2.5.1).
    fn extent(&self, size: u64) -> u64 {
        let rounded = size.checked_next_power_of_two();
        rounded.filter(|_| self.is_bar).unwrap_or(size)
    }
}

impl<'a> Space<'a> {
    /// The VM before it has any region. The input size of stage 2 may not exceed the physical address size
    /// (DDI0487 D8.2.2).
    fn of(world: &World<'_>, vm: &VmConfig) -> Self {
        let mut taken: Vec<_> = devices(world, vm).map(|place| (place, Holder::Devices(place))).collect();
        let ram = Region::new(vm.memory_ipa, vm.memory_bytes);
        taken.extend(ram.map(|ram| (ram, Holder::Ram)));
        Self {
            taken,
            bits: world.pa_bits.min(PA_BITS_MAX),
            // RAM that has no end leaves no room above it.
            next: ram.and_then(|ram| ram.end().0.max(GIB).checked_next_multiple_of(GIB)),
        }
    }

    fn holder(&self, region: &Region<Ipa>) -> Option<(Region<Ipa>, Holder<'a>)> {
        let mut taken = self.taken.iter();
        taken.find(|(other, _)| other.overlaps(region)).copied()
    }

    fn is_inside(&self, region: &Region<Ipa>) -> bool {
        region.end().0 <= 1 << self.bits
    }

    /// Places a claim that has its address.
    fn fixed(&mut self, claim: &Wanted<'a>) -> Placed<'a> {
        let (Some(ipa), Some(size)) = (claim.ipa, claim.size) else {
            return Ok(None);
        };
        let region = claim.region;
        let extent = claim.extent(size);
        let align = if claim.is_bar { extent } else { PAGE_SIZE };
        if ipa.0.checked_rem(align) != Some(0) {
            return Err(Trouble::Unaligned { region, ipa, align });
        }
        let place = Region::new(ipa, extent).filter(|place| self.is_inside(place));
        let Some(place) = place else {
            return Err(self.no_room(claim, size));
        };
        if let Some((_, by)) = self.holder(&place) {
            return Err(Trouble::Taken { region, ipa, by });
        }
        self.taken.push((place, Holder::Region(region)));
        Ok(Region::new(ipa, size))
    }

    /// Finds a place for a claim that leaves the choice.
    fn find(&mut self, claim: &Wanted<'a>, size: u64) -> Result<Region<Ipa>, Trouble<'a>> {
        let most = if claim.is_bar { u64::MAX } else { GIB };
        let align = size.checked_next_power_of_two().unwrap_or(GIB);
        let align = align.clamp(BLOCK_2M, most);
        let extent = claim.extent(size);
        let mut start = self.next;
        // Each step passes one of finitely many ranges.
        loop {
            let place = start
                .and_then(|start| start.checked_next_multiple_of(align))
                .and_then(|start| Region::new(Ipa(start), extent))
                .filter(|place| self.is_inside(place));
            let Some(place) = place else {
                return Err(self.no_room(claim, size));
            };
            match self.holder(&place) {
                Some((other, _)) => start = Some(other.end().0),
                None => {
                    self.taken.push((place, Holder::Region(claim.region)));
                    self.next = Some(place.end().0);
                    return Ok(Region { size, ..place });
                }
            }
        }
    }

    fn no_room(&self, claim: &Wanted<'a>, size: u64) -> Trouble<'a> {
        Trouble::NoRoom { region: claim.region, size, ipa: claim.ipa, bits: self.bits }
    }
}
