//! The device tree that a guest gets: a machine laid out like QEMU's `virt`.
//!
//! It describes what the VM has and nothing else, is the same for the same input, and is written for
//! `dtc` and Linux to be silent about. What it says must hold: addresses come from [`assay_model::layout`], which the
//! emulated devices use too. It is built once, when the VM is; a restart only renews the seeds, and reserves the
//! pages that have left the VM.

mod nodes;
mod numa;
mod pci;
mod platform;
mod shared;
mod space;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use assay_spec::addr::{Ipa, PAGE_SIZE, Region};
use assay_spec::gic::Version;
use assay_spec::intid::IntId;
use dtoolkit::Node;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use thiserror::Error;

use assay_model::holes::PAGES;
use assay_model::pci::GuestBar;
use assay_model::vgic::VCPUS_MAX_V2;

use crate::platform::HostPlatform;
use crate::policy::line::Quoted;
use crate::space::{Backing, Mapping};

pub use platform::DeviceNode;

/// What a guest's device tree says.
pub struct GuestTree<'a> {
    /// The VM's address space: RAM, at least one range, and what else the guest is to find.
    pub space: &'a [Mapping<'a>],
    /// The vCPUs' affinity fields as in `MPIDR_EL1`, the boot CPU first.
    pub vcpus: &'a [u64],
    /// The interrupt controller.
    pub gic: Version,
    /// The kernel's command line.
    pub bootargs: &'a str,
    /// Where the ramdisk lies.
    pub ramdisk: Option<Region<Ipa>>,
    /// Randomness, if there is any to give.
    pub seeds: Option<Seeds>,
    /// Whether the VM has the SBSA watchdog.
    pub watchdog: bool,
    /// Whether the VM has performance monitors.
    pub pmu: bool,
    /// Whether the VM has a real-time clock.
    pub rtc: bool,
    /// The PCI functions that the VM got.
    pub functions: &'a [PciFunction],
    /// The devices of the platform tree that the VM got.
    pub devices: &'a [DeviceNode<'a>],
    /// How many virtio devices it has whose backends are other VMs.
    pub virtio: usize,
    /// The machine, if it tells how far its NUMA nodes are from each other.
    pub distances: Option<&'a HostPlatform>,
    /// The machine's NUMA node that the vCPUs are in.
    pub home: u32,
}

impl<'a> GuestTree<'a> {
    fn ram(&self) -> impl Iterator<Item = &'a Mapping<'a>> {
        self.space.iter().filter(|mapping| matches!(mapping.backing, Backing::Ram))
    }

    /// RAM's and the vCPUs' NUMA node, which has a number once there is memory of another node.
    fn numa(&self) -> Option<u32> {
        let mut nodes = self.space.iter().filter_map(Mapping::coherent);
        nodes.any(|node| node.numa.is_some()).then_some(0)
    }
}

/// A PCI function in the guest's view, on the host bridge that all of the VM's are on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PciFunction {
    /// The aperture that goes with it, one of [`GuestTree::space`].
    pub region: Option<Region<Ipa>>,
    /// The BAR that the aperture is, if it is one.
    pub window: Option<GuestBar>,
    /// Its interrupt, which others may have too.
    pub interrupt: Option<IntId>,
    /// It sends messages.
    pub has_messages: bool,
    /// What it accesses is what the CPUs' caches have.
    pub is_coherent: bool,
    /// What it is to be known by, if it is the backend of another VM's device.
    pub label: Option<String>,
}

/// Randomness for one start of a guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    /// `kaslr-seed`.
    pub kaslr: u64,
    /// `rng-seed`, if there is enough randomness for one: Linux takes its generator for seeded by it.
    pub rng: Option<[u8; 32]>,
}

/// Why a guest's tree cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum GuestTreeError {
    /// There is no RAM or no vCPU.
    #[error("a VM needs at least one region of RAM and one vCPU")]
    Empty,
    /// A GICv2 takes 8 CPUs.
    #[error("{0} vCPUs, and a GICv2 takes at most 8; give the VM fewer")]
    TooManyForGicV2(usize),
    /// A node's name breaks the Devicetree Specification (2.2.1), or is longer than 31 characters.
    #[error("{} cannot be a node's name; rename the region", Quoted(.0))]
    Name(String),
    /// Two nodes would have one path.
    #[error("two nodes {} in the guest's tree; give the regions different addresses", Quoted(.0))]
    Twice(String),
}

/// A guest's device tree, flattened.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    bytes: Vec<u8>,
    /// Where the value of `kaslr-seed` begins.
    kaslr_at: Option<usize>,
    /// Where the value of `rng-seed` begins.
    rng_at: Option<usize>,
    /// Where the memory reservation block begins.
    reservations_at: Option<usize>,
}

/// Bytes of an entry of the memory reservation block: address and size.
const RESERVATION: usize = 16;

impl Blob {
    /// Returns the tree as the guest gets it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes other seeds, without allocating; does nothing to those that the tree was built without.
    pub fn reseed(&mut self, seeds: &Seeds) {
        if let Some(kaslr) = self.kaslr_at {
            self.put(kaslr, &seeds.kaslr.to_be_bytes());
        }
        if let Some((at, rng)) = self.rng_at.zip(seeds.rng) {
            self.put(at, &rng);
        }
    }

    /// Has the memory reservation block (Devicetree Specification 5.3) name these pages, and no others, without allocating.
    /// There is room for [`PAGES`].
    pub fn reserve(&mut self, pages: &[Ipa]) {
        let Some(start) = self.reservations_at else { return };
        let entries = pages.iter().map(|page| [page.0, PAGE_SIZE]).chain(core::iter::repeat([0, 0]));
        for (index, [address, size]) in entries.take(PAGES).enumerate() {
            let at = start + index * RESERVATION;
            self.put(at, &address.to_be_bytes());
            self.put(at + RESERVATION / 2, &size.to_be_bytes());
        }
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
}

/// Writes a guest's device tree.
///
/// Its size depends on what there is and not on where: with another address or seed it stays the same.
///
/// # Errors
///
/// Nothing to describe, too much for the interrupt controller, or a name that cannot be one.
pub fn build(guest: &GuestTree<'_>) -> Result<Blob, GuestTreeError> {
    if guest.ram().next().is_none() || guest.vcpus.is_empty() {
        return Err(GuestTreeError::Empty);
    }
    if guest.gic == Version::V2 && guest.vcpus.len() > VCPUS_MAX_V2 {
        return Err(GuestTreeError::TooManyForGicV2(guest.vcpus.len()));
    }
    let mut tree = DeviceTree::new();
    // Of size 0, each ends the list, until there is something to reserve. The one that always ends it comes behind.
    tree.memory_reservations = vec![MemoryReservation::new(0, 0); PAGES];
    let root = &mut tree.root;
    nodes::root(root);
    add(root, nodes::aliases())?;
    add(root, nodes::chosen(guest))?;
    add(root, nodes::cpus(guest)?)?;
    space::add_all(root, guest)?;
    numa::add_distances(root, guest)?;
    add(root, nodes::hypervisor())?;
    add(root, nodes::psci())?;
    add(root, nodes::timer(guest))?;
    if guest.pmu {
        add(root, nodes::pmu(guest))?;
    }
    add(root, nodes::gic(guest))?;
    add(root, nodes::clock())?;
    add(root, nodes::uart())?;
    if guest.rtc {
        add(root, nodes::rtc())?;
    }
    if guest.watchdog {
        add(root, nodes::watchdog())?;
    }
    for index in 0..guest.virtio {
        add(root, nodes::virtio(index))?;
    }
    if !guest.functions.is_empty() {
        add(root, pci::host_bridge(guest.functions))?;
    }
    platform::add_all(root, guest.devices)?;
    let bytes = tree.to_dtb();
    // The header's fifth word (`off_mem_rsvmap`, 5.2).
    let reservations_at = bytes.get(16..20).and_then(|word| Some(u32::from_be_bytes(word.try_into().ok()?) as usize));
    let (kaslr_at, rng_at) = (find(&bytes, &nodes::KASLR_MARK), find(&bytes, &nodes::RNG_MARK));
    let mut blob = Blob { bytes, kaslr_at, rng_at, reservations_at };
    if let Some(seeds) = &guest.seeds {
        blob.reseed(seeds);
    }
    Ok(blob)
}

/// Adds a child, whose name must be one and new.
fn add(parent: &mut DeviceTreeNode, child: DeviceTreeNode) -> Result<(), GuestTreeError> {
    let name = child.name();
    if DeviceTreeNode::new(name).is_err() {
        return Err(GuestTreeError::Name(String::from(name)));
    }
    if parent.child(name).is_some() {
        return Err(GuestTreeError::Twice(String::from(name)));
    }
    parent.add_child(child);
    Ok(())
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
