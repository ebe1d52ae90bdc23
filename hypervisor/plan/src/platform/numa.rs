//! How far NUMA nodes are from each other (the binding `numa-distance-map-v1`).

use alloc::vec::Vec;

use super::HostPlatform;
use crate::gate::{Tree, decode};

/// The distance within a node; between two nodes it is larger.
pub const LOCAL: u32 = 10;
/// What the binding takes a distance for that is not told.
const REMOTE: u32 = 20;
/// The largest that Linux takes.
const FARTHEST: u32 = 255;

/// One entry of the map: from, to, distance.
pub type Distance = [u32; 3];

/// Reads `/distance-map`. What is no whole entry is none: memory is as good without the map.
pub(super) fn distances(tree: &Tree<'_>) -> Vec<Distance> {
    let map = tree.find("/distance-map").filter(|node| node.is_compatible(&["numa-distance-map-v1"]));
    let matrix = map.and_then(|map| map.property("distance-matrix")).unwrap_or_default();
    let cell = |bytes: &[u8]| decode::u32(bytes).unwrap_or_default();
    matrix.chunks_exact(12).map(|entry| [0, 4, 8].map(|at| cell(&entry[at..at + 4]))).collect()
}

impl HostPlatform {
    /// Returns how far one NUMA node is from another: as told for this direction, or for the other one.
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        let told = |from, to| self.distances.iter().find(|entry| entry[..2] == [from, to]).map(|entry| entry[2]);
        match told(from, to).or_else(|| told(to, from)) {
            _ if from == to => LOCAL,
            Some(distance) => distance.clamp(LOCAL + 1, FARTHEST),
            None => REMOTE,
        }
    }
}
