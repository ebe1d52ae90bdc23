//! The plan of one VM: all that making it takes, decided before anything is taken.
//!
//! [`Planner`] turns what the VM claims, and what is left of the machine, into a [`VmPlan`] or its refusals. EL2 takes,
//! grants, maps and loads what the plan says; `explain` prints it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use assay_model::doorbell::Doorbells;
use assay_model::life::Life;
pub use assay_model::loader::{FlashFile, Sums};
use assay_model::loader::{LoadPlan, Origin};
use assay_model::psci;
use assay_model::rtc::Rtc;
use assay_model::schedule::Share;
use assay_model::smccc::Workarounds;
use assay_model::stage2::Geometry;
use assay_model::vgic::Frames;
use assay_model::virtio::Link;
use assay_model::vm::GuestMachine;
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::cpu_id::{PcpuId, VcpuId};
use assay_spec::gic::Version;
use assay_spec::sort;
use assay_spec::traps::TrapConfig;

use crate::claims::{self, Trouble, VmClaims, World};
use crate::guest_tree::{self, Blob, GuestTree, Seeds};
use crate::idregs::{self, HostId, VmFeatures};
use crate::kernel;
use crate::platform::{CoherentNode, HostPlatform, Stream};
use crate::policy::line::DecisionLine;
use crate::policy::{Mte, Proof};
use crate::refusal::{Cause, Refusal};
use crate::space::{self, Backing, Mapping};
use crate::traps::traps_of;
use crate::vm_tree::{FlashClaim, Sched, VirtioClaim, VmConfig};

mod devices;
mod left;
mod platform;
#[cfg(test)]
mod tests;

pub use devices::Function;
pub use left::{Left, Memory, Shortage};
pub use platform::Device;

/// What the machine is, beyond what claims are decided with.
#[derive(Clone, Copy, Debug)]
pub struct HostFacts<'a> {
    /// The CPUs: the field-wise minimum of all.
    pub id: &'a HostId,
    /// What CPUs there are, each kind once.
    pub kinds: &'a [HostId],
    /// Ticks of the counter in a second.
    pub counter_frequency: u64,
    /// What guests are told of the SMCCC workarounds.
    pub workarounds: Workarounds,
    /// What guests' real-time clocks go by.
    pub rtc: Option<Rtc>,
}

/// Plans the VMs of a machine, one after the other.
pub struct Planner<'a> {
    world: World<'a>,
    host: HostFacts<'a>,
    /// The virtio devices of all VMs.
    links: Vec<Arc<Link>>,
    /// What no VM has by now.
    pub left: Left,
}

/// All that making a VM takes.
pub struct VmPlan<'a> {
    /// The VM's place in the manifest.
    pub vm: usize,
    /// What the manifest says of it.
    pub config: &'a VmConfig,
    /// Its address space.
    pub space: Vec<Mapping<'a>>,
    /// The stage-2 tables that hold it.
    pub geometry: Geometry,
    /// Its VMID.
    pub vmid: u16,
    /// Where it runs.
    pub cpus: Cpus,
    /// What the guest finds its machine to be.
    pub machine: GuestMachine,
    /// The CPU features that it is offered.
    pub features: VmFeatures,
    /// What traps to EL2 on each kind of CPU.
    pub traps: Vec<TrapConfig>,
    /// Its PCI functions, in the guest's order.
    pub functions: Vec<Function<'a>>,
    /// Its devices of the platform tree.
    pub devices: Vec<Device<'a>>,
    /// The virtio devices that it is the backend of, each with its VM: more functions.
    faces: Vec<(&'a VmConfig, &'a VirtioClaim)>,
    /// The machine.
    host: &'a HostPlatform,
}

/// Where a VM runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cpus {
    /// On these physical CPUs, a vCPU each.
    Dedicated(Vec<PcpuId>),
    /// On CPUs that it shares.
    Shared(Share),
}

/// The files that a VM starts from.
pub struct Files<'f> {
    /// The kernel.
    pub kernel: &'f [u8],
    /// The ramdisk; empty if there is none.
    pub ramdisk: &'f [u8],
    /// What they must be.
    pub sums: Sums,
    /// The flashes', in the manifest's order.
    pub flash: Vec<FlashFile<'f>>,
}

/// What is written into a VM's RAM at its start.
pub struct Start {
    /// What goes where.
    pub load: LoadPlan,
    /// The guest's device tree.
    pub tree: Blob,
}

impl Cpus {
    /// Returns how many vCPUs that makes.
    pub fn vcpus(&self) -> usize {
        match self {
            Self::Dedicated(cpus) => cpus.len(),
            Self::Shared(share) => share.vcpus.len(),
        }
    }
}

/// Puts VMs into the order in which they choose: those with CPUs of their own first, those that share CPUs get what is
/// left.
pub fn order(claims: &mut [VmClaims<'_>]) {
    sort::by_key(claims, |claims| (claims.config.sched != Sched::Dedicated, claims.vm));
}

impl<'a> Planner<'a> {
    /// Begins with a machine of which nobody has anything.
    pub fn new(world: World<'a>, host: HostFacts<'a>, left: Left) -> Self {
        let links = claims::all_virtio(world.vms).enumerate().map(|(number, (vm, device))| {
            Arc::new(Link::new(number, device.kind, Region { start: vm.memory_ipa, size: vm.memory_bytes }))
        });
        Self { world, host, links: links.collect(), left }
    }

    /// Returns the virtio devices of which this holds: of the VM that has them, and of its claim.
    fn links(&self, which: impl Fn(&VmConfig, &VirtioClaim) -> bool) -> Vec<Arc<Link>> {
        let all = claims::all_virtio(self.world.vms).zip(&self.links);
        all.filter(|((vm, device), _)| which(vm, device)).map(|(_, link)| link.clone()).collect()
    }

    /// Plans a VM. What it takes is not yet [`Self::left`]'s loss.
    ///
    /// # Errors
    /// All refusals by the policy, or the first of what the machine lacks.
    pub fn plan(&self, claims: &VmClaims<'a>) -> Result<VmPlan<'a>, Vec<Refusal>> {
        let refusals = claims.refusals();
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let planned = self.fit(claims);
        planned.map_err(|cause| [Refusal::of(&claims.config.name, &*cause)].into())
    }

    fn fit(&self, claims: &VmClaims<'a>) -> Result<VmPlan<'a>, alloc::boxed::Box<dyn Cause + 'a>> {
        let (config, host) = (claims.config, self.host.id);
        let cpus = self.left.choose(config, self.host.counter_frequency)?;
        let vcpus = cpus.vcpus();
        let gic = devices::gic_of(self.world.machine, vcpus)?;
        let vmid = self.left.vmid(host)?;
        let mut space = claims.space();
        let functions = Function::all(self.world.machine, config, &space);
        let platform = Device::all(self.world.machine, config);
        devices::add(&self.world, &mut space, (&functions, &platform), gic, &cpus)?;
        let faces: Vec<_> = claims::served_by(self.world.vms, config).collect();
        let end = space.iter().map(|mapping| mapping.ipa.end()).max().unwrap_or(Ipa(0));
        let geometry = Geometry::new(Geometry::bits_below(end.0), host.pa_range_bits())?;
        self.left.check(config, &space).map_err(|shortage| shortage.blame(self.world.machine))?;
        let ram = &space[0];
        let mte = ram.decision.mte == Mte::Exposed;
        let features = VmFeatures { mte, sve: true, pauth: true, pmu: config.pmu, gic_v3: gic == Version::V3 };
        let features = features.limited_to(host);
        let dedicated = matches!(cpus, Cpus::Dedicated(_));
        if config.pmu && !(features.pmu && dedicated && self.world.machine.pmu.is_some()) {
            return Err(Shortage::Pmu.into());
        }
        Ok(VmPlan {
            vm: claims.vm,
            config,
            geometry,
            vmid,
            machine: GuestMachine {
                id: idregs::guest_id(host, features),
                workarounds: self.host.workarounds,
                pstate: idregs::pstate_bits(host),
                ram: ram.ipa,
                flashes: config.flash.iter().map(FlashClaim::place).collect(),
                gic: Frames::new(gic, vcpus),
                vcpus,
                watchdog: config.watchdog,
                rtc: self.host.rtc,
                doorbells: Doorbells::new(space::doorbells(&space)),
                pci: !functions.is_empty() || !faces.is_empty(),
                messages: functions.iter().any(|function| function.messages.is_some()),
                wires: platform.iter().any(|device| !device.lines.is_empty()),
                virtio: self.links(|vm, _| vm.name == config.name),
                faces: self.links(|_, device| device.backend == config.name),
                physical_functions: functions.len(),
            },
            features,
            traps: self.host.kinds.iter().map(|here| traps_of(host, here, features, dedicated)).collect(),
            functions,
            devices: platform,
            faces,
            host: self.world.machine,
            space,
            cpus,
        })
    }
}

impl VmPlan<'_> {
    /// Returns the RAM's place.
    pub fn ram(&self) -> Region<Ipa> {
        self.machine.ram
    }

    /// Iterates over the names of its coherent regions, in the order of its space.
    pub fn coherent_regions(&self) -> impl Iterator<Item = &str> {
        let coherent = self.space.iter().filter(|mapping| matches!(mapping.backing, Backing::Coherent { .. }));
        coherent.map(|mapping| &*mapping.name)
    }

    /// Returns its coherent regions that are proved at its start.
    fn proved_at_start(&self) -> impl Iterator<Item = &CoherentNode> {
        self.space.iter().filter(|mapping| mapping.proof == Proof::AtStart).filter_map(Mapping::coherent)
    }

    /// Tells whether it has such regions: then all its functions are made ready before.
    pub fn has_proof_at_start(&self) -> bool {
        self.proved_at_start().next().is_some()
    }

    /// Returns such regions as are BARs of functions that it does not have, which are made ready too: one for each function.
    pub fn bars_at_start(&self) -> Vec<&CoherentNode> {
        let mut nodes: Vec<&CoherentNode> = Vec::new();
        let function = |node: &CoherentNode| node.pci_bar.map(|bar| bar.function());
        for node in self.proved_at_start() {
            let Some(address) = function(node) else { continue };
            let is_own = self.functions.iter().any(|function| function.found.address == address);
            if !is_own && nodes.iter().all(|known| function(known) != Some(address)) {
                nodes.push(node);
            }
        }
        nodes
    }

    /// Tells whether it has devices that make accesses of their own.
    pub fn has_dma(&self) -> bool {
        let has_streams = self.devices.iter().any(|device| !device.streams.is_empty());
        has_streams || self.functions.iter().any(|function| function.found.stream.is_some())
    }

    /// Returns the path of the SMMU that a stream is of.
    pub fn smmu(&self, stream: Stream) -> &str {
        self.host.smmus.get(stream.smmu).map_or("", |smmu| &smmu.path)
    }

    /// Returns the page that its devices send messages to, if some do.
    pub fn message_page(&self) -> Option<Region<Pa>> {
        let messages = self.functions.iter().find_map(|function| function.messages)?;
        Some(self.host.itss.get(messages.its)?.frames.as_ref().ok()?.page)
    }

    /// Returns the lines of what was decided of its memory.
    pub fn decisions(&self) -> impl Iterator<Item = DecisionLine<'_>> {
        self.space.iter().filter_map(|mapping| mapping.line(&self.config.name))
    }

    /// Returns the NUMA node of its first CPU; of one that it shares, of the machine's first.
    fn home(&self) -> u32 {
        let first = match &self.cpus {
            Cpus::Dedicated(cpus) => cpus.first().map_or(0, |cpu| cpu.0),
            Cpus::Shared(_) => 0,
        };
        self.host.cpus.get(first).and_then(|cpu| cpu.numa).unwrap_or(0)
    }

    /// Returns the VM's life, before its first start.
    pub fn life(&self, counter_frequency: u64) -> Life {
        Life::new(self.machine.vcpus, self.config.on_crash, self.config.max_restarts, counter_frequency)
    }

    /// Plans what goes where in memory, and writes the guest's tree.
    ///
    /// # Errors
    /// The kernel is none, something does not fit, or the tree cannot be written.
    pub fn start(&self, files: &Files<'_>, seeds: Option<Seeds>) -> Result<Start, Refusal> {
        let refuse = |cause: &dyn Cause| Refusal::of(&self.config.name, cause);
        let affinities: Vec<u64> = (0..self.machine.vcpus).map(|vcpu| psci::affinity(VcpuId(vcpu))).collect();
        let faces = (self.functions.len()..).zip(&self.faces);
        let faces = faces.map(|(index, (vm, device))| devices::face(index, vm, device));
        let functions: Vec<_> = self.functions.iter().map(Function::node).chain(faces).collect();
        let devices: Vec<_> = self.devices.iter().map(Device::node).collect();
        let tree = |ramdisk| {
            let tree = guest_tree::build(&GuestTree {
                space: &self.space,
                vcpus: &affinities,
                gic: self.machine.gic.version,
                bootargs: &self.config.bootargs,
                ramdisk,
                seeds,
                watchdog: self.config.watchdog,
                pmu: self.features.pmu,
                rtc: self.machine.rtc.is_some(),
                functions: &functions,
                devices: &devices,
                virtio: self.machine.virtio.len(),
                distances: (!self.host.distances.is_empty()).then_some(self.host),
                home: self.home(),
            });
            tree.map_err(|error| refuse(&error))
        };
        // A draft: the size of the tree does not depend on the addresses in it.
        let ramdisk_size = files.ramdisk.len() as u64;
        let draft = tree(Region::new(self.ram().start, ramdisk_size))?.bytes().len() as u64;
        let load = load(self.config, files, draft, self.space.iter().filter_map(Mapping::head))?;
        Ok(Start { tree: tree(load.ramdisk)?, load })
    }
}

/// Plans what goes where in a VM's memory, with a device tree of `tree` bytes. What is in `heads` is only cleared.
///
/// # Errors
/// The kernel is none, or something does not fit.
pub fn load(
    config: &VmConfig,
    files: &Files<'_>,
    tree: u64,
    heads: impl Iterator<Item = Region<Ipa>>,
) -> Result<LoadPlan, Refusal> {
    let refuse = |cause: &dyn Cause| Refusal::of(&config.name, cause);
    let mut flashes = Vec::new();
    for (index, flash) in config.flash.iter().enumerate() {
        let file = files.flash.get(index).map_or(0, |file| file.bytes.len() as u64);
        if file > flash.size {
            return Err(refuse(&Trouble::FlashFile { region: &flash.name, size: flash.size, file }));
        }
        flashes.push((flash.place(), file));
    }
    flashes.extend(heads.map(|head| (head, 0)));
    let kind = kernel::identify(files.kernel, config.kernel.format).map_err(|error| refuse(&error))?;
    let ram = Region { start: config.memory_ipa, size: config.memory_bytes };
    let memory = kernel::Memory { ram, flashes: &flashes };
    let load = kernel::plan(&kind, files.kernel, memory, files.ramdisk.len() as u64, tree);
    let load = load.map_err(|error| refuse(&error))?;
    let twice = load.loads.iter().filter(|part| part.to.overlaps(&load.kernel));
    let twice = twice.filter_map(|part| if let Origin::Flash(index) = part.origin { Some(index) } else { None });
    if let Some(flash) = twice.filter_map(|index| config.flash.get(index)).next() {
        return Err(refuse(&Trouble::FlashTwice { region: &flash.name, kernel: load.kernel.start }));
    }
    Ok(load)
}
