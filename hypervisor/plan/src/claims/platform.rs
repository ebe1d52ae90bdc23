//! Devices of the platform tree that VMs claim by path: what is wrong with that.

use alloc::vec::Vec;

use assay_model::layout;
use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::intid::IntId;

use super::{Trouble, VmClaims, World, devices, ground};
use crate::gate::Malformed;
use crate::offers;
use crate::platform::{Accesses, HostPlatform, PlatformDevice, Stream};
use crate::ranges::widen;
use crate::vm_tree::VmConfig;

/// Why a device of the platform tree is not given to a VM. Names are those of the other party.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlatformFault<'a> {
    /// It is none that a VM can have; what it is instead.
    Role(&'static str),
    /// It, or a bus above it, is disabled.
    Disabled,
    /// Its node cannot be read.
    Malformed(&'a Malformed),
    /// Another claim names it too.
    Twice(&'a str),
    /// Its registers end beyond so many bits.
    Beyond(u8),
    /// Its registers share a page with this node's.
    SharesPage(&'a str),
    /// Its registers overlap this node's memory.
    InMemory(&'a str),
    /// Its registers do not fit into the guest's place for them.
    NoRoom,
    /// One of its interrupts is no SPI of the GIC's.
    Interrupt,
    /// The VM's devices have more interrupts than a VM gets.
    Interrupts,
    /// It is wired to an interrupt of this one's.
    SharedInterrupt(&'a str),
    /// Nothing that EL2 drives checks its accesses.
    Unchecked,
    /// Its accesses are not to be checked, and an SMMUv3 that cannot be used stops some of them.
    Stopped,
    /// It is behind an SMMU, and its accesses do not see the CPUs' caches.
    NotCoherent,
    /// A bus above it changes the addresses of its accesses.
    Moved,
    /// To the SMMU it is the same as this device.
    SharedStream(&'a str),
}

/// Lists the devices of the platform tree that a VM claims, each once, as far as there are such nodes.
pub(crate) fn all<'a>(machine: &'a HostPlatform, vm: &VmConfig) -> Vec<&'a PlatformDevice> {
    let mut all: Vec<&PlatformDevice> = Vec::new();
    for device in vm.devices.iter().filter_map(|name| machine.device(name)) {
        if all.iter().all(|other| other.path != device.path) {
            all.push(device);
        }
    }
    all
}

/// Lists the devices that a VM claims, and whose accesses nothing would check.
pub fn unchecked<'a>(machine: &'a HostPlatform, vm: &VmConfig) -> impl Iterator<Item = &'a PlatformDevice> {
    let devices = if vm.unchecked_dma { all(machine, vm) } else { Vec::new() };
    devices.into_iter().filter(|device| machine.accesses(device) == Accesses::Unchecked)
}

/// Lists the streams of all claimed devices of the platform tree, whether they may be given or not.
pub fn streams(machine: &HostPlatform, vms: &[VmConfig]) -> Vec<Stream> {
    let devices = vms.iter().flat_map(|vm| all(machine, vm));
    devices.flat_map(|device| machine.accesses(device).into_streams()).collect()
}

/// Says what is wrong with the devices that a VM claims by path.
pub(super) fn check<'a>(world: &World<'a>, claims: &mut VmClaims<'a>) {
    let machine = world.machine;
    for name in &claims.config.devices {
        if let Some(device) = machine.device(name)
            && let Some(fault) = fault(world, claims.config, device)
        {
            claims.troubles.push(Trouble::Platform { device: name, fault });
        }
    }
    if !claims.troubles.is_empty() {
        return;
    }
    let devices = all(machine, claims.config);
    let too_many = |last: &PlatformDevice, fault| Trouble::Platform { device: last_name(machine, last), fault };
    match offers::platform(&devices) {
        Err(device) => claims.troubles.push(too_many(device, PlatformFault::NoRoom)),
        Ok(_) => {
            let wired = offers::lines(&devices).len() > layout::PLATFORM_INTERRUPTS;
            let last = devices.last().filter(|_| wired);
            claims.troubles.extend(last.map(|last| too_many(last, PlatformFault::Interrupts)));
        }
    }
}

/// What the manifest calls a device.
fn last_name<'a>(machine: &'a HostPlatform, device: &PlatformDevice) -> &'a str {
    machine.device(&device.name).map_or("", |device| &device.name)
}

/// Names what is wrong with one device, the others of the same VM left aside.
fn fault<'a>(world: &World<'a>, vm: &'a VmConfig, device: &'a PlatformDevice) -> Option<PlatformFault<'a>> {
    if let Some(role) = device.role {
        return Some(PlatformFault::Role(role));
    }
    if !device.is_on {
        return Some(PlatformFault::Disabled);
    }
    let registers = match &device.registers {
        Ok(registers) => registers,
        Err(malformed) => return Some(PlatformFault::Malformed(malformed)),
    };
    twice(world, vm, device)
        .or_else(|| place(world, device, registers))
        .or_else(|| interrupts(world, vm, device))
        .or_else(|| accesses(world, vm, device))
}

/// Names who else claims a device: another VM, or the VM itself if it does so twice.
fn twice<'a>(world: &World<'a>, vm: &'a VmConfig, device: &PlatformDevice) -> Option<PlatformFault<'a>> {
    let claims = |vm: &VmConfig| {
        let named = vm.devices.iter().filter_map(|name| world.machine.device(name));
        named.filter(|other| other.path == device.path).count()
    };
    let mut others = world.vms.iter().filter(|other| other.name != vm.name && claims(other) > 0);
    let other = others.next().or_else(|| Some(vm).filter(|vm| claims(vm) > 1));
    other.map(|other| PlatformFault::Twice(&other.name))
}

/// Looks for what else is in the pages of its registers: stage 2 gives whole pages.
fn place<'a>(world: &World<'a>, device: &PlatformDevice, registers: &[Region<Pa>]) -> Option<PlatformFault<'a>> {
    let machine = world.machine;
    let bits = world.pa_bits.min(48);
    if registers.iter().any(|region| region.end().0 > 1 << bits) {
        return Some(PlatformFault::Beyond(bits));
    }
    let pages: Vec<Region<Pa>> = registers.iter().map(|region| widen(region, PAGE_SIZE)).collect();
    let overlaps = |other: &Region<Pa>| pages.iter().any(|page| page.overlaps(other));
    let memory = machine.memory.iter().map(|node| (&node.path, node.region));
    let reserved = machine.reserved.iter().map(|kept| (&kept.path, kept.region));
    let coherent = machine.coherent.iter().filter_map(|node| Some((&node.path, node.region()?)));
    let mut memory = memory.chain(reserved).chain(coherent);
    if let Some((path, _)) = memory.find(|(_, region)| overlaps(region)) {
        return Some(PlatformFault::InMemory(path));
    }
    let is_own =
        |path: &str| path.strip_prefix(&*device.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut other = None;
    ground::devices(machine, &mut |path, region| {
        if other.is_none() && !is_own(path) && overlaps(&region) {
            other = Some(path);
        }
    });
    let mut windows = machine.registers().filter(|registers| registers.is_window);
    let window = || windows.find(|window| overlaps(&window.region)).map(|window| window.path.as_str());
    other.or_else(window).map(PlatformFault::SharesPage)
}

fn interrupts<'a>(world: &World<'a>, vm: &VmConfig, device: &'a PlatformDevice) -> Option<PlatformFault<'a>> {
    let machine = world.machine;
    let wires = match &device.interrupts {
        Ok(wires) => wires,
        Err(malformed) => return Some(PlatformFault::Malformed(malformed)),
    };
    if wires.iter().any(Option::is_none) {
        return Some(PlatformFault::Interrupt);
    }
    let has = |intid: IntId| wires.iter().flatten().any(|wire| wire.intid == intid);
    if let Some(console) = machine.console.as_ref().filter(|console| console.intid.is_some_and(has)) {
        return Some(PlatformFault::SharedInterrupt(&console.path));
    }
    if let Some(smmu) = machine.smmus.iter().find(|smmu| smmu.events.is_some_and(has)) {
        return Some(PlatformFault::SharedInterrupt(&smmu.path));
    }
    // A function's INTx is another of the guest's interrupts.
    let function = |name: &'a str| {
        let found = devices::found_function(machine, devices::address(machine, name)?)?;
        found.intx.is_some_and(has).then_some(name)
    };
    if let Some(name) = world.vms.iter().flat_map(VmConfig::functions).find_map(function) {
        return Some(PlatformFault::SharedInterrupt(name));
    }
    let others = world.vms.iter().filter(|other| other.name != vm.name).flat_map(|other| all(machine, other));
    let wired = |other: &&PlatformDevice| other.wires().any(|wire| has(wire.intid));
    others.into_iter().find(wired).map(|other| PlatformFault::SharedInterrupt(&other.path))
}

fn accesses<'a>(world: &World<'a>, vm: &VmConfig, device: &PlatformDevice) -> Option<PlatformFault<'a>> {
    let machine = world.machine;
    let own = match machine.accesses(device) {
        Accesses::None => return None,
        // The guest's addresses are the machine's, and the device's must be too.
        Accesses::Unchecked if vm.unchecked_dma => return device.moves_addresses.then_some(PlatformFault::Moved),
        Accesses::Stopped if vm.unchecked_dma => return Some(PlatformFault::Stopped),
        Accesses::Unchecked | Accesses::Stopped => return Some(PlatformFault::Unchecked),
        Accesses::NotCoherent => return Some(PlatformFault::NotCoherent),
        Accesses::Moved => return Some(PlatformFault::Moved),
        Accesses::Checked(own) => own,
    };
    let function = |name: &&str| {
        let address = devices::address(machine, name);
        address.and_then(|address| devices::stream_of(machine, address)).is_some_and(|stream| own.contains(&stream))
    };
    let is_twin = |other: &&PlatformDevice| {
        let theirs = machine.accesses(other).into_streams();
        other.path != device.path && theirs.iter().any(|one| own.contains(one))
    };
    let mut others = world.vms.iter().flat_map(|vm| all(machine, vm));
    let twin = others.find(is_twin).map(|other| other.path.as_str());
    let twin = twin.or_else(|| world.vms.iter().flat_map(VmConfig::functions).find(function));
    twin.map(PlatformFault::SharedStream)
}
