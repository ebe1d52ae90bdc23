//! Where the registers of all devices are, be they driven here or not: no VM gets them as memory, and nothing is
//! ever written there to find out what memory does.
//!
//! A `reg` counts as far as the buses above it pass it on to the CPUs. The windows of a PCI host bridge count whole:
//! what answers in them can change. (Devicetree Specification 0.4 §2.3.6, §2.3.8; IEEE 1275 PCI Bus Binding.)

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::bus::{self, Bus};
use super::memory::is_called_memory;
use super::{HostPlatform, PlatformError, missing, reserved};
use crate::gate::{Node, Tree};

/// One range of a device's addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The device's node.
    pub path: String,
    /// Where it is.
    pub region: Region<Pa>,
    /// A window of a PCI host bridge: what answers there are the devices behind it.
    pub is_window: bool,
}

/// All that is known of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Devices {
    all: Vec<Registers>,
    /// Nodes that the firmware's tree disables, and an overlay enables.
    enabled: Vec<String>,
}

/// What is above a device: the buses, the nearest first, and whether they are all enabled.
#[derive(Clone)]
pub(super) struct Above<'a> {
    pub(super) buses: Vec<Bus<'a>>,
    pub(super) is_on: bool,
}

impl Devices {
    /// Adds the registers of all devices of a firmware's tree that are not disabled.
    pub(super) fn all(&mut self, tree: &Tree<'_>) -> Result<(), PlatformError> {
        tree.root().children().try_for_each(|top| self.below(top))
    }

    /// Adds those of a node and of all below it.
    fn below(&mut self, top: Node<'_, '_>) -> Result<(), PlatformError> {
        let has_some = |node: &Node<'_, '_>| node.has("reg") || is_pci_host(*node);
        for node in core::iter::once(top).chain(top.descendants()).filter(has_some) {
            if !is_elsewhere(node) && self.is_on(node) {
                let buses: Vec<Bus<'_>> = node.ancestors().map(Bus::of).collect();
                self.add(&node.path(), node, &buses)?;
            }
        }
        Ok(())
    }

    /// What is above a node of the firmware's tree.
    pub(super) fn above<'a>(&self, node: Node<'_, 'a>) -> Above<'a> {
        let is_on = node.parent().is_none_or(|parent| self.is_on(parent));
        Above { buses: node.ancestors().map(Bus::of).collect(), is_on }
    }

    /// Adds what an overlay says of the device at `path`, which is `known` to the firmware's tree or new. What is
    /// there stays there: no overlay takes registers away, be it by another `reg` or by `status`.
    pub(super) fn overlay(
        &mut self,
        path: &str,
        node: Node<'_, '_>,
        known: Option<Node<'_, '_>>,
        above: &Above<'_>,
    ) -> Result<bool, PlatformError> {
        if let Some(known) = known
            && node.has("status")
            && node.is_available()
            && !known.is_available()
        {
            self.enabled.push(String::from(path));
            self.below(known)?;
        }
        let is_on = above.is_on && known.map_or_else(|| node.is_available(), |known| self.is_on(known));
        let is_ram = path.rfind('/') == Some(0) && is_called_memory(&node.bare());
        if is_on && !is_ram && !path.starts_with(reserved::PARENT) {
            self.add(path, node, &above.buses)?;
        }
        Ok(is_on)
    }

    /// Tells whether neither a node of the firmware's tree nor a bus above it is disabled.
    pub(super) fn is_on(&self, node: Node<'_, '_>) -> bool {
        let mut chain = core::iter::once(node).chain(node.ancestors());
        chain.all(|node| node.is_available() || self.enabled.contains(&node.path()))
    }

    fn add(&mut self, path: &str, node: Node<'_, '_>, buses: &[Bus<'_>]) -> Result<(), PlatformError> {
        let Some(cells) = buses.first().and_then(|bus| bus.cells) else {
            return Ok(());
        };
        let reg = node.property("reg").unwrap_or_default();
        let own = bus::split(reg, [cells.address, cells.size]).into_iter().flatten().collect();
        let windows = if is_pci_host(node) { windows(node, cells.address) } else { Vec::new() };
        for (pieces, is_window) in [(own, false), (windows, true)] {
            let wants = "the `ranges` above it cut its registers into more than 1024 pieces; join them";
            let reached = bus::reach(pieces, buses).ok_or_else(|| missing(path, wants))?;
            self.all.extend(reached.into_iter().map(|region| Registers { path: path.into(), region, is_window }));
        }
        Ok(())
    }
}

impl HostPlatform {
    /// Iterates over the registers of all devices that are not disabled, and the windows of PCI host bridges.
    pub fn registers(&self) -> impl Iterator<Item = &Registers> {
        self.devices.all.iter()
    }
}

/// Tells whether a node's `reg` is read elsewhere, as memory.
fn is_elsewhere(node: Node<'_, '_>) -> bool {
    let is_reserved = |parent: Node<'_, '_>| parent.name() == "reserved-memory" && is_top(parent);
    let is_module = node.is_compatible(&["multiboot,module"]);
    is_module || (is_top(node) && is_called_memory(&node.bare())) || node.parent().is_some_and(is_reserved)
}

fn is_top(node: Node<'_, '_>) -> bool {
    node.parent().is_some_and(|parent| parent.parent().is_none())
}

/// Tells whether a node is a bridge from the CPUs' bus to PCI, whatever drives it.
fn is_pci_host(node: Node<'_, '_>) -> bool {
    let is_pci = |node: &Node<'_, '_>| node.property("device_type").is_some_and(|value| value.starts_with(b"pci"));
    let is_bridge = |node: &Node<'_, '_>| is_pci(node) || node.is_compatible(&["pci-host-ecam-generic"]);
    is_bridge(&node) && !node.parent().is_some_and(|parent| is_bridge(&parent))
}

/// Reads the windows in a host bridge's `ranges`, I/O space too, as (address on its parent, size).
fn windows(node: Node<'_, '_>, above: u32) -> Vec<[u128; 2]> {
    let ranges = node.property("ranges").unwrap_or_default();
    let cells = node.bare().cells().map_or([0; 3], |own| [own.address, above, own.size]);
    let entries = bus::split(ranges, cells).into_iter().flatten();
    entries.map(|[_, start, size]| [start, size]).collect()
}
