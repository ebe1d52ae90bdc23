//! The PCI functions that go with apertures: which one a claim means, and what is wrong with that.

use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Region};

use super::{Trouble, VmClaims, World};
use crate::offers;
use crate::pci::{Address, DeviceFault, Found};
use crate::platform::{CoherentNode, HostPlatform};
use crate::policy::Use;
use crate::space::Backing;
use crate::vm_tree::{CoherentClaim, VmConfig};

/// Returns the function that `device` of a claim names: by its PCI address, or by the path of its node.
fn address(machine: &HostPlatform, device: &str) -> Option<Address> {
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
    let claims = vms.iter().flat_map(|vm| &vm.coherent);
    let mut all = Vec::new();
    for address in claims.filter_map(|claim| of(machine, claim)) {
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

/// Names what is wrong with a claim's device, its place in the guest left aside.
pub(super) fn fault(world: &World<'_>, vm: &VmConfig, claim: &CoherentClaim) -> Option<DeviceFault> {
    let _ = claim.device.as_ref()?;
    if claim.use_ != Use::Aperture {
        return Some(DeviceFault::NotAperture);
    }
    let Some(address) = of(world.machine, claim) else {
        return Some(DeviceFault::Name);
    };
    let claims = world.vms.iter().flat_map(|vm| &vm.coherent);
    let same = |other: &&CoherentClaim| of(world.machine, other) == Some(address);
    if claims.filter(same).count() > 1 {
        return Some(DeviceFault::Twice);
    }
    let own = vm.coherent.iter();
    if own.filter(|claim| claim.device.is_some()).count() > 1 {
        return Some(DeviceFault::Second);
    }
    if let Err(fault) = world.machine.ecam_host(address.segment, address.function.bus()) {
        return Some(DeviceFault::Bar(fault));
    }
    let found = found_function(world.machine, address)?;
    if let Err(fault) = &found.outcome {
        return Some(*fault);
    }
    let mut others = world.machine.functions.iter();
    let shares = |other: &Found| other.address != address && found.intx.is_some() && other.intx == found.intx;
    others.any(shares).then_some(DeviceFault::SharedInterrupt)
}

/// Says of each region what keeps the BARs of the function that goes with it from having a place in the guest.
pub(super) fn check_places<'a>(machine: &'a HostPlatform, claims: &mut VmClaims<'a>) {
    for row in &claims.rows {
        if let Backing::Coherent { node, device: Some(address) } = row.backing
            && let Some(fault) = misfit(machine, node, address, row.ipa)
            && let Some(claim) = claims.config.coherent.iter().find(|claim| of(machine, claim) == Some(address))
        {
            claims.troubles.push(Trouble::device(claim, fault));
        }
    }
}

fn misfit(
    machine: &HostPlatform,
    node: &CoherentNode,
    address: Address,
    ipa: Option<Region<Ipa>>,
) -> Option<DeviceFault> {
    let found = found_function(machine, address)?;
    offers::offers(found, found.outcome.as_ref().ok()?, &machine.coherent, node, ipa?).err()
}
