//! Memory for EL2's own data, from what there is to be read: `plan::heap` says how much, `el2::heap` keeps it.

use alloc::format;
use alloc::string::String;

use assay_el2::boot::Boot;
use assay_el2::{heap, image};
use assay_plan::bundle::{Bundle, VM_TREE};
use assay_plan::heap as needs;
use assay_plan::platform::{HostPlatform, early};
use assay_spec::addr::{Pa, Region};

use crate::{bundle, memory};

/// Finds memory for what is read of the platform's tree, if what the heap has is too little. Allocates nothing.
pub(crate) fn for_platform(blob: &[u8]) -> Result<Option<Region<Pa>>, String> {
    let tree = place_of(blob);
    let initrd = image::appended().or_else(|| early::initrd(blob)).unwrap_or(tree);
    place(needs::to_read([blob]), |needed| early::free_memory(blob, needed, image::region(), &[tree, initrd]))
}

/// Finds memory for what is read of the bundle's trees, before there are frames. What is wrong with the bundle is told
/// when it is read.
pub(crate) fn for_bundle(
    boot: &Boot,
    place_of_bundle: Option<Region<Pa>>,
    machine: &HostPlatform,
) -> Result<Option<Region<Pa>>, String> {
    let bytes = bundle::view(boot, place_of_bundle, machine).unwrap_or_default();
    let opened = Bundle::new(bytes).ok();
    let members = opened.iter().flat_map(Bundle::members);
    let trees = members.filter(|member| member.name == VM_TREE || member.name.ends_with(".dtbo"));
    place(needs::to_read(trees.map(|member| member.data)), |needed| {
        let tree = boot.tree().map(place_of).into_iter();
        let kept: alloc::vec::Vec<_> = tree.chain(place_of_bundle).collect();
        let free = memory::free(machine, &kept, false).into_iter().map(|(range, _)| range);
        free.filter_map(|range| Region::new(range.start, needed).filter(|piece| range.covers(piece))).next()
    })
}

fn place_of(blob: &[u8]) -> Region<Pa> {
    Region { start: Pa(blob.as_ptr().addr() as u64), size: blob.len() as u64 }
}

fn place(needed: usize, find: impl FnOnce(u64) -> Option<Region<Pa>>) -> Result<Option<Region<Pa>>, String> {
    let (_, free) = heap::used_and_free();
    if needed <= free {
        return Ok(None);
    }
    let found = find(needed.next_multiple_of(0x1000) as u64);
    found.map(Some).ok_or_else(|| {
        format!("no {needed} bytes of RAM in one piece are free for what the device trees say; give the machine more memory, or remove from the trees what is not needed")
    })
}

/// Gives it to the heap.
pub(crate) fn add(boot: &mut Boot, region: Option<Region<Pa>>) -> Result<(), String> {
    match region {
        Some(region) if !boot.add_heap(region) => {
            Err(format!("the memory at {region:?} cannot be mapped for Assay's heap; load Assay elsewhere"))
        }
        _ => Ok(()),
    }
}
