//! RAM that is at the guest's addresses in the machine too: a device whose accesses nothing translates is told those.

use alloc::vec::Vec;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use super::{Ground, Trouble, World};
use crate::ranges::{subtract, widen};
use crate::vm_tree::VmConfig;

/// Says why the RAM of a VM with `unchecked-dma` cannot be there.
pub(super) fn check<'a>(world: &World<'a>, vm: &VmConfig) -> Option<Trouble<'a>> {
    let (ipa, size) = (vm.memory_ipa, vm.memory_bytes);
    // RAM that has no end is said to be so elsewhere.
    let ram = place(vm)?;
    let machine = world.machine;
    let mut missing = Vec::from([ram]);
    machine.memory.iter().for_each(|node| subtract(&mut missing, &node.region));
    let there = if missing.is_empty() { taken(world, &ram).map(Ground::Of) } else { Some(Ground::NoMemory) };
    let mut others = world.vms.iter().filter(|other| other.name != vm.name);
    let is_there = |other: &&VmConfig| place(other).is_some_and(|theirs| theirs.overlaps(&ram));
    let there = there.or_else(|| others.find(is_there).map(|other| Ground::Vm(&other.name)))?;
    Some(Trouble::Identity { ipa, size, there })
}

/// Where a VM's RAM has to be in the machine, if it has to be anywhere.
fn place(vm: &VmConfig) -> Option<Region<Pa>> {
    vm.unchecked_dma.then(|| Region::new(Pa(vm.memory_ipa.0), vm.memory_bytes))?
}

/// Names what has some of `ram`.
fn taken<'a>(world: &World<'a>, ram: &Region<Pa>) -> Option<&'a str> {
    let occupied = world.occupied.iter().map(|occupied| (occupied.name, occupied.region));
    let mut all = world.machine.not_free_by_name().chain(occupied);
    all.find(|(_, region)| widen(region, PAGE_SIZE).overlaps(ram)).map(|(name, _)| name)
}
