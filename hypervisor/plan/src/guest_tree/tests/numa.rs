//! Distances of the guest's NUMA nodes.

use std::format;
use std::vec::Vec;

use assay_spec::addr::{Ipa, Region};

use super::{GuestTree, NPU, blob, cells, dax, has, plain, region, with};
use crate::gate::tests::dts::{compile, least_machine};
use crate::policy::Use;
use crate::space::Mapping;

/// The cells of a machine's map and the guest's, with vCPUs in a node of the machine.
fn distances(map: &str, home: u32, space: &[Mapping<'_>]) -> Option<Vec<u32>> {
    let map = format!(r#"distance-map {{ compatible = "numa-distance-map-v1"; distance-matrix = <{map}>; }};"#);
    let machine = crate::platform::parse(&compile(&least_machine(&map))).unwrap();
    let blob = blob(&GuestTree { space, distances: Some(&machine), home, ..plain() });
    has(&blob, "/distance-map", "compatible").then(|| cells(&blob, "/distance-map", "distance-matrix"))
}

#[test]
fn the_guests_nodes_are_as_far_apart_as_the_machines() {
    let both =
        with([region("gpu0-memory", Region { start: Ipa(0x8000_0000), size: 0x400_0000 }, Use::Ram, Some(1)), dax(2)]);
    let matrix = |a, b, c| {
        Some([[0, 0, 10, 0, 1, a, 0, 2, b], [1, 0, a, 1, 1, 10, 1, 2, c], [2, 0, b, 2, 1, c, 2, 2, 10]].concat())
    };
    // Told for one direction, and from node 2 to 1 not at all.
    assert_eq!(distances("0 1 40 0 2 80 3 1 33", 0, &both), matrix(40, 80, 20));
    // The vCPUs are in another node of the machine, and then in that of a region.
    assert_eq!(distances("0 1 40 0 2 80 3 1 33", 3, &both), matrix(33, 20, 20));
    assert_eq!(distances("0 1 40 1 2 80", 1, &both), matrix(11, 80, 80));
    // What Linux would refuse is brought into its range; half an entry is none.
    assert_eq!(distances("0 1 3 0 2 1000 1 2", 0, &both), matrix(11, 255, 20));
    // One node, and apertures, which are in none.
    let aperture = region("npu0-memory", NPU, Use::Aperture, None);
    assert_eq!(distances("0 1 40", 0, &with([aperture])), None);
    assert_eq!(distances("", 0, &both), matrix(20, 20, 20));
}
