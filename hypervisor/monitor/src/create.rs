//! Making VMs: what a plan says is taken, granted, mapped, and made ready to be loaded.
//!
//! Everything is decided in `plan`; what is left to go wrong here is that something cannot be had.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::context::Context;
use assay_el2::stage2::Regime;
use assay_el2::traps::Config;
use assay_el2::{cpu, float, guest_regs, heap, percpu, rtc};
use assay_model::holes::Holes;
use assay_model::loader::Loader;
use assay_model::rtc::Rtc;
use assay_model::schedule::{Placement, Share};
use assay_model::smccc::{self, Workarounds};
use assay_plan::claims::{self, VmClaims, World};
use assay_plan::heap as needs;
use assay_plan::idregs::{HostId, VmFeatures};
use assay_plan::platform::HostPlatform;
use assay_plan::policy::line::{NoticeLine, Quoted, UncheckedLine};
use assay_plan::refusal::Refusal;
use assay_plan::space::{Backing, Mapping};
use assay_plan::vm_plan::{self, Cpus, Files, HostFacts, Left, Planner, Shortage, Start, VmPlan};
use assay_plan::vm_tree::{FlashAccess, VmConfig};
use assay_spec::cpu_id::PcpuId;
use assay_spec::sysreg::SysReg;

use crate::adapter::Ram;
use crate::at_start::AtStart;
use crate::bundle::Guests;
use crate::coherent::Pool;
use crate::console::say;
use crate::device::Device;
use crate::early::EarlyRam;
use crate::flash::Chip;
use crate::load::Contents;
use crate::pci::{Owned, Ready};
use crate::shared::{self, Regions};
use crate::vm::{Parts, Place, Sharing, Vm, virtio};
use crate::{cpus, seeds};

mod space;

use space::Holdings;

/// The VMs that were made.
pub(crate) struct Made {
    /// All of them, in the manifest's order.
    pub(crate) vms: Vec<&'static Vm>,
    /// The CPUs that no VM has for itself.
    pub(crate) shared_cpus: Vec<PcpuId>,
    /// The VMs that share them, in the order in which the scheduler counts their vCPUs.
    pub(crate) members: Vec<Member>,
    /// The memory between VMs.
    pub(crate) regions: Regions,
}

/// A VM that shares CPUs.
pub(crate) struct Member {
    pub(crate) vm: &'static Vm,
    pub(crate) share: Share,
    pub(crate) contexts: Vec<Context>,
}

/// Makes every VM that can be made; the others are refused, and stop nobody.
pub(crate) fn all<'a>(guests: &Guests, host: &'a HostId, world: World<'a>, coherent: &mut Pool<'_>) -> Made {
    let to_run = needs::to_run(world.vms);
    let mut claims = claims::resolve(&world);
    vm_plan::order(&mut claims);
    let mut planner = Planner::new(world, facts(host, world.machine), Left::new(cpus::free(), None, world.vms));
    let mut stock = Stock {
        guests,
        host,
        machine: world.machine,
        coherent,
        shared: Regions::default(),
        early: EarlyRam::default(),
        members: Vec::new(),
        pool: Vec::new(),
    };
    for claims in claims.iter().filter(|claims| claims.config.unchecked_dma && claims.starts()) {
        // What is in use already is said when it is the VM's turn.
        let _ = stock.early.take(claims.config);
    }
    // By their place in the manifest.
    let mut made: Vec<Option<&'static Vm>> = world.vms.iter().map(|_| None).collect();
    for claims in &claims {
        notice(world.machine, claims);
        let needed = needs::to_make(claims.config);
        if !heap::reserve(needed + to_run) {
            say!("{}", Refusal::of(&claims.config.name, &Shortage::Heap(needed)));
            continue;
        }
        let plan = match planner.plan(claims) {
            Ok(plan) => plan,
            Err(refusals) => {
                refusals.iter().for_each(|refusal| say!("{refusal}"));
                continue;
            }
        };
        let (place, left) = (plan.vm, planner.left.without(&plan));
        stock.pool.clone_from(&left.cpus);
        match stock.make(plan) {
            Ok(vm) => {
                made[place] = Some(vm);
                planner.left = left;
            }
            Err(refusal) => {
                say!("{refusal}");
                // Its VMID may be in use by now.
                planner.left.spend_vmid();
            }
        }
    }
    let vms: Vec<&'static Vm> = made.into_iter().flatten().collect();
    shared::connect(&vms);
    virtio::connect(&vms);
    warn_of_branches(&stock.members);
    Made { vms, shared_cpus: planner.left.cpus, members: stock.members, regions: stock.shared }
}

/// The CPUs that a VM's vCPUs have for themselves, or where their registers are kept while they have none.
fn places(cpus: &Cpus, registers: guest_regs::Optional) -> Result<(Vec<PcpuId>, Vec<Context>), Shortage> {
    Ok(match cpus {
        Cpus::Dedicated(cpus) => (cpus.clone(), Vec::new()),
        Cpus::Shared(share) => (Vec::new(), Context::make(share.vcpus.len(), registers).ok_or(Shortage::Registers)?),
    })
}

/// What this machine is, as far as a VM's plan asks.
fn facts<'a>(host: &'a HostId, machine: &HostPlatform) -> HostFacts<'a> {
    let frequency = cpu::counter_frequency();
    let clock = machine.rtc.and_then(rtc::seconds);
    HostFacts {
        id: host,
        kinds: cpus::kinds(),
        counter_frequency: frequency,
        workarounds: workarounds(host),
        rtc: clock.map(|seconds| Rtc { seconds, at: cpu::counter(), frequency: frequency.max(1) }),
    }
}

/// Says so if VMs can steer the branches of others that have the same CPUs, and nobody offers help.
fn warn_of_branches(members: &[Member]) {
    let is_open = |member: &Member| member.vm.machine.workarounds.is_branch_prediction_shared();
    if members.len() > 1 && members.iter().any(is_open) {
        let names: Vec<&str> = members.iter().map(|member| &*member.vm.name).collect();
        say!(
            "warning vms={} reason=\"they share CPUs that do not keep their branch prediction apart (ID_AA64PFR0_EL1.CSV2 = 0), and firmware has no SMCCC_ARCH_WORKAROUND_1: let VMs that do not trust each other have CPUs of their own\"",
            names.join(",")
        );
    }
}

/// Prints what is to be said beside the decisions.
fn notice(machine: &HostPlatform, claims: &VmClaims<'_>) {
    let vm = &claims.config.name;
    for device in claims::unchecked(machine, claims.config) {
        say!("{}", UncheckedLine { vm, node: &device.path });
    }
    for row in &claims.rows {
        for notice in row.notices().iter() {
            say!("{}", NoticeLine { vm, region: row.region, notice });
        }
        if let Backing::Lent(client) = row.backing {
            say!(
                "warning vm={vm} region={} reason=\"the VM is a backend of VM {}, and sees and writes all of its RAM\"",
                row.region,
                client.name
            );
        }
    }
}

/// Prints what is wrong with regions that no VM claims, or that only one shares: nobody would hear of it otherwise.
pub(crate) fn warn_of_unclaimed(world: &World<'_>) {
    for (node, denied) in claims::unclaimed_faults(world) {
        say!("warning region={} rule={} reason={}", node.name, denied.rule, Quoted(&denied.reason));
    }
    for (region, vm) in claims::shared_by_one(world) {
        say!("warning vm={vm} region={region} reason=\"no other VM shares the region\"");
    }
    for odd in world.machine.oddities() {
        say!("warning node={} reason={}", odd.node, Quoted(&odd.reason));
    }
    for node in claims::without_no_map(world) {
        say!("warning region={} reason=\"the node has no no-map, which the binding requires: add it\"", node.name);
    }
}

/// What VMs are made of.
struct Stock<'a, 'p> {
    guests: &'a Guests,
    host: &'a HostId,
    machine: &'a HostPlatform,
    coherent: &'a mut Pool<'p>,
    shared: Regions,
    early: EarlyRam,
    /// The VMs that share CPUs.
    members: Vec<Member>,
    /// The CPUs that no VM has for itself: all of them once VMs that share are made, which come last.
    pool: Vec<PcpuId>,
}

impl Stock<'_, '_> {
    /// Makes a VM as it is planned.
    fn make(&mut self, plan: VmPlan<'_>) -> Result<&'static Vm, Refusal> {
        let name = &plan.config.name;
        let files = self.guests.files(plan.config).map_err(|missing| Refusal::of(name, &missing))?;
        let start = plan.start(&files, seeds::next())?;
        let share = match &plan.cpus {
            Cpus::Shared(share) => Some(share.clone()),
            Cpus::Dedicated(_) => None,
        };
        let (vm, contexts) =
            self.assemble(plan, &files, start).map_err(|shortage| Refusal::of(name, &shortage.blame(self.machine)))?;
        let vm: &'static Vm = Box::leak(vm);
        if let Some(share) = share {
            self.members.push(Member { vm, share, contexts });
        }
        Ok(vm)
    }

    /// Takes, grants and maps; returns also the contexts of vCPUs that share CPUs.
    fn assemble(
        &mut self,
        plan: VmPlan<'_>,
        files: &Files<'static>,
        start: Start,
    ) -> Result<(Box<Vm>, Vec<Context>), Shortage> {
        let VmFeatures { pauth, mte, sve, pmu, .. } = plan.features;
        let (host, registers) = (self.host, guest_regs::Optional { pauth, mte, sve, pmu });
        let mut holdings = Holdings::take(&plan, self.coherent, &mut self.shared, &mut self.early)?;
        let (cpus, contexts) = places(&plan.cpus, registers)?;
        let (tables, regime) = holdings.map(&plan, host, (&self.shared, &self.early))?;
        let device_tables = holdings.map_devices(&plan, host, &tables)?;
        let regime_of_devices = device_tables.as_ref().map(|(_, regime)| *regime);
        let home = self.home(&plan.cpus);
        let at_start = plan.has_proof_at_start();
        let take = |function| Owned::take(self.machine, function, regime_of_devices, home, at_start);
        let functions = plan.functions.iter().map(take).collect::<Result<Vec<_>, _>>()?;
        let (functions, guest_functions) = functions.into_iter().unzip();
        let devices = plan.devices.iter().map(|device| Device::take(self.machine, device, regime_of_devices));
        let of_bar = |node| Ready::of_bar(self.machine, node, host.pa_range_bits()).transpose();
        let beside = plan.bars_at_start().into_iter().filter_map(of_bar);
        let first = self.members.iter().map(|member| member.contexts.len()).sum();
        let (vcpus, time) = (plan.machine.vcpus, holdings.stolen_time);
        // Boxed here: it is large, and each move of it is a copy on the boot's stack.
        let vm = Box::new(Vm::new(Parts {
            name: plan.config.name.clone(),
            config: config(&plan, regime),
            registers,
            contents: Contents {
                ram: Ram { parts: holdings.ram, holes: Holes::default() },
                proof: AtStart::new(&plan, &holdings.coherent),
                coherent: holdings.coherent,
                loader: Loader::new(start.load, files.sums),
                kernel: files.kernel,
                ramdisk: files.ramdisk,
                flash: files.flash.clone(),
                chips: chips(plan.config),
                tree: start.tree,
                fwb: host.fwb(),
                tables,
                device_tables: device_tables.map(|(tables, _)| tables),
                is_used: false,
                is_loading: false,
                is_proving: false,
                cleaned: None,
            },
            functions,
            platform: devices.collect::<Result<_, _>>()?,
            beside: beside.collect::<Result<_, _>>()?,
            guest_functions,
            life: plan.life(cpu::counter_frequency()),
            cpus,
            listing: holdings.listing,
            regions: plan.coherent_regions().map(String::from).collect(),
            places: plan.space.iter().map(place).collect(),
            sharing: time.map(|time| Sharing::new(first, vcpus, cpus::count(), time)),
            traps: plan.traps,
            machine: plan.machine,
        }));
        Ok((vm, contexts))
    }

    /// Returns where the messages of a VM's devices come to: a CPU that its vCPUs may be on, since a storm takes time from
    /// it.
    fn home(&self, cpus: &Cpus) -> PcpuId {
        let home = match cpus {
            Cpus::Dedicated(cpus) => cpus.first().copied(),
            Cpus::Shared(share) => {
                share.vcpus.iter().find_map(|vcpu| if let Placement::On(cpu) = vcpu { Some(*cpu) } else { None })
            }
        };
        home.or(self.pool.first().copied()).unwrap_or_else(percpu::index)
    }
}

fn place(mapping: &Mapping<'_>) -> Place {
    Place { ipa: mapping.ipa, name: String::from(&*mapping.name), stays: mapping.stays() }
}

fn chips(config: &VmConfig) -> Vec<Chip> {
    let flashes = config.flash.iter().filter(|flash| flash.access == FlashAccess::Commands);
    flashes.map(|flash| Chip::new(flash.place())).collect()
}

fn config(plan: &VmPlan<'_>, stage2: Regime) -> Config {
    // The longest vectors that the hardware has; of a vCPU that moves, those that all CPUs have.
    let vectors = if matches!(plan.cpus, Cpus::Dedicated(_)) { 0xf } else { float::vector_length() };
    Config { traps: plan.traps[0], zcr: plan.features.sve.then_some(vectors), stage2, vpidr: 0, vmpidr: 0 }
}

fn workarounds(host: &HostId) -> Workarounds {
    Workarounds::new(&smccc::HostFacts {
        csv2: host.field(SysReg::ID_AA64PFR0_EL1, 56),
        ssbs: host.ssbs(),
        firmware: cpus::workarounds(),
    })
}
