//! How far the guest's NUMA nodes are from each other, where the machine tells of its own.
//!
//! A region keeps the number of its node; the guest's node 0 is that of its vCPUs and RAM, and stands for the machine's
//! node that its CPUs are in. Without a map Linux takes 20 for each distance.

use alloc::vec::Vec;

use assay_spec::sort;
use dtoolkit::model::DeviceTreeNode;

use super::nodes::{put_cells, put_texts};
use super::{GuestTree, GuestTreeError, add};
use crate::platform::LOCAL;
use crate::policy::Use;
use crate::space::Mapping;

/// Adds `/distance-map`, if the guest has several nodes.
pub(super) fn add_distances(root: &mut DeviceTreeNode, guest: &GuestTree<'_>) -> Result<(), GuestTreeError> {
    let Some(machine) = guest.distances else { return Ok(()) };
    let is_memory = |mapping: &&Mapping<'_>| matches!(mapping.use_, Use::Ram | Use::Dax);
    let memory = guest.space.iter().filter(is_memory).filter_map(Mapping::coherent);
    let mut nodes: Vec<u32> = memory.filter_map(|node| node.numa).chain(guest.numa()).collect();
    sort::by_key(&mut nodes, |node| *node);
    nodes.dedup();
    if nodes.len() < 2 {
        return Ok(());
    }
    let on_host = |node| if node == 0 { guest.home } else { node };
    let entry = |from: u32, to: u32| {
        let distance = machine.distance(on_host(from), on_host(to));
        // Two of the guest's nodes may be one of the machine's, and Linux wants more than LOCAL between nodes.
        [from, to, if from == to { LOCAL } else { distance.max(LOCAL + 1) }]
    };
    let cells = nodes.iter().flat_map(|&from| nodes.iter().flat_map(move |&to| entry(from, to)));
    let mut map = DeviceTreeNode::new_unchecked("distance-map");
    put_texts(&mut map, "compatible", &["numa-distance-map-v1"]);
    put_cells(&mut map, "distance-matrix", &cells.collect::<Vec<_>>());
    add(root, map)
}
