//! Refusals that are not about a region, as far as the host can know: CPUs (V1) and the sum of RAM (V2).
//!
//! EL2 hands out CPUs in the order of `/cpus` and RAM by powers of two; this counts both. VMs that share CPUs
//! come after those that do not, and get what is left. It cannot know
//! what EL2's image and bundle take of RAM, nor that firmware fails to start a CPU.

use assay_plan::claims::{SharedRow, VmClaims};
use assay_plan::platform::{HostGic, HostPlatform};
use assay_plan::policy::Rule;
use assay_plan::ranges::{subtract, widen};
use assay_plan::vm_tree::{CpuClaim, Sched, VmConfig};
use assay_spec::addr::PAGE_SIZE;

/// The most CPUs of a GICv2 (IHI0048B 1.2).
const GICV2_CPUS: usize = 8;

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) rule: Rule,
    pub(super) reason: String,
    pub(super) remedy: &'static str,
}

/// What is left of the machine while VMs are given theirs.
pub(super) struct Left {
    cpus: Vec<usize>,
    /// CPUs that VMs which share CPUs have listed: nobody gets them for itself.
    listed: Vec<usize>,
    gic_v2: bool,
    /// Bytes of RAM that may have tags, and that have none.
    tagged: u64,
    plain: u64,
    /// The regions between VMs that have their memory by now.
    shared: Vec<String>,
}

impl Left {
    pub(super) fn of(machine: &HostPlatform, vms: &[VmConfig]) -> Self {
        let listed = vms.iter().filter_map(|vm| match &vm.cpus {
            CpuClaim::List(list) if vm.sched != Sched::Dedicated => Some(list),
            _ => None,
        });
        let mut left = Self {
            cpus: (0..machine.cpus.len()).collect(),
            listed: listed.flatten().copied().collect(),
            gic_v2: matches!(machine.gic.version, HostGic::V2 { .. }),
            tagged: 0,
            plain: 0,
            shared: Vec::new(),
        };
        for node in &machine.memory {
            let mut free = vec![node.region];
            let reserved = machine.reserved.iter().map(|other| other.region);
            let coherent = machine.coherent.iter().filter_map(|node| node.reg);
            for hole in reserved.chain(coherent) {
                subtract(&mut free, &widen(&hole, PAGE_SIZE));
            }
            let bytes = free.iter().map(|region| region.size).sum::<u64>();
            if node.no_mte {
                left.plain += bytes;
            } else {
                left.tagged += bytes;
            }
        }
        left
    }

    /// Takes what `vm` wants, all or nothing.
    pub(super) fn take(&mut self, vm: &VmConfig, claims: &VmClaims<'_>) -> Result<(), Unfit> {
        let cpus = if vm.sched == Sched::Dedicated {
            self.choose(&vm.cpus)?
        } else {
            self.share(&vm.cpus)?;
            Vec::new()
        };
        let vcpus = vm.cpus.count();
        if self.gic_v2 && vcpus > GICV2_CPUS {
            return Err(Unfit {
                rule: Rule::V1,
                reason: format!("{vcpus} vCPUs, and a GICv2 takes {GICV2_CPUS}"),
                remedy: "give the VM at most 8 `cpus`",
            });
        }
        for part in &claims.shared {
            self.take_region(part)?;
        }
        let (plain, tagged) = self.without(vm.memory_bytes, vm.mte).map_err(|(what, there)| Unfit {
            rule: Rule::V2,
            reason: format!("{} MiB{what} are wanted and at most {} MiB are free", vm.memory_bytes >> 20, there >> 20),
            remedy: "give the VM less `memory`, or the machine more (QEMU: -m)",
        })?;
        self.cpus.retain(|cpu| !cpus.contains(cpu));
        (self.plain, self.tagged) = (plain, tagged);
        Ok(())
    }

    /// Takes the memory of a region between VMs for the first of them; it stays the region's.
    fn take_region(&mut self, part: &SharedRow<'_>) -> Result<(), Unfit> {
        if self.shared.iter().any(|name| name == part.region) {
            return Ok(());
        }
        let left = self.without(part.size, part.tagged);
        (self.plain, self.tagged) = left.map_err(|(what, there)| Unfit {
            rule: Rule::V2,
            reason: format!(
                "{} KiB{what} are wanted for shared region {} and at most {} KiB are free",
                part.size >> 10,
                part.region,
                there >> 10
            ),
            remedy: "make the region smaller, or the machine's memory larger (QEMU: -m)",
        })?;
        self.shared.push(part.region.to_owned());
        Ok(())
    }

    /// What plain and tagged RAM is left without `bytes`; or of what there is too little, and how much there is.
    fn without(&self, bytes: u64, mte: bool) -> Result<(u64, u64), (&'static str, u64)> {
        // EL2 takes plain RAM first, for those that want no tags.
        let plain = if mte { 0 } else { bytes.min(self.plain) };
        match self.tagged.checked_sub(bytes - plain) {
            Some(tagged) => Ok((self.plain - plain, tagged)),
            None if mte => Err((" of memory with tags", self.tagged)),
            None => Err(("", self.tagged + self.plain)),
        }
    }

    fn choose(&self, wanted: &CpuClaim) -> Result<Vec<usize>, Unfit> {
        let mut free = self.cpus.clone();
        free.retain(|cpu| !self.listed.contains(cpu));
        match wanted {
            CpuClaim::Count(count) if *count <= free.len() => Ok(free[..*count].to_vec()),
            CpuClaim::Count(count) => Err(Unfit {
                rule: Rule::V1,
                reason: format!("{count} CPUs are wanted and {} are free", free.len()),
                remedy: "give the VM fewer `cpus`, or the machine more (QEMU: -smp)",
            }),
            CpuClaim::List(list) => match list.iter().find(|cpu| !free.contains(cpu)) {
                None => Ok(list.clone()),
                Some(cpu) => Err(Unfit {
                    rule: Rule::V1,
                    reason: format!("CPU {cpu} is not there, or another VM's"),
                    remedy: "name other CPUs in `cpus`, by their place in /cpus",
                }),
            },
        }
    }

    fn share(&self, wanted: &CpuClaim) -> Result<(), Unfit> {
        if self.cpus.is_empty() {
            return Err(Unfit {
                rule: Rule::V1,
                reason: "no CPU is left that could be shared".to_owned(),
                remedy: "give the VMs without `sched = \"shared\"` fewer `cpus`, or the machine more (QEMU: -smp)",
            });
        }
        let CpuClaim::List(list) = wanted else {
            return Ok(());
        };
        match list.iter().find(|cpu| !self.cpus.contains(cpu)) {
            None => Ok(()),
            Some(cpu) => Err(Unfit {
                rule: Rule::V1,
                reason: format!("CPU {cpu} is not there, or a VM's own"),
                remedy: "name other CPUs in `cpus`, by their place in /cpus",
            }),
        }
    }
}
