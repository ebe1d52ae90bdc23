//! Virtio devices between VMs: which VM is whose backend, and what it sees of the other's RAM.
//!
//! A driver gives any of its RAM's addresses to its device, so the backend sees all of it. That is decided on as memory
//! between VMs is (rules M1 to M3).

use alloc::vec::Vec;

use assay_model::layout;
use assay_spec::addr::BLOCK_2M;
use assay_spec::stage2_desc::Rights;

use super::place::Wanted;
use super::{Row, Trouble, VmClaims, World, ram};
use crate::policy::{self, Claim};
use crate::space::{Backing, HEAD};
use crate::vm_tree::{VirtioClaim, VmConfig};

/// What is wrong with a virtio device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VirtioFault<'a> {
    /// No VM has the backend's name.
    NoBackend,
    /// The VM itself has it.
    Own,
    /// A device of its backend, whose backend is this VM or waits for this one: each would wait for the other.
    Circle {
        /// That device.
        device: &'a str,
        /// The device's backend.
        backend: &'a str,
    },
    /// Another of the VM's devices has its name.
    Twice,
    /// It is the VM's fifth.
    TooMany,
    /// The VM's RAM does not begin or end at a multiple of 2 MiB.
    Ram,
    /// The backend has MTE, and the VM has not.
    Tags,
}

/// Lists the devices of all VMs, in the manifest's order, each with its VM.
pub(crate) fn all(vms: &[VmConfig]) -> impl Iterator<Item = (&VmConfig, &VirtioClaim)> {
    vms.iter().flat_map(|vm| vm.virtio.iter().map(move |device| (vm, device)))
}

/// Lists the devices that a VM is the backend of.
pub(crate) fn served_by<'a>(
    vms: &'a [VmConfig],
    backend: &VmConfig,
) -> impl Iterator<Item = (&'a VmConfig, &'a VirtioClaim)> {
    all(vms).filter(move |(_, device)| device.backend == backend.name)
}

/// Adds the rows of a backend, one for each VM whose devices it has. Returns what places they want.
pub(super) fn claim<'a>(world: &World<'a>, claims: &mut VmClaims<'a>) -> Vec<Wanted<'a>> {
    let own = claims.config;
    check(world, claims);
    let mut wanted: Vec<Wanted<'a>> = Vec::new();
    for (vm, _) in served_by(world.vms, own).filter(|(vm, _)| vm.name != own.name) {
        let region = vm.name.as_str();
        if wanted.iter().all(|earlier| earlier.region != region) {
            let size = vm.memory_bytes.saturating_add(HEAD);
            claims.rows.push(row(world, vm, size, own.mte));
            wanted.push(Wanted { region, size: Some(size), ipa: None, is_bar: false });
        }
    }
    wanted
}

fn row<'a>(world: &World<'a>, vm: &'a VmConfig, size: u64, backend_mte: bool) -> Row<'a> {
    let asked = Claim::shared(Rights::ReadWrite, backend_mte);
    let (facts, nodes) = ram::facts(world, vm.mte);
    Row {
        region: &vm.name,
        nodes,
        size: Some(size),
        claim: asked,
        ipa: None,
        outcome: policy::decide(&facts, world.bits, asked),
        proof: facts.proof,
        backing: Backing::Lent(vm),
    }
}

fn check<'a>(world: &World<'a>, claims: &mut VmClaims<'a>) {
    let vm = claims.config;
    for (at, device) in vm.virtio.iter().enumerate() {
        let backend = world.vms.iter().find(|other| other.name == device.backend);
        let is_even = |at: u64| at.is_multiple_of(BLOCK_2M);
        let fault = match backend {
            _ if vm.virtio[..at].iter().any(|other| other.name == device.name) => VirtioFault::Twice,
            _ if at >= layout::VIRTIO_MAX => VirtioFault::TooMany,
            None => VirtioFault::NoBackend,
            Some(backend) if backend.name == vm.name => VirtioFault::Own,
            Some(backend) if let Some(fault) = circle(world.vms, backend, vm) => fault,
            Some(backend) if backend.mte && !vm.mte => VirtioFault::Tags,
            Some(_) if !is_even(vm.memory_bytes) || !is_even(vm.memory_ipa.0) => VirtioFault::Ram,
            Some(_) => continue,
        };
        claims.troubles.push(Trouble::Virtio { device: &device.name, backend: &device.backend, fault });
    }
    let functions = vm.functions().count() + served_by(world.vms, vm).count();
    if functions > layout::DEVICES_MAX && served_by(world.vms, vm).next().is_some() {
        claims.troubles.push(Trouble::TooManyServed { functions });
    }
}

/// Names a device of `backend` by which that waits for `vm`, whose backend it is: itself, or by way of others.
fn circle<'a>(vms: &'a [VmConfig], backend: &'a VmConfig, vm: &VmConfig) -> Option<VirtioFault<'a>> {
    let waits = |device: &&VirtioClaim| leads_to(vms, &device.backend, &vm.name);
    let device = backend.virtio.iter().find(waits)?;
    Some(VirtioFault::Circle { device: &device.name, backend: &device.backend })
}

/// Tells whether who goes from backend to backend comes from one VM to the other.
fn leads_to(vms: &[VmConfig], from: &str, to: &str) -> bool {
    let mut reached = Vec::from([from]);
    let mut next = 0;
    while let Some(name) = reached.get(next).copied().filter(|name| *name != to) {
        next += 1;
        for (_, device) in all(vms).filter(|(vm, _)| vm.name == name) {
            if !reached.contains(&&*device.backend) {
                reached.push(&device.backend);
            }
        }
    }
    next < reached.len()
}
