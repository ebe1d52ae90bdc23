//! Making VMs from what the VM tree asks for and what the policy allows.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use assay_el2::context::Context;
use assay_el2::stage2::Regime;
use assay_el2::traps::Config;
use assay_el2::{cpu, firmware, float, guest_regs};
use assay_model::doorbell::Doorbells;
use assay_model::layout;
use assay_model::life::Life;
use assay_model::loader::{KernelError, Loader};
use assay_model::psci;
use assay_model::schedule::Share;
use assay_model::smccc::{HostFacts, Workarounds};
use assay_model::vm::GuestMachine;
use assay_plan::claims::{self, VmClaims, World};
use assay_plan::guest_tree::{self, GuestTree};
use assay_plan::idregs::{self, HostId, VmFeatures};
use assay_plan::kernel;
use assay_plan::policy;
use assay_plan::traps::traps_of;
use assay_plan::vm_tree::{Sched, VmConfig};
use assay_spec::addr::{Ipa, Region};
use assay_spec::gic::Version;

use crate::adapter::Ram;
use crate::bundle::Guests;
use crate::coherent::{Grant, Pool};
use crate::console::say;
use crate::load::Contents;
use crate::refusals::{refused, rule_of};
use crate::shared::{self, Regions};
use crate::vm::{Parts, Sharing, Vm};
use crate::{cpus, ram, seeds};

mod decide;
mod files;
mod function;
mod map;
mod place;
mod refuse;

pub(crate) use decide::warn_of_unclaimed;
use decide::{decide, report};
use files::Files;
use function::Function;
use map::map;
use place::{Place, Room, Seats, Shared};
use refuse::{Refused, no_memory, no_shared_memory, refuse};

/// The VMs that were made.
pub(crate) struct Made {
    /// All of them, in the manifest's order.
    pub(crate) vms: Vec<&'static Vm>,
    /// The CPUs that no VM has for itself.
    pub(crate) shared_cpus: Vec<usize>,
    /// The VMs that share them, in the order in which the scheduler counts their vCPUs.
    pub(crate) members: Vec<Member>,
}

/// A VM that shares CPUs.
pub(crate) struct Member {
    pub(crate) vm: &'static Vm,
    pub(crate) share: Share,
    pub(crate) contexts: Vec<Context>,
}

/// What VMs are made in.
pub(crate) struct Environment<'a> {
    pub(crate) guests: &'a Guests,
    pub(crate) host: HostId,
    pub(crate) world: World<'a>,
}

/// Makes every VM that can be made; the others are refused, and stop nobody. VMs with CPUs of their own choose
/// first, those that share CPUs get what is left.
pub(crate) fn all(environment: &Environment<'_>, pool: &mut Pool) -> Made {
    let vms = environment.world.vms;
    let claims = claims::resolve(&environment.world);
    let is_shared = |claims: &&VmClaims<'_>| vms.get(claims.vm).is_some_and(|config| config.sched != Sched::Dedicated);
    let mut room = Room::new(vms);
    let mut regions = Regions::default();
    let mut made = Vec::new();
    for claims in claims.iter().filter(|claims| !is_shared(claims)) {
        let vmid = made.len() + 1;
        made.extend(make(environment, claims, pool, &mut regions, &mut room, vmid));
    }
    room.share_the_rest();
    for claims in claims.iter().filter(is_shared) {
        let vmid = made.len() + 1;
        made.extend(make(environment, claims, pool, &mut regions, &mut room, vmid));
    }
    let mut vms: Vec<(usize, &'static Vm)> = Vec::new();
    for (place, vm) in made {
        let above = vms.partition_point(|(other, _)| *other < place);
        vms.insert(above, (place, vm));
    }
    let vms: Vec<&'static Vm> = vms.into_iter().map(|(_, vm)| vm).collect();
    shared::connect(&vms);
    let (shared_cpus, members) = room.shared();
    warn_of_branches(&members);
    Made { vms, shared_cpus, members }
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

/// Makes one VM, or says why not. Returns its place in the manifest along with it.
fn make(
    environment: &Environment<'_>,
    claims: &VmClaims<'_>,
    pool: &mut Pool,
    regions: &mut Regions,
    room: &mut Room,
    vmid: usize,
) -> Option<(usize, &'static Vm)> {
    let config = environment.world.vms.get(claims.vm)?;
    match one(environment, config, claims, pool, regions, room, vmid) {
        Ok((vm, seats)) => {
            let vm: &'static Vm = Box::leak(Box::new(vm));
            match seats {
                Some(Seats { share, contexts }) => room.members.push(Member { vm, share, contexts }),
                None => {
                    for (vcpu, cpu) in vm.cpus.iter().enumerate() {
                        cpus::assign(*cpu, vm, vcpu);
                    }
                }
            }
            return Some((claims.vm, vm));
        }
        Err(Some(Refused { rule, reason, remedy })) => refused(&config.name, &rule, &reason, remedy),
        // Refused by the policy, and printed there.
        Err(None) => {}
    }
    None
}

#[inline(never)]
fn one(
    environment: &Environment<'_>,
    config: &VmConfig,
    claims: &VmClaims<'_>,
    pool: &mut Pool,
    regions: &mut Regions,
    room: &Room,
    vmid: usize,
) -> Result<(Vm, Option<Seats>), Option<Refused>> {
    let host = &environment.host;
    let machine = environment.world.machine;
    let (ram_row, decision) = decide(environment, config, claims)?;
    let place = room.choose(config)?;
    let vcpus = place.vcpus();
    let gic = place::gic_of(machine, vcpus)?;
    let files = Files::of(environment.guests, config)?;
    let range = Region { start: layout::RAM, size: config.memory_bytes };
    let mut coherent = grants(claims, pool)?;
    let nodes = shared::nodes(claims);
    let function = Function::of(machine, claims);
    let description =
        Description { coherent: &coherent, shared: &nodes, function: function.as_ref().map(Function::node) };
    let (loader, tree) = plan(config, &files, range, gic, vcpus, &description)?;
    if let Some(row) = claims.shared.iter().find(|row| !regions.take(row)) {
        return Err(no_shared_memory(row));
    }
    // Last of what can be refused for want of something: what is taken stays taken.
    let memory = ram::take(config.memory_bytes, config.mte).ok_or_else(|| no_memory(config))?;
    let mut parts = ram::place(memory);

    let mte = decision.mte == policy::Mte::Exposed;
    let features = VmFeatures { mte, sve: true, pauth: true, gic_v3: gic == Version::V3 }.limited_to(host);
    let registers = guest_regs::Optional { pauth: features.pauth, mte, sve: features.sve, ras: host.ras() };
    let (cpus, mut shared) = match place {
        Place::Dedicated(cpus) => (cpus, None),
        Place::Shared(share) => (Vec::new(), Some(Shared::new(share, registers, config.mte)?)),
    };
    let time = shared.as_mut().map(|shared| &mut shared.time);
    let (stage2, mut tables) =
        map(environment, &mut parts, &mut coherent, &regions.parts(claims), time, range, &decision, gic)?;
    let function_registers = match &function {
        Some(function) => function.map(environment, mte, &stage2, &mut tables)?,
        None => Vec::new(),
    };
    let (owned, guest_function) = match &function {
        Some(function) => function.take(machine)?,
        None => (None, None),
    };
    let most = if host.vmid16() { u16::MAX } else { u8::MAX.into() };
    let vmid = u16::try_from(vmid).ok().filter(|vmid| *vmid <= most);
    let vmid = vmid.ok_or_else(|| refuse("V1", "there are more VMs than VMIDs", "start fewer VMs"))?;
    let regime = tables.0.put_in_use(vmid, stage2.vtcr((host.get(7, 0) & 0xf) as u8, host.vmid16()));
    let regime = regime.ok_or_else(|| refuse("V2", "its tables do not fit VTCR_EL2", "report this"))?;
    let mut listing = report(config, claims, &ram_row, decision, range);
    listing.extend(function::report(config, &function_registers));
    let memory = map::listing(&config.name, &parts, &coherent, &regions.parts(claims));
    listing.extend(memory);
    let traps = traps(host, features, shared.is_none(), regime);
    let (sharing, seats) = match shared {
        Some(Shared { seats, time }) => {
            (Some(Sharing::new(room.shared_vcpus(), vcpus, cpus::count(), time)), Some(seats))
        }
        None => (None, None),
    };
    let vm = Vm::new(Parts {
        name: config.name.clone(),
        machine: GuestMachine {
            id: idregs::guest_id(host, features),
            workarounds: workarounds(host),
            pstate: idregs::pstate_bits(host),
            ram: range,
            gic,
            vcpus,
            watchdog: config.watchdog,
            doorbells: Doorbells::new(shared::sides(claims)),
            pci: guest_function.is_some(),
        },
        traps,
        registers,
        contents: Contents {
            ram: Ram { parts },
            coherent,
            loader,
            kernel: files.kernel,
            ramdisk: files.ramdisk,
            tree,
            fwb: host.fwb(),
            tables,
            is_used: false,
            is_loading: false,
            cleaned: None,
        },
        function: owned,
        guest_function,
        life: Life::new(vcpus, config.on_crash, config.max_restarts, cpu::counter_frequency()),
        cpus,
        listing,
        sharing,
    });
    Ok((vm, seats))
}

/// Takes the coherent regions that the VM was granted.
fn grants(claims: &VmClaims<'_>, pool: &mut Pool) -> Result<Vec<Grant>, Option<Refused>> {
    let take = |row| {
        pool.take(row).ok_or_else(|| {
            refuse("V2", format!("region {} lies in memory that is in use", row.region), "correct the platform tree")
        })
    };
    claims.rows.iter().map(take).collect()
}

/// What the guest's tree says beyond RAM and CPUs.
struct Description<'a> {
    coherent: &'a [Grant],
    shared: &'a [guest_tree::Shared<'a>],
    function: Option<guest_tree::PciFunction>,
}

/// Plans what goes where and writes the guest's tree.
fn plan(
    config: &VmConfig,
    files: &Files,
    range: Region<Ipa>,
    gic: Version,
    vcpus: usize,
    description: &Description<'_>,
) -> Result<(Loader, guest_tree::Blob), Option<Refused>> {
    let affinities: Vec<u64> = (0..vcpus).map(psci::affinity).collect();
    let nodes: Vec<_> = description.coherent.iter().map(Grant::node).collect();
    // A node number for RAM too, once there is memory of another node.
    let numa = nodes.iter().any(|node| node.numa.is_some()).then_some(0);
    let seeds = seeds::next();
    let tree = |ramdisk| {
        guest_tree::build(&GuestTree {
            ram: &[guest_tree::Ram { region: range, numa }],
            vcpus: &affinities,
            gic,
            bootargs: &config.bootargs,
            ramdisk,
            seeds,
            watchdog: config.watchdog,
            coherent: &nodes,
            shared: description.shared,
            function: description.function,
        })
        .map_err(|error| refuse("V2", error, "change the VM's description"))
    };
    let refuse_kernel = |error: KernelError| refuse(rule_of(error), error, error.remedy());
    // A draft: the size of the tree does not depend on the addresses in it.
    let ramdisk_size = files.ramdisk.len() as u64;
    let draft = tree(Region::new(range.start, ramdisk_size))?;
    let kind = kernel::identify(files.kernel, config.kernel.format).map_err(refuse_kernel)?;
    let plan =
        kernel::plan(&kind, files.kernel, range, ramdisk_size, draft.bytes().len() as u64).map_err(refuse_kernel)?;
    let tree = tree(plan.ramdisk)?;
    Ok((Loader::new(plan, files.sums), tree))
}

fn traps(host: &HostId, features: VmFeatures, dedicated: bool, stage2: Regime) -> Config {
    // The longest vectors that the hardware has; of a vCPU that moves, those that all CPUs have.
    let vectors = if dedicated { 0xf } else { float::vector_length() };
    Config {
        traps: traps_of(host, features, dedicated),
        zcr: features.sve.then_some(vectors),
        stage2,
        vpidr: 0,
        vmpidr: 0,
    }
}

fn workarounds(host: &HostId) -> Workarounds {
    Workarounds::new(&HostFacts {
        csv2: (host.get(4, 0) >> 56 & 0xf) as u8,
        ssbs: host.ssbs(),
        ssbd_forced: false,
        firmware: firmware::workarounds(),
    })
}
