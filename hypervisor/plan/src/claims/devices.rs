//! The PCI functions that VMs claim: which one a claim means, and what is wrong with that. `platform` is about the other
//! devices.

use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Region};

use super::{Trouble, VmClaims, World, naming};
use crate::offers::{self, Own};
use crate::pci::{Address, DeviceFault, Found, Stream};
use crate::platform::{CoherentNode, HostPlatform};
use crate::policy::{ProofAt, Use};
use crate::space::Backing;
use crate::vm_tree::{CoherentClaim, VmConfig};
use assay_model::layout;

/// Returns the function that a manifest calls `device`: by its PCI address, or by the path of its node.
pub fn address(machine: &HostPlatform, device: &str) -> Option<Address> {
    if !device.starts_with('/') {
        return Address::parse(device);
    }
    machine.pcie.iter().find_map(|host| {
        let mut nodes = host.functions.iter();
        let (_, function) = nodes.find(|(path, _)| path == device)?;
        Some(Address { segment: host.segment, function: *function })
    })
}

/// Returns the function that a claim names, if it names one.
pub(super) fn of(machine: &HostPlatform, claim: &CoherentClaim) -> Option<Address> {
    address(machine, claim.device.as_deref()?)
}

/// Returns the functions that VMs claim, each once: what the boot has to look for.
pub fn claimed_functions(machine: &HostPlatform, vms: &[VmConfig]) -> Vec<Address> {
    let mut all = Vec::new();
    for address in vms.iter().flat_map(VmConfig::functions).filter_map(|name| address(machine, name)) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Returns what the boot found of a function; `None` on the host, which cannot look.
pub fn found_function(machine: &HostPlatform, address: Address) -> Option<&Found> {
    let mut functions = machine.functions.iter();
    functions.find(|found| found.address == address)
}

/// Names what is wrong with the device of a claim, its place in the guest left aside.
pub(super) fn fault(world: &World<'_>, vm: &VmConfig, claim: &CoherentClaim) -> Option<DeviceFault> {
    let device = claim.device.as_deref()?;
    if claim.use_ != Use::Aperture {
        return Some(DeviceFault::NotAperture);
    }
    let own = vm.coherent.iter();
    if own.filter(|claim| claim.device.is_some()).count() > 1 {
        return Some(DeviceFault::Second);
    }
    of_function(world, vm, device)
}

/// Says what is wrong with the functions that a VM claims without a region, and with the number of its devices.
pub(super) fn check<'a>(world: &World<'a>, claims: &mut VmClaims<'a>) {
    for device in claims.config.devices.iter().filter(|name| world.machine.device(name).is_none()) {
        let fault = of_function(world, claims.config, device);
        let fault = fault.map(|fault| if fault == DeviceFault::Name { DeviceFault::Nowhere } else { fault });
        claims.troubles.extend(fault.map(|fault| Trouble::Device { region: None, device, fault }));
    }
    let last = claims.config.functions().nth(layout::DEVICES_MAX).and_then(|_| claims.config.devices.last());
    let fault = DeviceFault::TooMany;
    claims.troubles.extend(last.map(|device| Trouble::Device { region: None, device, fault }));
}

/// Names what is wrong with a function that a VM claims.
fn of_function(world: &World<'_>, vm: &VmConfig, device: &str) -> Option<DeviceFault> {
    let machine = world.machine;
    let Some(address) = address(machine, device) else {
        return Some(DeviceFault::Name);
    };
    let claimed = |vms: &[VmConfig]| {
        vms.iter()
            .flat_map(VmConfig::functions)
            .filter_map(|name| self::address(machine, name))
            .filter(|other| *other == address)
            .count()
    };
    if claimed(world.vms) > 1 {
        return Some(DeviceFault::Twice);
    }
    match machine.ecam_host(address.segment, address.function.bus()) {
        Err(fault) => return Some(DeviceFault::Bar(fault)),
        Ok(host) if machine.is_behind_lost(host, address.function) => return Some(DeviceFault::LostSmmu),
        Ok(_) => {}
    }
    let of = |vm: &VmConfig| vm.functions().filter_map(|name| self::address(machine, name)).collect::<Vec<_>>();
    let others: Vec<Address> = world.vms.iter().filter(|other| other.name != vm.name).flat_map(of).collect();
    let with_regions =
        world.vms.iter().filter(|other| other.name != vm.name).flat_map(|other| of_regions(machine, other));
    let with_regions: Vec<Address> = with_regions.collect();
    if with_regions.contains(&address) {
        return Some(DeviceFault::OthersRegion);
    }
    let stream = stream_of(machine, address);
    if stream.is_some() && others.iter().chain(&with_regions).any(|other| are_beside(machine, address, *other)) {
        return Some(DeviceFault::SharedDevice);
    }
    let mut all = of(vm).into_iter().chain(others.iter().copied()).filter(|other| *other != address);
    if stream.is_some() && all.any(|other| stream_of(machine, other) == stream) {
        return Some(DeviceFault::SharedStream);
    }
    let found = found_function(machine, address)?;
    if let Err(fault) = &found.outcome {
        return Some(*fault);
    }
    let intx = |other: &Address| found_function(machine, *other).and_then(|other| other.intx);
    (found.intx.is_some() && others.iter().any(|other| intx(other) == found.intx))
        .then_some(DeviceFault::SharedInterrupt)
}

/// Lists the functions whose BARs are regions that a VM claims, with or without the function.
fn of_regions(machine: &HostPlatform, vm: &VmConfig) -> impl Iterator<Item = Address> {
    let node = |claim: &CoherentClaim| machine.coherent.get(naming::find(&machine.coherent, &claim.region).ok()?);
    vm.coherent.iter().filter_map(node).filter_map(|node| node.pci_bar).map(|bar| bar.function())
}

/// What an SMMU knows the accesses of a function by: as the boot found it, or before one by the tree.
pub(super) fn stream_of(machine: &HostPlatform, address: Address) -> Option<Stream> {
    if let Some(found) = found_function(machine, address) {
        return found.stream;
    }
    let host = machine.ecam_host(address.segment, address.function.bus()).ok()?;
    machine.stream(host, address.function)
}

/// Tells whether two functions are of one device, or of or behind one device of the root bus: what is behind a bridge
/// only the boot has seen.
fn are_beside(machine: &HostPlatform, one: Address, other: Address) -> bool {
    let root = |address| found_function(machine, address).map(|found| found.root);
    let device = |address: Address| (address.function.bus(), address.function.device());
    // A function that nobody claims, and whose memory is a region, has been looked at by nobody: it may be anywhere behind a
    // bridge.
    let have_one_root = match (root(one), root(other)) {
        (Some(one), Some(other)) => one == other,
        (Some(root), None) => machine
            .ecam_host(other.segment, other.function.bus())
            .map_or(true, |host| other.function.bus() != host.buses.0 || other.function.device() == root),
        (None, _) => false,
    };
    // Bridges of one segment have a root bus each.
    let host =
        |address: Address| machine.ecam_host(address.segment, address.function.bus()).ok().map(|host| &host.path);
    host(one) == host(other) && (device(one) == device(other) || have_one_root)
}

/// Lists the functions that a VM claims and the boot found, with the regions that they go with, as far as these have a
/// place.
pub(crate) fn found<'a>(
    machine: &'a HostPlatform,
    vm: &VmConfig,
    regions: impl Iterator<Item = (&'a CoherentNode, Address, Region<Ipa>)> + Clone,
) -> Vec<(&'a Found, Own<'a>)> {
    let with_region = |name: &str| {
        let found = found_function(machine, address(machine, name)?)?;
        let mut regions = regions.clone();
        let own = regions.find(|(_, address, _)| *address == found.address);
        Some((found, own.map(|(node, _, ipa)| (node, ipa))))
    };
    vm.functions().filter_map(with_region).collect()
}

/// Names the VM that has memory of the function which a claim's proof at the start would reset.
pub(super) fn disturbed<'a>(
    world: &World<'a>,
    vm: &VmConfig,
    claim: &CoherentClaim,
    node: &CoherentNode,
) -> Option<&'a str> {
    let function = node.pci_bar.filter(|_| claim.proof == ProofAt::Start)?.function();
    let mut others = world.vms.iter().filter(|other| other.name != vm.name);
    let other = others.find(|other| of_regions(world.machine, other).any(|address| address == function))?;
    Some(&other.name)
}

/// Says which function's BARs have no place in the guest.
pub(super) fn check_places<'a>(machine: &'a HostPlatform, claims: &mut VmClaims<'a>) {
    let of_row = |row: &super::Row<'a>| match row.backing {
        Backing::Coherent { node, device } => Some((node, device?, row.ipa?)),
        _ => None,
    };
    let found = found(machine, claims.config, claims.rows.iter().filter_map(of_row));
    let Err((address, fault)) = offers::all(&found, &machine.coherent) else { return };
    let of_region = claims.config.coherent.iter().find(|claim| of(machine, claim) == Some(address));
    let mut others = claims.config.devices.iter();
    let trouble = match of_region {
        Some(claim) => Some(Trouble::device(claim, fault)),
        None => others.find(|name| self::address(machine, name) == Some(address)).map(|device| Trouble::Device {
            region: None,
            device,
            fault,
        }),
    };
    claims.troubles.extend(trouble);
}
