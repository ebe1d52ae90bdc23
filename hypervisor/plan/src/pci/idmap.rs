//! By which ID an SMMU or an ITS knows a function: `iommu-map` and `msi-map` of its host bridge.

use alloc::string::String;
use alloc::vec::Vec;

use assay_model::pci::Function;

/// Requester IDs in a row, and the IDs in a row that one controller knows them by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdRange {
    /// The first requester ID.
    pub first: u32,
    /// How many there are.
    pub length: u32,
    /// The controller's node.
    pub controller: String,
    /// What the first is called there.
    pub output: u32,
}

/// A whole map, in the tree's order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdMap {
    /// The bits of a requester ID that count.
    pub mask: u32,
    /// The ranges; the first that has an ID counts.
    pub ranges: Vec<IdRange>,
}

impl IdMap {
    /// Returns the path of the controller that a function's accesses pass, and the function's ID there.
    pub fn of(&self, function: Function) -> Option<(&str, u32)> {
        let id = u32::from(function.0) & self.mask;
        let offset = |range: &IdRange| id.checked_sub(range.first).filter(|offset| *offset < range.length);
        let mut found = self.ranges.iter().filter_map(|range| Some((range, offset(range)?)));
        let (range, offset) = found.next()?;
        Some((&range.controller, range.output.checked_add(offset)?))
    }
}

/// What an SMMU knows the accesses of a function by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stream {
    /// Which one of the platform's SMMUs.
    pub smmu: usize,
    /// The StreamID.
    pub id: u32,
}

/// What an ITS knows the messages of a function by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeviceId {
    /// Which one of the platform's ITSs.
    pub its: usize,
    /// The DeviceID.
    pub id: u32,
}
