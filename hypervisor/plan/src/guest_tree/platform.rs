//! Devices of the platform tree that a VM got: their nodes as the platform has them, with what is the guest's own.

use alloc::format;
use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Region};
use assay_spec::intid::IntId;
use dtoolkit::model::DeviceTreeNode;

use super::nodes::{
    CLOCK_PHANDLE, CLOCK_RATE, EDGE_RISING, LEVEL_HIGH, SPI, at, named, put_bytes, put_cells, put_regions, put_texts,
};
use super::{GuestTreeError, add};
use crate::platform::PlatformDevice;

/// The first phandle of clocks that stand for the machine's.
const CLOCKS: u32 = 0x10;

/// One device in the guest's view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceNode<'a> {
    /// The machine's node.
    pub device: &'a PlatformDevice,
    /// Its registers, in the order of its `reg`; at least one.
    pub registers: Vec<Region<Ipa>>,
    /// Its interrupts in the node's order, and whether each is an edge.
    pub interrupts: Vec<(IntId, bool)>,
}

/// Adds the nodes of all devices, and of the clocks that they have.
pub(super) fn add_all(root: &mut DeviceTreeNode, devices: &[DeviceNode<'_>]) -> Result<(), GuestTreeError> {
    let mut rates = Vec::new();
    for rate in devices.iter().flat_map(|device| &device.device.clocks).copied().map(or_usual) {
        if rate != CLOCK_RATE && !rates.contains(&rate) {
            rates.push(rate);
        }
    }
    for (phandle, rate) in (CLOCKS..).zip(&rates) {
        add(root, clock(phandle, *rate))?;
    }
    devices.iter().filter_map(|device| node(device, &rates)).try_for_each(|node| add(root, node))
}

/// What nobody knows the rate of has that of the clock that is there anyway.
fn or_usual(rate: u32) -> u32 {
    if rate == 0 { CLOCK_RATE } else { rate }
}

fn clock(phandle: u32, rate: u32) -> DeviceTreeNode {
    let mut node = named(format!("clock-{rate}"));
    put_texts(&mut node, "compatible", &["fixed-clock"]);
    put_cells(&mut node, "#clock-cells", &[0]);
    put_cells(&mut node, "clock-frequency", &[rate]);
    put_cells(&mut node, "phandle", &[phandle]);
    node
}

fn node(guest: &DeviceNode<'_>, rates: &[u32]) -> Option<DeviceTreeNode> {
    let DeviceNode { device, registers, interrupts } = guest;
    let name = device.path.rsplit('/').next()?.split('@').next()?;
    let mut node = at(name, *registers.first()?);
    for (name, value) in &device.properties {
        put_bytes(&mut node, name, value);
    }
    put_regions(&mut node, registers);
    if !interrupts.is_empty() {
        let flags = |is_edge| if is_edge { EDGE_RISING } else { LEVEL_HIGH };
        let cells = |(intid, is_edge): &(IntId, bool)| [SPI, intid.0 - IntId::SPI_BASE, flags(*is_edge)];
        put_cells(&mut node, "interrupts", interrupts.iter().map(cells).collect::<Vec<_>>().as_flattened());
    }
    if !device.clocks.is_empty() {
        let phandle = |rate: u32| {
            let mut known = (CLOCKS..).zip(rates);
            known.find(|(_, known)| **known == rate).map_or(CLOCK_PHANDLE, |(phandle, _)| phandle)
        };
        let clocks: Vec<u32> = device.clocks.iter().map(|rate| phandle(or_usual(*rate))).collect();
        put_cells(&mut node, "clocks", &clocks);
    }
    if device.is_coherent && !device.is_quiet {
        put_bytes(&mut node, "dma-coherent", &[]);
    }
    Some(node)
}
