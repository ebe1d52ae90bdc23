//! Where the platform puts its regions, as the policy's checks want to see it (the geometry of rule T1).

use alloc::vec::Vec;

use assay_model::pci::Function;
use assay_spec::addr::{Pa, Region};

use super::World;
use crate::pci::BarFault;
use crate::platform::{CoherentNode, HostGic, HostPlatform, NodeFault};
use crate::policy::regions::{Extent, Layout, Occupant, Occupied, RegionFact, fault};
use crate::policy::{Fault, Kind};

/// Returns what is wrong with the place of each coherent region, by its index in [`HostPlatform::coherent`].
pub(super) fn faults<'a>(world: &World<'a>) -> Vec<Option<Fault<'a>>> {
    let machine = world.machine;
    let mut regions: Vec<RegionFact<'a>> = machine.coherent.iter().map(|node| region(machine, node)).collect();
    devices(machine, &mut |name, place| {
        // The list is long and lives in the heap: of no matter is what overlaps nothing.
        if machine.coherent.iter().filter_map(CoherentNode::region).any(|region| region.overlaps(&place)) {
            regions.push(RegionFact { name, kind: Kind::Mmio, extent: Extent::One(place) });
        }
    });
    let mut occupied = world.occupied.to_vec();
    occupied.extend(machine.reserved.iter().map(|reservation| Occupied {
        name: &reservation.path,
        occupant: if reservation.tag_storage { Occupant::TagStorage } else { Occupant::Firmware },
        region: reservation.region,
    }));
    let memory: Vec<Region<Pa>> = machine.memory.iter().map(|node| node.region).collect();
    let layout = Layout { regions: &regions, occupied: &occupied, memory: &memory, pa_bits: world.pa_bits };
    let checked = 0..machine.coherent.len();
    checked
        .map(|index| {
            let said = machine.coherent.get(index).and_then(|node| node.fault).map(Fault::Node);
            let found = said.or_else(|| fault(&layout, index)).map(|fault| outlive(fault, &regions, &occupied));
            found
                .or_else(|| same_bar(machine, index))
                .or_else(|| in_window(machine, index))
                .or_else(|| may_be_mapped(machine, index))
        })
        .collect()
}

fn region<'a>(machine: &HostPlatform, node: &'a CoherentNode) -> RegionFact<'a> {
    RegionFact {
        name: &node.path,
        kind: Kind::Coherent,
        extent: match node.reg {
            _ if node.pci_bar.is_some() => bar(machine, node),
            Some(region) => Extent::One(region),
            None if node.reg_count > 1 => Extent::Several,
            None => Extent::Missing,
        },
    }
}

/// What the tree has wrong counts before what the hardware has.
fn bar(machine: &HostPlatform, node: &CoherentNode) -> Extent {
    let Some(size) = node.size() else {
        return Extent::Unusable(BarFault::NoLength);
    };
    let host = node.pci_bar.map(|bar| machine.ecam_host(bar.segment, Function(bar.requester_id).bus()));
    match node.bar {
        _ if node.reg_count != 0 => Extent::Unusable(BarFault::AlsoReg),
        Some(Err(fault)) => Extent::Unusable(fault),
        Some(Ok(region)) => Extent::One(region),
        None => host.and_then(Result::err).map_or(Extent::Unplaced(size), Extent::Unusable),
    }
}

/// Two nodes for one BAR overlap wherever it is.
fn same_bar<'a>(machine: &'a HostPlatform, index: usize) -> Option<Fault<'a>> {
    let bar = machine.coherent.get(index)?.pci_bar?;
    let mut others = machine.coherent.iter().enumerate();
    let other = others.find(|(at, other)| *at != index && other.pci_bar == Some(bar));
    other.map(|(_, other)| Fault::Overlaps(&other.path))
}

/// What a host bridge's window leads to is its devices' memory, which has a place only as a BAR.
fn in_window<'a>(machine: &'a HostPlatform, index: usize) -> Option<Fault<'a>> {
    let region = machine.coherent.get(index).filter(|node| node.pci_bar.is_none())?.region()?;
    let mut windows = machine.registers().filter(|registers| registers.is_window);
    windows.find(|window| window.region.overlaps(&region)).map(|window| Fault::OverlapsWindow(&window.path))
}

/// Without `no-map`, whatever else boots from the tree maps the memory.
fn may_be_mapped<'a>(machine: &HostPlatform, index: usize) -> Option<Fault<'a>> {
    let node = machine.coherent.get(index).filter(|node| !node.no_map);
    node.map(|_| Fault::Node(NodeFault::NoMap))
}

/// Names the registers of all enabled devices, and of those that EL2 drives whatever their `status`.
pub(super) fn devices<'a>(machine: &'a HostPlatform, add: &mut dyn FnMut(&'a str, Region<Pa>)) {
    for registers in machine.registers().filter(|registers| !registers.is_window) {
        add(&registers.path, registers.region);
    }
    let gic = machine.gic.path.as_str();
    match &machine.gic.version {
        HostGic::V3 { dist, redists, .. } => {
            add(gic, *dist);
            redists.iter().for_each(|frames| add(gic, *frames));
        }
        HostGic::V2 { dist, cpu, hyp, vcpu } => [dist, cpu, hyp, vcpu].into_iter().for_each(|frame| add(gic, *frame)),
    }
    if let Some(console) = &machine.console {
        add(&console.path, console.registers);
    }
    for host in &machine.pcie {
        add(&host.path, host.ecam);
    }
}

/// Gives a fault the names that the world holds: the lists that it was found in are gone soon.
fn outlive<'a>(fault: Fault<'_>, regions: &[RegionFact<'a>], occupied: &[Occupied<'a>]) -> Fault<'a> {
    let named = |name: &str| {
        let regions = regions.iter().map(|region| region.name);
        let mut all = regions.chain(occupied.iter().map(|other| other.name));
        all.find(|known| *known == name).unwrap_or("another region")
    };
    match fault {
        Fault::Overlaps(name) => Fault::Overlaps(named(name)),
        Fault::OverlapsRegisters(name) => Fault::OverlapsRegisters(named(name)),
        Fault::OverlapsWindow(name) => Fault::OverlapsWindow(named(name)),
        Fault::OverlapsTagStorage(name) => Fault::OverlapsTagStorage(named(name)),
        Fault::OverlapsReservation(name) => Fault::OverlapsReservation(named(name)),
        Fault::NoReg => Fault::NoReg,
        Fault::SeveralRegs => Fault::SeveralRegs,
        Fault::Unaligned => Fault::Unaligned,
        Fault::Beyond(bits) => Fault::Beyond(bits),
        Fault::OverlapsAssay => Fault::OverlapsAssay,
        Fault::PartlyInMemory => Fault::PartlyInMemory,
        Fault::Node(fault) => Fault::Node(fault),
        Fault::Bar(fault) => Fault::Bar(fault),
    }
}
