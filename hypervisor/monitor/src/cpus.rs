//! The CPUs: which are up, what they are, and which vCPU each is for.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use assay_el2::secondary::Block;
use assay_el2::{cpu, firmware, gic, secondary, switch};
use assay_model::smccc;
use assay_plan::idregs::HostId;
use assay_plan::platform::Cpu;
use assay_spec::branch_history::CpuFacts;
use assay_spec::cpu_id::{PcpuId, VcpuId};
use assay_spec::intid::IntId;
use assay_spec::sysreg::SysReg;
use spin::Once;

use crate::console::say;
use crate::vm::Vm;

/// One physical CPU.
pub(crate) struct Slot {
    /// What it is, once it is up.
    identity: Once<Identity>,
    /// Which kind of CPU that is, of [`KINDS`].
    kind: AtomicUsize,
    /// May be given to a VM: it is up, and has what the decisions were made with.
    usable: AtomicBool,
    /// The vCPU that it runs.
    vcpu: Once<(&'static Vm, VcpuId)>,
}

/// What a CPU has said of itself.
struct Identity {
    id: HostId,
    /// What its firmware says of the SMCCC workarounds.
    workarounds: [i32; 3],
}

static SLOTS: Once<Vec<Slot>> = Once::new();
/// What CPUs there are that may be given to VMs, each kind once.
static KINDS: Once<Vec<HostId>> = Once::new();

/// Makes the table, for as many CPUs as the tree names.
pub(crate) fn init(count: usize) {
    let _ = SLOTS.call_once(|| {
        let kind = || AtomicUsize::new(0);
        let slot = || Slot { identity: Once::new(), kind: kind(), usable: AtomicBool::new(false), vcpu: Once::new() };
        (0..count).map(|_| slot()).collect()
    });
}

fn slots() -> &'static [Slot] {
    SLOTS.get().map_or(&[], Vec::as_slice)
}

/// Notes what the running CPU is, and has its vectors do what such a CPU needs.
pub(crate) fn identify(id: PcpuId) {
    if let Some(slot) = slots().get(id.0) {
        let _ = slot.identity.call_once(|| {
            let (id, workarounds) = (HostId::new(cpu::id_table()), firmware::workarounds());
            let facts = CpuFacts {
                midr: cpu::midr(),
                csv2: id.field(SysReg::ID_AA64PFR0_EL1, 56),
                ecbhb: id.field(SysReg::ID_AA64MMFR1_EL1, 60),
                clrbhb: id.field(SysReg::ID_AA64ISAR2_EL1, 28),
                workaround_3: workarounds[2],
            };
            switch::install_vectors(facts.mitigation());
            if workarounds[1] == 0 {
                firmware::protect_stores(true);
            }
            Identity { id, workarounds }
        });
    }
}

/// Starts CPUs other than the running one, each on its block, and waits until all have said what they are, or none
/// has for two seconds.
pub(crate) fn start_others(this: PcpuId, blocks: Vec<(PcpuId, Block)>, cpus: &[Cpu]) {
    let mut started = Vec::new();
    for (index, block) in blocks {
        match secondary::start(index, block, cpus[index.0].release()) {
            Ok(()) => started.push(index),
            Err(error) => {
                say!("warning cpu={index} reason=\"firmware cannot start it: {error:?}\"")
            }
        }
    }
    // Many CPUs come up one after the other: as long as they do, the rest is waited for. An emulator of 64 on two cores has
    // half a second now and then in which none does.
    let two_seconds = || cpu::counter().wrapping_add(2 * cpu::counter_frequency());
    let (mut missing, mut deadline) = (started.len(), two_seconds());
    let late = |id: &PcpuId| slots().get(id.0).is_some_and(|slot| slot.identity.get().is_none());
    while missing != 0 && cpu::counter() < deadline {
        let now = started.iter().filter(|id| late(id)).count();
        if now < missing {
            (missing, deadline) = (now, two_seconds());
        }
        core::hint::spin_loop();
    }
    for index in started.iter().filter(|index| late(index)) {
        say!("warning cpu={index} reason=\"firmware started it, and it has not come up: it is left out\"");
    }
    for (index, slot) in slots().iter().enumerate() {
        let up = slot.identity.get().is_some();
        slot.usable.store(up, Ordering::Release);
        debug_assert!(PcpuId(index) != this || up);
    }
    let mut kinds: Vec<HostId> = Vec::new();
    for (slot, identity) in slots().iter().filter_map(|slot| Some((slot, identity(slot)?))) {
        let known = kinds.iter().position(|kind| *kind == identity.id);
        slot.kind.store(known.unwrap_or(kinds.len()), Ordering::Release);
        if known.is_none() {
            kinds.push(identity.id.clone());
        }
    }
    for (place, kind) in kinds.iter().enumerate() {
        let count = slots()
            .iter()
            .filter(|slot| identity(slot).is_some() && slot.kind.load(Ordering::Relaxed) == place)
            .count();
        say!(
            "cpu count={count} ID_AA64PFR0_EL1={:#x} ID_AA64PFR1_EL1={:#x} ID_AA64PFR2_EL1={:#x} ID_AA64MMFR0_EL1={:#x} \
             ID_AA64MMFR1_EL1={:#x} ID_AA64MMFR2_EL1={:#x}",
            kind.get(4, 0),
            kind.get(4, 1),
            kind.get(4, 2),
            kind.get(7, 0),
            kind.get(7, 1),
            kind.get(7, 2)
        );
    }
    let _ = KINDS.call_once(|| kinds);
}

/// Returns what a CPU is that may be given to a VM.
fn identity(slot: &Slot) -> Option<&Identity> {
    slot.identity.get().filter(|_| slot.usable.load(Ordering::Acquire))
}

/// Returns what CPUs there are, each kind once.
pub(crate) fn kinds() -> &'static [HostId] {
    KINDS.get().map_or(&[], Vec::as_slice)
}

/// Returns the place of a CPU's kind in [`kinds`].
pub(crate) fn kind(id: PcpuId) -> usize {
    slots()[id.0].kind.load(Ordering::Relaxed)
}

/// Returns the worst that any CPU's firmware says of the SMCCC workarounds.
pub(crate) fn workarounds() -> [i32; 3] {
    smccc::worst(slots().iter().filter_map(identity).map(|identity| identity.workarounds))
}

/// Returns the field-wise minimum of all CPUs that are up: what decisions are made with.
pub(crate) fn common_identity() -> Option<HostId> {
    kinds().iter().cloned().reduce(|common, next| common.minimum(&next))
}

/// Returns the CPUs that no VM has, lowest first.
pub(crate) fn free() -> Vec<PcpuId> {
    let is_free = |slot: &Slot| slot.usable.load(Ordering::Acquire) && slot.vcpu.get().is_none();
    slots().iter().enumerate().filter(|(_, slot)| is_free(slot)).map(|(index, _)| PcpuId(index)).collect()
}

/// Returns how many CPUs the tree names.
pub(crate) fn count() -> usize {
    slots().len()
}

/// Gives a CPU to a vCPU, for good.
pub(crate) fn assign(id: PcpuId, vm: &'static Vm, vcpu: VcpuId) {
    if let Some(slot) = slots().get(id.0) {
        let _ = slot.vcpu.call_once(|| (vm, vcpu));
    }
}

/// Returns the vCPU that a CPU runs, if it has one by now.
pub(crate) fn assigned(id: PcpuId) -> Option<(&'static Vm, VcpuId)> {
    slots().get(id.0)?.vcpu.get().copied()
}

/// Interrupts every CPU that is up, but the running one.
pub(crate) fn kick_all() {
    let this = assay_el2::percpu::index();
    for (index, slot) in slots().iter().enumerate() {
        if PcpuId(index) != this && slot.identity.get().is_some() {
            gic::kick(PcpuId(index));
        }
    }
}

/// A CPU that firmware started for us: sets itself up, with these interrupts of its own, and says what it is.
pub(crate) fn join(index: u64, private: &[IntId]) {
    if !secondary::adopt(index) {
        cpu::park()
    }
    let index = assay_el2::percpu::index();
    if let Err(error) = gic::init_cpu(private) {
        say!("warning cpu={index} reason=\"no interrupts: {error}\"");
        cpu::park()
    }
    identify(index);
}
