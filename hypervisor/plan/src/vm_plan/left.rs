//! What is left of the machine while VMs are given theirs: CPUs, memory, VMIDs.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use assay_model::schedule::{Cap, Placement, Share};
use assay_spec::addr::{Ipa, PAGE_SIZE};
use assay_spec::cpu_id::PcpuId;

use super::{Cpus, VmPlan};
use crate::idregs::HostId;
use crate::platform::HostPlatform;
use crate::ranges::{subtract, widen};
use crate::space::{Backing, Mapping};
use crate::vm_tree::{CapMicroseconds, CpuClaim, Sched, VmConfig};

/// What no VM has by now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// The CPUs, lowest first. Once VMs that share CPUs are planned, these are the ones that they share.
    pub cpus: Vec<PcpuId>,
    /// CPUs that VMs which share CPUs have listed: nobody gets them for itself.
    listed: Vec<PcpuId>,
    /// The RAM, where its sum is all that is known; at EL2, taking it shows whether there is enough.
    memory: Option<Memory>,
    /// The regions between VMs that have their memory by now.
    shared: Vec<String>,
    /// How many VMs have been given theirs.
    vms: usize,
}

/// Bytes of RAM that may have tags, and that have none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    tagged: u64,
    plain: u64,
}

/// What a machine has too little of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shortage {
    /// So many CPUs are wanted, so many are free.
    Cpus(usize, usize),
    /// This CPU cannot be the VM's own.
    Cpu(PcpuId),
    /// No CPU is left that could be shared.
    NoneShared,
    /// This CPU cannot be shared.
    SharedCpu(PcpuId),
    /// So many vCPUs are more than a VM takes.
    Vcpus(usize),
    /// So many vCPUs are more than a GICv2 takes.
    VcpusOfGicV2(usize),
    /// The CPUs have no performance monitors, or the tree names none whose interrupt is private.
    Pmu,
    /// There are more VMs than VMIDs.
    Vmids,
    /// So many bytes of RAM, with tags or any.
    Ram(u64, bool),
    /// The same, of so many that are free.
    RamOf(u64, bool, u64),
    /// From this address on in the machine, so many bytes of RAM, with tags or any.
    RamAt(Ipa, u64, bool),
    /// So many bytes for the region of this name, with tags or any.
    Shared(String, u64, bool),
    /// The same, of so many that are free.
    SharedOf(String, u64, bool, u64),
    /// RAM with tags, while these memory nodes have none (`arm,no-mte`).
    Tagged(Box<Shortage>, String),
    /// Memory for the registers of vCPUs.
    Registers,
    /// So many bytes for what EL2 itself keeps of the VM.
    Heap(usize),
    /// Memory for stage-2 tables.
    Tables(String),
    /// The memory of this region is in use.
    InUse(String),
    /// The registers of this name are in use.
    RegistersInUse(String),
    /// The GIC of this path has its virtual interface where memory is.
    Interface(String),
    /// The policy refuses a device.
    Device(String),
    /// The PCI host bridge is gone.
    NoBridge,
    /// The ITS of this path does not take the messages of the VM's devices.
    Messages(String, String),
    /// The SMMU of this path does not do what the VM's devices need.
    Dma(String, String),
    /// The tables and VTCR_EL2 contradict each other.
    Vtcr,
}

impl Shortage {
    /// Of memory with tags, names the nodes whose memory such a VM does not get (rule M3).
    pub fn blame(self, machine: &HostPlatform) -> Self {
        let wants_tags = match &self {
            Self::Ram(_, tagged) | Self::RamOf(_, tagged, _) | Self::RamAt(_, _, tagged) => *tagged,
            Self::Shared(_, _, tagged) | Self::SharedOf(_, _, tagged, _) => *tagged,
            _ => false,
        };
        let mut nodes: Vec<&str> = Vec::new();
        for node in machine.memory.iter().filter(|node| node.no_mte && wants_tags) {
            if !nodes.contains(&node.path.as_str()) {
                nodes.push(&node.path);
            }
        }
        if nodes.is_empty() { self } else { Self::Tagged(Box::new(self), nodes.join(", ")) }
    }

    /// Names the region that M3 refuses; what else there is too little of is not a region's.
    pub(crate) fn refused_region(&self) -> Option<&str> {
        match self {
            Self::Tagged(shortage, _) => Some(match &**shortage {
                Self::Shared(region, ..) | Self::SharedOf(region, ..) => region,
                _ => "memory",
            }),
            _ => None,
        }
    }
}

impl Memory {
    /// Sums up what of a platform's RAM nobody has reserved. What EL2's image and the bundle take is not known here.
    pub fn of(machine: &HostPlatform) -> Self {
        let mut memory = Self { tagged: 0, plain: 0 };
        for node in &machine.memory {
            let mut free = [node.region].to_vec();
            for hole in machine.not_free() {
                subtract(&mut free, &widen(&hole, PAGE_SIZE));
            }
            let bytes = free.iter().map(|region| region.size).sum::<u64>();
            *if node.no_mte { &mut memory.plain } else { &mut memory.tagged } += bytes;
        }
        memory
    }

    /// What is left without `bytes`, or how much there is. EL2 takes plain RAM first, for those that want no tags.
    fn without(self, bytes: u64, tagged: bool) -> Result<Self, u64> {
        let plain = if tagged { 0 } else { bytes.min(self.plain) };
        let there = if tagged { self.tagged } else { self.tagged + self.plain };
        let tagged = self.tagged.checked_sub(bytes - plain).ok_or(there)?;
        Ok(Self { tagged, plain: self.plain - plain })
    }
}

impl Left {
    /// All of a machine, for these VMs.
    pub fn new(cpus: Vec<PcpuId>, memory: Option<Memory>, vms: &[VmConfig]) -> Self {
        let lists = vms.iter().filter_map(|vm| match &vm.cpus {
            CpuClaim::List(list) if vm.sched != Sched::Dedicated => Some(list),
            _ => None,
        });
        Self { cpus, listed: lists.flatten().copied().collect(), memory, shared: Vec::new(), vms: 0 }
    }

    /// Returns what is left once a VM has what is planned for it.
    pub fn without(&self, plan: &VmPlan<'_>) -> Self {
        let mut left = self.clone();
        if let Cpus::Dedicated(cpus) = &plan.cpus {
            left.cpus.retain(|cpu| !cpus.contains(cpu));
        }
        // The plan's making has checked that it suffices.
        left.memory = self.after(plan.config, &plan.space).unwrap_or(self.memory);
        let shares = plan.space.iter().filter(|mapping| mapping.share().is_some());
        left.shared.extend(shares.map(|mapping| mapping.name.as_ref().to_owned()));
        left.vms += 1;
        left
    }

    /// Notes that the VMID of the VM that was planned last is nobody's any more, although the VM is not made.
    pub const fn spend_vmid(&mut self) {
        self.vms += 1;
    }

    /// Says whether the sum of RAM suffices, as far as it is known.
    pub(super) fn check(&self, vm: &VmConfig, space: &[Mapping<'_>]) -> Result<(), Shortage> {
        self.after(vm, space).map(|_| ())
    }

    fn after(&self, vm: &VmConfig, space: &[Mapping<'_>]) -> Result<Option<Memory>, Shortage> {
        let Some(mut left) = self.memory else {
            return Ok(None);
        };
        for mapping in space {
            if let Backing::Shared(share) = &mapping.backing
                && !self.shared.iter().any(|name| *name == mapping.name)
            {
                let (size, tagged) = (mapping.ipa.size, share.tagged);
                let none = |there| Shortage::SharedOf(mapping.name.as_ref().to_owned(), size, tagged, there);
                left = left.without(size, tagged).map_err(none)?;
            }
        }
        let heads: u64 = space.iter().filter_map(Mapping::head).map(|head| head.size).sum();
        let bytes = vm.own_bytes().saturating_add(heads);
        let none = |there| Shortage::RamOf(bytes, vm.mte, there);
        left.without(bytes, vm.mte).map(Some).map_err(none)
    }

    /// Returns the next VM's VMID.
    pub(super) fn vmid(&self, host: &HostId) -> Result<u16, Shortage> {
        let most = if host.vmid16() { u16::MAX } else { u8::MAX.into() };
        u16::try_from(self.vms + 1).ok().filter(|vmid| *vmid <= most).ok_or(Shortage::Vmids)
    }

    /// Chooses CPUs for a VM. VMs with CPUs of their own choose first.
    pub(super) fn choose(&self, vm: &VmConfig, counter_frequency: u64) -> Result<Cpus, Shortage> {
        match vm.sched {
            Sched::Dedicated => self.dedicate(&vm.cpus).map(Cpus::Dedicated),
            Sched::Shared { weight, cap } => {
                let cap = cap.map(|cap| ticks(cap, counter_frequency));
                Ok(Cpus::Shared(Share { weight, cap, vcpus: self.share(&vm.cpus)? }))
            }
        }
    }

    fn dedicate(&self, claim: &CpuClaim) -> Result<Vec<PcpuId>, Shortage> {
        let free: Vec<PcpuId> = self.cpus.iter().copied().filter(|cpu| !self.listed.contains(cpu)).collect();
        match claim {
            CpuClaim::Count(count) if *count <= free.len() => Ok(free[..*count].to_vec()),
            CpuClaim::Count(count) => Err(Shortage::Cpus(*count, free.len())),
            CpuClaim::List(list) => match list.iter().find(|cpu| !free.contains(cpu)) {
                None => Ok(list.clone()),
                Some(cpu) => Err(Shortage::Cpu(*cpu)),
            },
        }
    }

    fn share(&self, claim: &CpuClaim) -> Result<Vec<Placement>, Shortage> {
        if self.cpus.is_empty() {
            return Err(Shortage::NoneShared);
        }
        match claim {
            CpuClaim::Count(count) => Ok((0..*count).map(|_| Placement::Any).collect()),
            CpuClaim::List(list) => match list.iter().find(|cpu| !self.cpus.contains(cpu)) {
                None => Ok(list.iter().copied().map(Placement::On).collect()),
                Some(cpu) => Err(Shortage::SharedCpu(*cpu)),
            },
        }
    }
}

fn ticks(cap: CapMicroseconds, counter_frequency: u64) -> Cap {
    let ticks = |microseconds: u32| (u64::from(microseconds).saturating_mul(counter_frequency) / 1_000_000).max(1);
    Cap { budget: ticks(cap.budget), period: ticks(cap.period) }
}
