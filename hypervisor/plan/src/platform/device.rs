//! Devices of the platform tree that VMs claim by path: what the tree says of each. Whether a VM may have one is decided
//! in `claims`.
//!
//! Only claimed nodes are read: a tree has hundreds.

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::interrupts::{self, Wire};
use super::{HostPlatform, Stream, bus, gic};
use crate::gate::{Malformed, Node, Tree, decode};

mod copied;
mod quiet;
mod role;
mod said;

pub(super) use said::Said;

/// A device that a VM claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlatformDevice {
    /// What the manifest calls it: its path, or an alias.
    pub name: String,
    /// Its node.
    pub path: String,
    /// Neither it nor a bus above it is disabled.
    pub is_on: bool,
    /// What it is to EL2 or to the whole machine, if it is no device that a VM can have: a sentence's end.
    pub role: Option<&'static str>,
    /// Where its registers are.
    pub registers: Result<Vec<Region<Pa>>, Malformed>,
    /// Its interrupts in the tree's order; `None` for one that is no SPI of the GIC's.
    pub interrupts: Result<Vec<Option<Wire>>, Malformed>,
    /// What its `iommus` say: the controller's path, and its ID there.
    pub iommus: Vec<(String, u32)>,
    /// It makes no accesses of its own.
    pub is_quiet: bool,
    /// What it accesses is what the CPUs' caches have (`dma-coherent`, there or on a bus above).
    pub is_coherent: bool,
    /// The buses above it change the addresses of its accesses (`dma-ranges`).
    pub moves_addresses: bool,
    /// Its registers may be write-combined (`assay,write-combine`).
    pub write_combines: bool,
    /// The rates of its clocks in Hz, 0 where nobody says.
    pub clocks: Vec<u32>,
    /// Its other properties, as far as they mean something by themselves: names and values.
    pub properties: Vec<(String, Vec<u8>)>,
}

/// What a device's own accesses are led by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Accesses {
    /// It makes none.
    None,
    /// SMMUs check them, which know them by these streams.
    Checked(Vec<Stream>),
    /// SMMUs check them, and they do not see what the CPUs' caches have.
    NotCoherent,
    /// SMMUs check them, and a bus changes their addresses.
    Moved,
    /// An SMMUv3 that cannot be used is before it, which lets none pass.
    Stopped,
    /// Nothing that EL2 has a hand on checks them.
    Unchecked,
}

impl Accesses {
    /// Returns the streams of accesses that are checked and may pass; none of others.
    pub fn into_streams(self) -> Vec<Stream> {
        match self {
            Self::Checked(streams) => streams,
            Self::None | Self::NotCoherent | Self::Moved | Self::Stopped | Self::Unchecked => Vec::new(),
        }
    }
}

impl PlatformDevice {
    /// Iterates over its interrupts that are SPIs of the GIC's.
    pub fn wires(&self) -> impl Iterator<Item = Wire> {
        self.interrupts.iter().flatten().flatten().copied()
    }
}

impl HostPlatform {
    /// Reads the devices that a manifest calls by `names`, each once, from the firmware's tree; what is no node of it,
    /// or a PCI function's, is passed over. After the overlays, whose facts count.
    pub fn read_devices<'n>(&mut self, tree: &Tree<'_>, names: impl Iterator<Item = &'n str>) {
        for name in names {
            let is_function = self.pcie.iter().flat_map(|host| &host.functions).any(|(path, _)| path == name);
            if !is_function
                && self.device(name).is_none()
                && let Some(device) = find(tree, name).and_then(|node| self.read_device(node, name))
            {
                self.claimed.push(device);
            }
        }
    }

    /// Returns the device that a manifest calls `name`.
    pub fn device(&self, name: &str) -> Option<&PlatformDevice> {
        self.claimed.iter().find(|device| device.name == name)
    }

    /// Tells by what a device's own accesses are led, as far as somebody has looked at the SMMUs.
    pub fn accesses(&self, device: &PlatformDevice) -> Accesses {
        if device.is_quiet {
            return Accesses::None;
        }
        let stream = |(path, id): &(String, u32)| {
            let smmu = self.smmus.iter().position(|smmu| smmu.path == *path && smmu.is_usable)?;
            Some(Stream { smmu, id: *id })
        };
        let is_v3 = |(path, _): &(String, u32)| self.smmus.iter().any(|smmu| smmu.path == *path);
        match device.iommus.iter().map(stream).collect::<Option<Vec<_>>>() {
            Some(streams) if streams.is_empty() => Accesses::Unchecked,
            None if device.iommus.iter().any(is_v3) => Accesses::Stopped,
            None => Accesses::Unchecked,
            Some(_) if !device.is_coherent => Accesses::NotCoherent,
            Some(_) if device.moves_addresses => Accesses::Moved,
            Some(streams) => Accesses::Checked(streams),
        }
    }

    fn read_device<'t, 'a>(&self, node: Node<'t, 'a>, name: &str) -> Option<PlatformDevice> {
        let gic = gic::find(node.tree()).ok()?;
        let path = node.path();
        let said = self.said.of(&path, node);
        Some(PlatformDevice {
            name: String::from(name),
            is_on: self.devices.is_on(node),
            role: role::of(self, node),
            registers: bus::registers(node),
            interrupts: interrupts::all(node, gic),
            iommus: iommus(node),
            is_quiet: said.no_dma || node.is_compatible(quiet::COMPATIBLE) || super::console::is_uart(&node.bare()),
            is_coherent: is_coherent(node),
            moves_addresses: node.ancestors().any(moves_addresses),
            write_combines: said.write_combine,
            clocks: clocks(node, &said.clock_rates),
            properties: copied::of(node),
            path,
        })
    }
}

/// Finds a node by its path or an alias.
fn find<'t, 'a>(tree: &'t Tree<'a>, name: &str) -> Option<Node<'t, 'a>> {
    if name.starts_with('/') {
        return tree.find(name);
    }
    tree.find(decode::str(tree.find("/aliases")?.property(name)?)?)
}

/// Reads `iommus`: (controller, as many cells as its `#iommu-cells`) entries, the ID first. One that cannot be read is of a
/// controller that nobody knows.
fn iommus(node: Node<'_, '_>) -> Vec<(String, u32)> {
    let unknown = || (String::new(), 0);
    let Ok(mut cells) = node.cells("iommus") else { return [unknown()].into() };
    let mut all = Vec::new();
    while let Some(phandle) = cells.next() {
        let controller = node.tree().by_phandle(phandle).filter(Node::is_available);
        let count = controller.and_then(|controller| controller.u32("#iommu-cells").ok()?);
        let (Some(controller), Some(count @ 0..=4)) = (controller, count) else {
            // How long the entry is nobody knows either.
            all.push(unknown());
            return all;
        };
        let id = if count > 0 { cells.next() } else { Some(0) };
        skip(&mut cells, count.saturating_sub(1));
        all.push(id.map_or_else(unknown, |id| (controller.path(), id)));
    }
    all
}

/// Linux's `of_dma_is_coherent`: the nearest that says something counts.
fn is_coherent(node: Node<'_, '_>) -> bool {
    let mut chain = core::iter::once(node).chain(node.ancestors());
    let says = chain.find(|node| node.has("dma-coherent") || node.has("dma-noncoherent"));
    says.is_some_and(|node| node.has("dma-coherent"))
}

/// Tells whether a bus's `dma-ranges` lead anywhere but to the same address (Devicetree Specification 0.4 §2.3.9).
fn moves_addresses(bus: Node<'_, '_>) -> bool {
    let Some(ranges) = bus.property("dma-ranges").filter(|ranges| !ranges.is_empty()) else { return false };
    let cells = bus.bare().cells().zip(bus.parent().and_then(|parent| parent.bare().cells()));
    let Some((own, above)) = cells else { return true };
    let entries = bus::split(ranges, [own.address, above.address, own.size]);
    entries.is_none_or(|mut entries| entries.any(|[from, to, _]| from != to))
}

/// Reads the rates of the clocks: what is `said`, of fixed ones what their nodes say, of others what an operating system is to
/// set them to.
fn clocks(node: Node<'_, '_>, said: &[u32]) -> Vec<u32> {
    let assigned = specifiers(node, "assigned-clocks");
    let rates: Vec<u32> = node.cells("assigned-clock-rates").into_iter().flatten().collect();
    let known = |rates: &[u32], at: usize| rates.get(at).copied().filter(|rate| *rate != 0);
    let rate = |(at, clock): (usize, Vec<u32>)| {
        let provider = clock.first().and_then(|phandle| node.tree().by_phandle(*phandle));
        let fixed = provider.filter(|clock| clock.is_compatible(&["fixed-clock"]));
        let fixed = fixed.and_then(|clock| clock.u32("clock-frequency").ok()?);
        let to_be_set = || known(&rates, assigned.iter().position(|other| *other == clock)?);
        known(said, at).or(fixed).or_else(to_be_set).unwrap_or(0)
    };
    specifiers(node, "clocks").into_iter().enumerate().map(rate).collect()
}

/// Splits a list of clocks: each is a phandle and as many cells as its node's `#clock-cells`.
fn specifiers(node: Node<'_, '_>, name: &'static str) -> Vec<Vec<u32>> {
    let mut cells = node.cells(name).unwrap_or_default();
    let mut all = Vec::new();
    while let Some(phandle) = cells.next().filter(|_| all.len() < MAX_CLOCKS) {
        let provider = node.tree().by_phandle(phandle);
        let count = provider.and_then(|clock| clock.u32("#clock-cells").ok()?).unwrap_or(0).min(8);
        all.push(core::iter::once(phandle).chain(cells.by_ref().take(count as usize)).collect());
    }
    all
}

fn skip(cells: &mut decode::CellList<'_>, count: u32) {
    for _ in 0..count {
        let _ = cells.next();
    }
}

/// The most clocks of a device that are read.
const MAX_CLOCKS: usize = 16;
