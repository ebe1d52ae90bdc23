//! Which physical CPUs a VM gets, or shares.

use alloc::format;
use alloc::vec::Vec;

use assay_el2::context::Context;
use assay_el2::cpu;
use assay_el2::frames::{self, Pool};
use assay_el2::guest_ram::GuestRam;
use assay_el2::guest_regs::Optional;
use assay_model::layout;
use assay_model::schedule::{Cap, Placement, Share};
use assay_model::vgic::{VCPUS_MAX_V2, VCPUS_MAX_V3, Version};
use assay_plan::platform::{self, HostGic};
use assay_plan::vm_tree::{CapMicroseconds, CpuClaim, Sched, VmConfig};

use super::Member;
use super::{Refused, refuse};
use crate::cpus;

/// The CPUs, as they are given away.
pub(super) struct Room {
    /// CPUs that VMs which share CPUs have listed: nobody gets them for itself.
    listed: Vec<usize>,
    /// The CPUs that are shared, once those that are not have been chosen.
    shared: Vec<usize>,
    /// The VMs that share them.
    pub(super) members: Vec<Member>,
}

/// Where a VM runs.
pub(super) enum Place {
    /// On these CPUs, a vCPU each.
    Dedicated(Vec<usize>),
    /// On CPUs that it shares.
    Shared(Share),
}

impl Place {
    /// Returns how many vCPUs that makes.
    pub(super) fn vcpus(&self) -> usize {
        match self {
            Self::Dedicated(cpus) => cpus.len(),
            Self::Shared(share) => share.vcpus.len(),
        }
    }
}

impl Room {
    pub(super) fn new(vms: &[VmConfig]) -> Self {
        let lists = vms.iter().filter_map(|config| match &config.cpus {
            CpuClaim::List(list) if config.sched != Sched::Dedicated => Some(list),
            _ => None,
        });
        Self { listed: lists.flatten().copied().collect(), shared: Vec::new(), members: Vec::new() }
    }

    /// Says that every CPU that is free now is shared.
    pub(super) fn share_the_rest(&mut self) {
        self.shared = cpus::free();
    }

    /// Returns the shared CPUs, and the VMs that share them.
    pub(super) fn shared(self) -> (Vec<usize>, Vec<Member>) {
        (self.shared, self.members)
    }

    /// Returns how many vCPUs share CPUs by now.
    pub(super) fn shared_vcpus(&self) -> usize {
        self.members.iter().map(|member| member.contexts.len()).sum()
    }

    /// Chooses CPUs for a VM.
    pub(super) fn choose(&self, config: &VmConfig) -> Result<Place, Option<Refused>> {
        match config.sched {
            Sched::Dedicated => self.dedicate(&config.cpus).map(Place::Dedicated),
            Sched::Shared { weight, cap } => {
                Ok(Place::Shared(Share { weight, cap: cap.map(ticks), vcpus: self.share(&config.cpus)? }))
            }
        }
    }

    fn dedicate(&self, claim: &CpuClaim) -> Result<Vec<usize>, Option<Refused>> {
        let mut free = cpus::free();
        free.retain(|cpu| !self.listed.contains(cpu));
        match claim {
            CpuClaim::Count(count) if *count <= free.len() => Ok(free.into_iter().take(*count).collect()),
            CpuClaim::Count(count) => Err(refuse(
                "V1",
                format!("{count} CPUs are wanted and {} are free", free.len()),
                "give the VM fewer `cpus`, or the machine more (QEMU: -smp)",
            )),
            CpuClaim::List(list) => match list.iter().find(|cpu| !free.contains(cpu)) {
                None => Ok(list.clone()),
                Some(cpu) => Err(refuse(
                    "V1",
                    format!("CPU {cpu} is not there, not usable, or another VM's"),
                    "name other CPUs in `cpus`, by their place in /cpus",
                )),
            },
        }
    }

    fn share(&self, claim: &CpuClaim) -> Result<Vec<Placement>, Option<Refused>> {
        if self.shared.is_empty() {
            return Err(refuse(
                "V1",
                "no CPU is left that could be shared",
                "give the VMs without `sched = \"shared\"` fewer `cpus`, or the machine more (QEMU: -smp)",
            ));
        }
        match claim {
            CpuClaim::Count(count) => Ok((0..*count).map(|_| Placement::Any).collect()),
            CpuClaim::List(list) => match list.iter().find(|cpu| !self.shared.contains(cpu)) {
                None => Ok(list.iter().copied().map(Placement::On).collect()),
                Some(cpu) => Err(refuse(
                    "V1",
                    format!("CPU {cpu} is not there, not usable, or a VM's own"),
                    "name other CPUs in `cpus`, by their place in /cpus",
                )),
            },
        }
    }
}

fn ticks(cap: CapMicroseconds) -> Cap {
    let ticks = |microseconds: u32| {
        let ticks = u128::from(microseconds) * u128::from(cpu::counter_frequency()) / 1_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    };
    Cap { budget: ticks(cap.budget), period: ticks(cap.period) }
}

/// What the scheduler gets of a VM that shares CPUs.
pub(super) struct Seats {
    pub(super) share: Share,
    pub(super) contexts: Vec<Context>,
}

/// What a VM that shares CPUs needs besides.
pub(super) struct Shared {
    pub(super) seats: Seats,
    /// Where its vCPUs read their stolen time.
    pub(super) time: GuestRam,
}

impl Shared {
    /// Takes the memory for it. `tagged`: the guest may look at the tags of all memory that it reads.
    pub(super) fn new(share: Share, registers: Optional, tagged: bool) -> Result<Self, Option<Refused>> {
        let no_memory = || {
            refuse(
                "V2",
                "there is no memory for the registers of its vCPUs",
                "give the VM less `memory` or fewer `cpus`, or the machine more (QEMU: -m)",
            )
        };
        let contexts = Context::make(share.vcpus.len(), registers).ok_or_else(no_memory)?;
        let size = layout::STOLEN_TIME.size;
        let time = if tagged { frames::take_from(Pool::Tagged, size) } else { frames::take(size) };
        let mut time = GuestRam::new(time.ok_or_else(no_memory)?);
        // All of it, so it is in range.
        let _ = time.zero(0..size);
        Ok(Self { seats: Seats { share, contexts }, time })
    }
}

/// Returns the interrupt controller that the VM gets.
pub(super) fn gic_of(machine: &platform::HostPlatform, vcpus: usize) -> Result<Version, Option<Refused>> {
    match machine.gic.version {
        HostGic::V3 { .. } if vcpus <= VCPUS_MAX_V3 => Ok(Version::V3),
        HostGic::V3 { .. } => {
            Err(refuse("V1", format!("{vcpus} vCPUs, and a VM takes {VCPUS_MAX_V3}"), "give the VM at most 64 `cpus`"))
        }
        HostGic::V2 { .. } if vcpus <= VCPUS_MAX_V2 => Ok(Version::V2),
        HostGic::V2 { .. } => Err(refuse(
            "V1",
            format!("{vcpus} vCPUs, and a GICv2 takes {VCPUS_MAX_V2}"),
            "give the VM at most 8 `cpus`",
        )),
    }
}
