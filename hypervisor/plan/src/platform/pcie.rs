//! PCI host bridges: where the configuration space and the memory windows are.
//!
//! Nothing here touches a device. (IEEE 1275 PCI Bus Binding; `pci-host-ecam-generic`.)

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;

use super::{EcamHost, HostPlatform, MAX_LIST, Oddity, PciWindow, PlatformError, bus, room};
use crate::gate::decode::{cell_bytes, number};
use crate::gate::{MAX_REG, Malformed, Node, Tree, decode};
use assay_model::pci::Function;

use crate::pci::{BUS_BYTES, BarFault, IdMap, IdRange, Rival};

const ECAM: &[&str] = &["pci-host-ecam-generic"];
const DOMAIN: &str = "linux,pci-domain";
/// Bytes of a PCI address: the space with its flags, and 64 bits.
const PCI_ADDRESS: usize = 12;

/// Reads all host bridges that are not disabled. Those without `linux,pci-domain` get the lowest segments that no other has,
/// in tree order, as Linux numbers them (drivers/pci/pci.c, `of_pci_bus_find_domain_nr`): each is its own. One whose
/// addresses are known and nothing else can be read is `lost`, and no other notices.
pub(super) fn hosts<'t, 'a>(
    tree: &'t Tree<'a>,
    gic: Node<'t, 'a>,
    (hosts, lost): (&mut Vec<EcamHost>, &mut Vec<Malformed>),
) -> Result<(), PlatformError> {
    let wanted = |node: &Node<'_, '_>| node.is_compatible(ECAM) && node.is_available();
    let given: Vec<_> = tree.nodes().filter(wanted).filter_map(|node| node.u32(DOMAIN).ok().flatten()).collect();
    let mut free = (0..).filter(|segment| !given.contains(segment));
    for node in tree.nodes().filter(wanted) {
        let segment = node.u32(DOMAIN).map(|given| given.or_else(|| free.next()).unwrap_or_default());
        // Where it answers must be known: nothing else may be taken for memory there.
        let Some(&ecam) = bus::registers(node)?.first() else { continue };
        let windows = windows(node)?;
        match segment.and_then(|segment| host(node, gic, segment, (ecam, windows))) {
            Ok(host) => {
                room(hosts, "/")?;
                hosts.push(host);
            }
            Err(why) => {
                room(lost, "/")?;
                lost.push(why);
            }
        }
    }
    let rivals: Vec<_> = hosts.iter().map(|host| rival(hosts, host)).collect();
    hosts.iter_mut().zip(rivals).for_each(|(host, rival)| host.rival = rival);
    Ok(())
}

/// Returns the first other bridge that claims what `host` claims: which of both has it, the tree does not say.
fn rival(all: &[EcamHost], host: &EcamHost) -> Option<Rival> {
    let mut others = all.iter().filter(|other| !core::ptr::eq(*other, host));
    others.find_map(|other| Some(Rival { path: other.path.clone(), claims: host.rivalry(other)? }))
}

impl HostPlatform {
    /// Returns the host bridge that a bus of a segment is behind.
    ///
    /// # Errors
    /// [`BarFault::NoHost`]; [`BarFault::Rivals`] if another bridge claims to be there too; [`BarFault::NoEcam`] if the
    /// configuration space is, by the tree, memory too.
    pub fn ecam_host(&self, segment: u32, bus: u8) -> Result<&EcamHost, BarFault> {
        let is_behind = |host: &&EcamHost| host.segment == segment && (host.buses.0..=host.buses.1).contains(&bus);
        let host = self.pcie.iter().find(is_behind).ok_or(BarFault::NoHost)?;
        if host.rival.is_some() {
            return Err(BarFault::Rivals);
        }
        if self.has_ecam(host) { Ok(host) } else { Err(BarFault::NoEcam) }
    }

    /// Names the host bridges that claim what others claim, in sentences that name both.
    pub(super) fn rivals(&self) -> impl Iterator<Item = Oddity<'_>> {
        let of = |host: &EcamHost| {
            let Rival { path, claims } = host.rival.as_ref()?;
            let reason = format!(
                "it and {path} claim the same {claims}: no VM gets a function of either; correct the one that is wrong"
            );
            Some(reason)
        };
        self.pcie.iter().filter_map(move |host| Some(Oddity { node: &host.path, reason: of(host)?.into() }))
    }

    /// Names the host bridges that cannot be read, and says why and what follows.
    pub(super) fn unread(&self) -> impl Iterator<Item = Oddity<'_>> {
        self.lost_pcie.iter().map(|why| {
            let Malformed { path, property, wants } = why;
            let reason = format!(
                "property {property}: {wants}: functions behind it that firmware started may access all memory, and no VM gets one"
            );
            Oddity { node: path, reason: reason.into() }
        })
    }

    /// Tells whether a host bridge's configuration space is by the tree no memory too.
    pub fn has_ecam(&self, host: &EcamHost) -> bool {
        let memory = self.memory.iter().map(|node| node.region);
        let kept = self.reserved.iter().map(|kept| kept.region);
        !memory.chain(kept).any(|other| other.overlaps(&host.ecam))
    }

    /// Lists what lies in the windows of a host bridge by the tree's word, so that no BAR may be placed there.
    pub fn kept_in(&self, host: &EcamHost) -> Vec<Region<Pa>> {
        let memory = self.memory.iter().map(|node| node.region);
        let is_in = |region: &Region<Pa>| host.windows.iter().any(|window| window.region.overlaps(region));
        memory.chain(self.not_free()).filter(is_in).collect()
    }
}

/// Reads the host bridge of a segment, with this configuration space and these windows.
fn host<'t, 'a>(
    node: Node<'t, 'a>,
    gic: Node<'t, 'a>,
    segment: u32,
    (ecam, windows): (Region<Pa>, Vec<PciWindow>),
) -> Result<EcamHost, Malformed> {
    let buses = buses(node)?;
    let count = u64::from(buses.1 - buses.0) + 1;
    if ecam.size < count * BUS_BYTES {
        return Err(node.malformed("reg", "must hold 1 MiB for each bus of bus-range"));
    }
    Ok(EcamHost {
        path: node.path(),
        segment,
        ecam,
        buses,
        windows,
        functions: functions(node),
        interrupts: interrupts(node, gic)?,
        interrupt_mask: interrupt_mask(node)?,
        streams: id_map(node, "iommu-map", "iommu-map-mask")?,
        msis: id_map(node, "msi-map", "msi-map-mask")?,
        is_coherent: node.has("dma-coherent"),
        rival: None,
    })
}

/// Lists the children by the requester ID in their `reg` (IEEE 1275 PCI Bus Binding §2.2.1.1).
fn functions(node: Node<'_, '_>) -> Vec<(String, Function)> {
    let of = |child: Node<'_, '_>| {
        let unit = child.cells("reg").ok()?.next()?;
        Some((child.path(), Function((unit >> 8 & 0xffff) as u16)))
    };
    node.children().filter_map(of).take(MAX_LIST).collect()
}

/// Reads `interrupt-map-mask`; without one, everything counts.
fn interrupt_mask(node: Node<'_, '_>) -> Result<(u32, u32), Malformed> {
    let mut cells = node.cells("interrupt-map-mask")?;
    Ok(match (cells.next(), cells.nth(2)) {
        (Some(unit), Some(pin)) => (unit, pin),
        _ => (u32::MAX, u32::MAX),
    })
}

/// Reads `interrupt-map`: child unit address (3 cells), pin, controller, its unit address, its specifier
/// (Devicetree Specification 0.4 §2.4.3). Entries of other controllers than the GIC are passed over.
fn interrupts<'t, 'a>(node: Node<'t, 'a>, gic: Node<'t, 'a>) -> Result<Vec<(u32, u32, IntId)>, Malformed> {
    let name = "interrupt-map";
    let wants = "must be (unit address of 3 cells, pin, controller, its unit address, specifier) entries";
    let bad = || node.malformed(name, wants);
    let mut cells = node.cells(name)?;
    let mut all = Vec::new();
    while let Some(unit) = cells.next() {
        let pin = cells.nth(2).ok_or_else(bad)?;
        let parent = cells.next().and_then(|phandle| node.tree().by_phandle(phandle));
        let parent = parent.ok_or_else(bad)?;
        // Unlike elsewhere, no #address-cells means none.
        let address = parent.u32("#address-cells")?.unwrap_or(0);
        for _ in 0..address.min(4) {
            let _ = cells.next().ok_or_else(bad)?;
        }
        let count = super::interrupts::specifier_cells(node, name, parent)?;
        let (kind, number) = (cells.next(), cells.next());
        for _ in 2..count {
            let _ = cells.next().ok_or_else(bad)?;
        }
        if let (true, Some(kind), Some(number)) = (parent == gic, kind, number)
            && let Some(intid) = super::interrupts::decode(node, name, kind, number)?
        {
            all.push((unit, pin, intid));
        }
    }
    Ok(all)
}

/// Reads a map of requester IDs: (first ID, controller, its first ID, length) entries. A controller that is not in the
/// tree, or disabled, has none.
fn id_map(node: Node<'_, '_>, name: &'static str, mask: &'static str) -> Result<IdMap, Malformed> {
    let wants = "must be (requester ID, controller, ID, length) entries";
    let mut cells = node.cells(name)?;
    let mut map = IdMap { mask: node.u32(mask)?.unwrap_or(u32::MAX), ranges: Vec::new() };
    while let Some(first) = cells.next() {
        let (Some(phandle), Some(output), Some(length)) = (cells.next(), cells.next(), cells.next()) else {
            return Err(node.malformed(name, wants));
        };
        if map.ranges.len() == MAX_LIST {
            return Err(node.malformed(name, "has more than 1024 entries"));
        }
        let controller = node.tree().by_phandle(phandle).filter(Node::is_available);
        map.ranges.extend(controller.map(|node| IdRange { first, length, controller: node.path(), output }));
    }
    Ok(map)
}

/// Reads `bus-range`; all buses if there is none.
fn buses(node: Node<'_, '_>) -> Result<(u8, u8), Malformed> {
    let mut cells = node.cells("bus-range")?;
    let range = match (cells.next(), cells.next()) {
        (None, _) => Some((0, 0xff)),
        (Some(first), Some(last)) if first <= last => u8::try_from(first).ok().zip(u8::try_from(last).ok()),
        _ => None,
    };
    let wants = "must be two cells: the first and the last bus, 0 to 255";
    range.ok_or_else(|| node.malformed("bus-range", wants))
}

/// Reads the memory windows out of `ranges`; I/O and configuration space are none.
fn windows(node: Node<'_, '_>) -> Result<Vec<PciWindow>, Malformed> {
    let wants = "must be (PCI address of 3 cells, address, size of 2 cells) entries that are ranges";
    let bad = || node.malformed("ranges", wants);
    let parent = node.parent().ok_or_else(bad)?;
    let above = cell_bytes(parent.child_cells()?.address).ok_or_else(bad)?;
    let own = node.child_cells()?;
    let ranges = node.property("ranges").unwrap_or_default();
    let entry = PCI_ADDRESS + above + 8;
    if ranges.len() > MAX_REG || own.address != 3 || own.size != 2 || !ranges.len().is_multiple_of(entry) {
        return Err(bad());
    }
    let mut windows = Vec::new();
    for entry in ranges.chunks_exact(entry) {
        let (pci, rest) = entry.split_at(PCI_ADDRESS);
        let (space, address) = pci.split_at(4);
        let (start, size) = rest.split_at(above);
        let (space, size) = (decode::u32(space).unwrap_or_default(), number(size));
        // phys.hi bits 25:24: 0b10 is 32-bit and 0b11 64-bit memory space; bit 30 is prefetchable.
        let code = space >> 24 & 0b11;
        if code < 0b10 {
            continue;
        }
        let buses = node.ancestors().map(|bus| bus.bare());
        let start = bus::to_physical(buses, number(start), size).ok_or_else(bad)?;
        windows.push(PciWindow {
            bus: number(address),
            region: Region::new(Pa(start), size).ok_or_else(bad)?,
            wide: code == 0b11,
            prefetchable: space >> 30 & 1 == 1,
        });
    }
    Ok(windows)
}
