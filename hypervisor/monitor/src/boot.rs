//! The boot, step by step: from firmware's tree to VMs that only have to be loaded.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use assay_el2::boot::{Boot, Level};
use assay_el2::firmware;
use assay_el2::gic::{self, Layout};
use assay_el2::secondary::{self, Block};
use assay_el2::{cpu, cpus as numbers, float, image, mmu, serror, uart};
use assay_model::console::Prefix;
use assay_model::lock;
use assay_plan::claims::World;
use assay_plan::idregs::HostId;
use assay_plan::platform::{self, Console, HostGic, HostPlatform};
use assay_plan::policy::line::Quoted;
use assay_plan::policy::regions::{Occupant, Occupied};
use assay_plan::policy::{CpuBits, Proof};
use assay_plan::vm_tree;
use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::cpu_id::{PcpuId, VcpuId};
use assay_spec::smccc::Conduit;

use crate::coherent::Pool;
use crate::console::{self, say};
use crate::{
    bundle, cpus, create, deferred, heap, interrupts, memory, msi, operator, pci, pool, proof, runner, seeds, smmu, vm,
};

/// Sets everything up; on return every CPU only has to run what it is for.
///
/// An error here is one of the platform: without it there is no VM to refuse.
pub(crate) fn boot(mut boot: Boot) -> Result<(), String> {
    let blob = firmware_tree(&boot).inspect_err(|_| end_without_tree(&boot))?;
    early_console(&boot, blob);
    set_conduit(&boot, blob);
    check_level(&boot)?;
    let more = heap::for_platform(blob)?;
    heap::add(&mut boot, more)?;
    // It stays: nothing is freed any more once guests run.
    let machine = platform::parse(firmware_tree(&boot)?).map_err(|error| error.to_string())?;
    let machine = Box::leak(Box::new(machine));
    say!("boot version={} model={}", env!("CARGO_PKG_VERSION"), Quoted(&machine.model));

    let this = number_cpus(machine)?;
    let place = image::appended().or(machine.initrd);
    let more = heap::for_bundle(&boot, place, machine)?;
    heap::add(&mut boot, more)?;
    let (tree, kept) = bundle::survey(&boot, place, firmware_tree(&boot)?, machine)?;
    let own = own(&kept);
    machine.lose_misplaced(&own);
    machine.cut_memory(HostId::new(cpu::id_table()).pa_range_bits());
    let free = memory::free(machine, &kept, cpu::has_mte2());
    boot.give_memory(&free);
    let blocks = take_blocks(machine, this, &own);
    let guards: Vec<_> = blocks.iter().map(|(_, block)| block.guard()).collect();
    memory::map(machine, &free, &guards)?.activate();
    pci::stop_dma(machine);
    warn_of_serror("turning Bus Master off");
    smmu::close(machine);
    msi::close(machine);
    warn_of_serror("closing SMMUs and ITSs");

    set_up_interrupts(machine)?;
    cpus::start_others(this, blocks, &machine.cpus);
    let proof = proof::ram(&free);
    warn_of_serror("the proof of RAM");
    let guests = bundle::open(place, tree, machine)?;
    seeds::init(machine);
    report_tree(&guests.tree);
    if guests.tree.vms.is_empty() && guests.tree.refused.is_empty() {
        say!(
            "warning reason=\"no bundle: give the VMs as the initrd (QEMU: -initrd bundle.cpio), appended to the image, or in /chosen\""
        );
    }

    let host = cpus::common_identity().ok_or("no CPU is usable")?;
    let bits = CpuBits::from_id_registers(id(&host, 4, 1), id(&host, 4, 2), id(&host, 7, 2))
        .map_err(|error| error.to_string())?;
    pci::find_bars(machine, &guests.tree.vms, host.pa_range_bits());
    pci::find_functions(machine, &guests.tree.vms, host.pa_range_bits());
    warn_of_serror("the search for PCI functions");
    let made = make(machine, &guests, &own, host, bits, proof);
    let (cpus, vms, ticks) = (machine.cpus.len(), made.vms.len(), cpu::counter());
    say!("boot cpus={cpus} vms={vms} el2_bytes={} ticks={ticks}", el2_bytes(&made.vms));
    set_console(&made.vms, &guests.tree, &machine.bootargs);
    warn_of_serror("what the boot has done on this CPU");
    open(made);
    Ok(())
}

/// Gives the CPUs their numbers. Returns that of the running one.
fn number_cpus(machine: &HostPlatform) -> Result<PcpuId, String> {
    numbers::set(machine.cpus.iter().map(|cpu| cpu.mpidr).collect());
    let this = numbers::this_by_mpidr().ok_or("the running CPU is not in the tree's /cpus")?;
    if machine.psci.is_none() {
        let several = machine.cpus.iter().any(|cpu| machine.can_start(cpu));
        let cpus = if several { "" } else { "one CPU, and " };
        say!("warning reason=\"/psci is not in the tree: {cpus}no power-off\"");
    }
    secondary::name_boot_cpu(this);
    cpus::init(machine.cpus.len());
    cpus::identify(this);
    Ok(this)
}

/// Says whose lines there are, when they are marked with their VM's name, and whether scripts read the monitor's answers.
fn set_console(vms: &[&'static vm::Vm], tree: &vm_tree::VmTree, arguments: &str) {
    let style = tree.console(arguments);
    operator::answer_by_keys(style.is_some());
    let prefix = if style == Some(vm_tree::ConsoleStyle::Prefix) {
        Prefix::Always
    } else if tree.vms.len() + tree.refused.len() > 1 {
        Prefix::Several
    } else {
        Prefix::Never
    };
    console::set_vms(vms.iter().map(|vm| vm.name.as_str()), prefix);
}

/// What the housekeeping CPU does beside its guest.
const WORKS: &[deferred::Work] = &[console::tick, vm::tick, operator::tick, vm::dma::tick];

/// Keeps guests' RAM out of the map of CPUs that run guests.
fn hide(made: &create::Made) {
    let mut hidden: Vec<_> = made.regions.hide().collect();
    made.vms.iter().for_each(|vm| hidden.extend(vm.contents.lock().hide()));
    if let Err(error) = mmu::leave_out(&hidden) {
        say!("warning reason=\"guests' RAM stays in EL2's map: {error:?}\"");
    }
}

/// Lets the VMs that were made run.
fn open(made: create::Made) {
    hide(&made);
    lock::watch(assay_el2::percpu::held_locks);
    for vm in &made.vms {
        vm.cpus.iter().enumerate().for_each(|(vcpu, cpu)| cpus::assign(*cpu, vm, VcpuId(vcpu)));
    }
    vm::set(made.vms);
    hint();
    if !made.members.is_empty() {
        let shares: Vec<_> = made.members.iter().map(|member| member.share.clone()).collect();
        runner::seat(made.members);
        pool::set(made.shared_cpus, &shares);
    }
    // A CPU without guests is best to keep house, one that VMs share the next best.
    let free = cpus::free();
    let housekeeping = free.iter().find(|cpu| pool::of(**cpu).is_none()).or(free.first());
    let housekeeping = housekeeping.copied().unwrap_or_else(assay_el2::percpu::index);
    deferred::set_housekeeping(housekeeping, WORKS, operator::take_input);
    interrupts::route_console(housekeeping);
    smmu::begin();
    // Those that wait for something to run have it now.
    cpus::kick_all();
    pool::open();
    uart::listen(true);
    vm::end_machine_if_idle();
}

/// Says who has the input, where there is a choice, and how it is changed.
fn hint() {
    if let (Some(vm), 2..) = (vm::listener(), vm::all().len()) {
        say!(
            "hint input={} key=\"Ctrl-]\" does=\"opens the monitor: `console NAME` gives the input to NAME\"",
            vm.name
        );
    }
}

/// Takes the SError that came of what was done last, or the next one to be looked at would be charged with it.
fn warn_of_serror(what: &str) {
    if serror::drain() {
        say!("warning reason=\"an SError came of {what}\"");
    }
}

/// Proves what VMs claim and makes them.
fn make(
    machine: &HostPlatform,
    guests: &bundle::Guests,
    own: &[(&str, Region<Pa>)],
    host: HostId,
    bits: CpuBits,
    ram: Proof,
) -> create::Made {
    let occupied = own.iter().map(|&(name, region)| Occupied { name, occupant: Occupant::Assay, region });
    let occupied: Vec<_> = occupied.collect();
    let is_ram = |path: &str| machine.memory.iter().any(|node| node.path == path);
    // Before the proof everything is as the tree says.
    let untried = |path: &str| if is_ram(path) { ram } else { Proof::NotRun };
    let world = World {
        machine,
        vms: &guests.tree.vms,
        bits,
        pa_bits: host.pa_range_bits(),
        occupied: &occupied,
        proof: &untried,
    };
    create::warn_of_unclaimed(&world);
    let mut pool = Pool::prove(&world);
    let proofs: Vec<_> = machine.coherent.iter().map(|node| (&node.path, pool.proof(&node.path))).collect();
    let proof = |path: &str| {
        let found = proofs.iter().find(|(known, _)| *known == path);
        found.map_or(ram, |(_, proof)| *proof)
    };
    create::all(guests, &host, World { proof: &proof, ..world }, &mut pool)
}

/// What EL2 is in, and what it `kept` of what the boot loader loaded.
fn own(kept: &[Region<Pa>]) -> Vec<(&'static str, Region<Pa>)> {
    let heaps = assay_el2::heap::early().map(|region| ("Assay's heap", region));
    let kept = kept.iter().map(|region| ("the bundle or a module", *region));
    core::iter::once(("Assay's image", image::region())).chain(heaps).chain(kept).collect()
}

/// Finds the console before anything else can go wrong.
fn early_console(boot: &Boot, blob: &[u8]) {
    if let Some(console) = platform::early_console(blob)
        && boot.map_device(console.registers)
    {
        take_console(&console);
    }
}

fn take_console(console: &Console) {
    if let Some(wired) = console.wired {
        // One that cannot be taken leaves us mute: there is nobody to tell.
        let _ = uart::init(console.registers, wired);
    }
}

fn check_level(boot: &Boot) -> Result<(), String> {
    match boot.level() {
        Level::El2 => Ok(()),
        Level::El2HostOnly => Err("this CPU cannot clear HCR_EL2.E2H, and Assay runs with E2H = 0 only".into()),
        Level::Other(level) => Err(format!(
            "started at EL{level}, and Assay needs EL2 (QEMU: -M virt,virtualization=on; boards: firmware that enters at EL2)"
        )),
    }
}

fn firmware_tree(boot: &Boot) -> Result<&[u8], String> {
    boot.tree().map_err(|fault| format!("x0 does not point to a device tree: {fault:?}"))
}

/// Without a tree there is nobody to tell, and the machine is to end: at EL2 by SMC, as PSCI has it there, whether or not
/// somebody answers.
fn end_without_tree(boot: &Boot) {
    if boot.level() == Level::El2 {
        firmware::set_conduit(Conduit::Smc);
    }
}

/// Lets firmware be called, before all that can end the boot. At EL3 there is nobody above to call.
fn set_conduit(boot: &Boot, blob: &[u8]) {
    let conduit = platform::early::conduit(blob).filter(|_| boot.level() != Level::Other(3));
    if conduit == Some(Conduit::Hvc) && boot.level() != Level::Other(1) {
        // HVC is a call to EL2, which is us.
        say!(
            "warning node=/psci reason=\"its method is hvc, and firmware cannot be below EL2: it is not called, so there is one CPU and no power-off; smc may be meant\""
        );
        return;
    }
    conduit.into_iter().for_each(firmware::set_conduit);
}

/// Takes a block of memory for each CPU that can be started.
fn take_blocks(machine: &HostPlatform, this: PcpuId, own: &[(&str, Region<Pa>)]) -> Vec<(PcpuId, Block)> {
    let mut blocks = Vec::new();
    for (index, cpu) in machine.cpus.iter().enumerate().filter(|(index, _)| *index != this.0) {
        if let Some(reason) = machine.table_fault(cpu, own) {
            say!("warning cpu={index} node={} reason={}", cpu.path, Quoted(&reason));
        } else if machine.can_start(cpu) {
            blocks.extend(Block::take().map(|block| (PcpuId(index), block)));
        }
    }
    blocks
}

fn set_up_interrupts(machine: &mut HostPlatform) -> Result<(), String> {
    if let HostGic::V2 { cpu, vcpu, .. } = &mut machine.gic.version {
        (*cpu, *vcpu) = gic::interfaces(*cpu, *vcpu);
    }
    let layout = match &machine.gic.version {
        HostGic::V3 { dist, redists, .. } => Layout::V3 { distributor: *dist, redistributors: redists },
        HostGic::V2 { dist, cpu, hyp, .. } => Layout::V2 { distributor: *dist, cpu: *cpu, hypervisor: *hyp },
    };
    let fail = |error: gic::GicError| format!("{}: {error}", machine.gic.path);
    gic::init(&layout).map_err(fail)?;
    interrupts::init(machine);
    gic::init_cpu(interrupts::private()).map_err(fail)?;
    Ok(())
}

/// Prints what the VM tree has that means nothing here, and whom it cannot describe.
fn report_tree(tree: &vm_tree::VmTree) {
    for warning in &tree.warnings {
        let property = warning.property.as_deref().unwrap_or("-");
        say!("warning node={} property={property} reason={}", warning.node, Quoted(&warning.reason));
    }
    for refusal in &tree.refused {
        say!("{refusal}");
    }
}

fn id(host: &assay_plan::idregs::HostId, crm: u16, op2: u16) -> u64 {
    host.get(crm, op2)
}

/// Bytes that are neither a guest's RAM nor the bundle: the image with its heap and stacks, the tables, those
/// of an SMMU and an ITS, and what sharing CPUs takes.
fn el2_bytes(vms: &[&'static vm::Vm]) -> u64 {
    let tables: u64 = vms.iter().map(|vm| vm.contents.lock().table_bytes()).sum();
    let blocks = Block::all_bytes();
    let image: Region<Pa> = image::region();
    let shared = vms.iter().filter(|vm| vm.sharing.is_some()).count() as u64 * PAGE_SIZE;
    let devices = assay_el2::device_memory::all_bytes();
    image.size + assay_el2::heap::added_bytes() + blocks + tables + shared + devices + float::all_bytes()
}
