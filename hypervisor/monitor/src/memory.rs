//! What of the machine's memory is free, and EL2's map of it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::frames::Pool;
use assay_el2::mmu::{Kind, Map};
use assay_el2::{heap, image};
use assay_plan::platform::{HostGic, HostPlatform};
use assay_plan::ranges::{subtract, widen};
use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::sort;

/// One range of memory, and which pool it belongs to.
pub(crate) type Pooled = (Region<Pa>, Pool);

/// Returns the memory that EL2 may map and that nobody has reserved: what frames come from.
///
/// `kept` is what stays although it is in no reservation: the bundle.
pub(crate) fn free(machine: &HostPlatform, kept: &[Region<Pa>], mte: bool) -> Vec<Pooled> {
    let mut all = Vec::new();
    for node in &machine.memory {
        let pool = if mte && !node.no_mte { Pool::Tagged } else { Pool::Plain };
        let mut ranges = [node.region].to_vec();
        for hole in machine.not_free().chain(kept.iter().copied()).chain([image::region()]).chain(heap::early()) {
            subtract(&mut ranges, &widen(&hole, PAGE_SIZE));
        }
        // Page 0 is nobody's: a null pointer must stay one.
        subtract(&mut ranges, &Region { start: Pa(0), size: PAGE_SIZE });
        all.extend(ranges.into_iter().map(|range| (range, pool)));
    }
    sort::by_key(&mut all, |(range, _)| range.start);
    all
}

/// Makes EL2's final map: the image, the free memory but for `guards`, and the devices that EL2 drives.
pub(crate) fn map(machine: &HostPlatform, free: &[Pooled], guards: &[Region<Pa>]) -> Result<Map, String> {
    let fail =
        |what: &str, range: Region<Pa>| format!("{what} at {range:?} cannot be mapped: it overlaps something else");
    let mut map = Map::new().map_err(|error| fail("the image", error.0))?;
    for (range, pool) in free {
        let mut ranges = [*range].to_vec();
        guards.iter().for_each(|guard| subtract(&mut ranges, guard));
        let kind = match pool {
            Pool::Plain => Kind::Data,
            Pool::Tagged => Kind::Tagged,
        };
        for range in ranges {
            map.add(range, kind).map_err(|error| fail("memory", error.0))?;
        }
    }
    let mut devices = Vec::new();
    match &machine.gic.version {
        HostGic::V3 { dist, redists, .. } => {
            devices.push(*dist);
            devices.extend(redists);
        }
        HostGic::V2 { dist, cpu, hyp, .. } => devices.extend([*dist, *cpu, *hyp]),
    }
    devices.extend(machine.itss.iter().filter_map(|its| Some(its.frames.as_ref().ok()?.control)));
    devices.extend(machine.smmus.iter().filter_map(|smmu| smmu.registers.as_ref().ok().copied()));
    devices.extend(machine.console.iter().filter(|console| console.wired.is_some()).map(|console| console.registers));
    for device in devices {
        map.add(device, Kind::Device).map_err(|error| fail("a device", error.0))?;
    }
    Ok(map)
}
