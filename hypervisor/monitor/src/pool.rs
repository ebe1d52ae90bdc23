//! The CPUs that VMs share: the scheduler, the vCPUs that it schedules, and how they are woken.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use assay_el2::context::Context;
use assay_el2::guest_ram::GuestRam;
use assay_el2::{cpu, gic, percpu};
use assay_model::schedule::{Entity, Pick, Scheduler, Share};
use assay_model::smccc;
use assay_model::vcpus::VcpuSet;
use spin::{Mutex, MutexGuard, Once};

use crate::console::say;
use crate::runner::Seat;
use crate::vm::Vm;

/// All CPUs that VMs share.
pub(crate) struct Pool {
    cpus: Vec<usize>,
    scheduler: Mutex<Scheduler>,
    /// The vCPUs as the scheduler counts them. The CPU that a vCPU is on holds its lock for as long.
    seats: Vec<Mutex<Seat>>,
    /// The CPU that each is on; [`NOWHERE`] otherwise.
    places: Vec<AtomicUsize>,
}

const NOWHERE: usize = usize::MAX;

static POOL: Once<Pool> = Once::new();

/// A VM that shares CPUs, as it is made.
pub(crate) struct Member {
    pub(crate) vm: &'static Vm,
    pub(crate) share: Share,
    pub(crate) contexts: Vec<Context>,
}

/// What a CPU does next.
pub(crate) struct Turn {
    pub(crate) run: Option<Entity>,
    pub(crate) until: Option<u64>,
    /// Ticks for which the chosen vCPU has waited for a CPU so far.
    pub(crate) stolen: u64,
}

/// Makes the pool, once. Nobody runs before [`open`].
pub(crate) fn set(cpus: Vec<usize>, members: Vec<Member>) {
    warn_of_branches(&members);
    let slice = cpu::counter_frequency() / SLICES_PER_SECOND;
    let shares: Vec<Share> = members.iter().map(|member| member.share.clone()).collect();
    let mut seats = Vec::new();
    for member in members {
        if let Some(sharing) = &member.vm.sharing {
            sharing.first.store(seats.len(), Ordering::Relaxed);
        }
        let contexts = member.contexts.into_iter().enumerate();
        seats.extend(contexts.map(|(vcpu, context)| Mutex::new(Seat::new(member.vm, vcpu, context))));
    }
    let count = seats.len();
    let _ = POOL.call_once(|| Pool {
        scheduler: Mutex::new(Scheduler::new(&cpus, &shares, slice)),
        cpus,
        seats,
        places: (0..count).map(|_| AtomicUsize::new(NOWHERE)).collect(),
    });
}

/// Lets the pool's vCPUs look for something to do.
pub(crate) fn open() {
    if let Some(pool) = POOL.get() {
        (0..pool.seats.len()).for_each(|entity| pool.wake(Entity(entity)));
    }
}

/// Says so if VMs can steer the branches of others that have the same CPUs, and nobody offers help.
fn warn_of_branches(members: &[Member]) {
    let is_open = |member: &Member| {
        let workarounds = &member.vm.machine.workarounds;
        workarounds.is_branch_prediction_shared()
    };
    if members.len() > 1 && members.iter().any(is_open) {
        let names: Vec<&str> = members.iter().map(|member| &*member.vm.name).collect();
        say!(
            "warning vms={} reason=\"they share CPUs that do not keep their branch prediction apart (ID_AA64PFR0_EL1.CSV2 = 0), and firmware has no SMCCC_ARCH_WORKAROUND_1: let VMs that do not trust each other have CPUs of their own\"",
            names.join(",")
        );
    }
}

/// A vCPU runs for 4 ms at a stretch.
const SLICES_PER_SECOND: u64 = 250;

/// Returns the pool if CPU `cpu` is in it.
pub(crate) fn of(cpu: usize) -> Option<&'static Pool> {
    POOL.get().filter(|pool| pool.cpus.contains(&cpu))
}

impl Pool {
    /// Chooses what CPU `cpu` does next. What it has run stays runnable, unless `block` says that it has nothing
    /// to do, and until when.
    pub(crate) fn next(&self, cpu: usize, block: Option<Option<u64>>) -> Turn {
        let now = cpu::counter();
        let mut scheduler = self.scheduler.lock();
        if let Some(until) = block {
            scheduler.block(cpu, now, until);
        }
        let Pick { run, until, kick } = scheduler.pick(cpu, now);
        let stolen = run.map_or(0, |entity| scheduler.stolen(entity, now));
        drop(scheduler);
        if let Some(other) = kick {
            gic::kick(other);
        }
        Turn { run, until, stolen }
    }

    /// Takes a vCPU to the running CPU, once the CPU that it was on has saved it.
    pub(crate) fn take(&self, entity: Entity, cpu: usize) -> Option<MutexGuard<'_, Seat>> {
        let seat = self.seats.get(entity.0)?.lock();
        self.place(entity, cpu);
        Some(seat)
    }

    /// Notes that a vCPU leaves the running CPU.
    pub(crate) fn leave(&self, entity: Entity) {
        self.place(entity, NOWHERE);
    }

    fn place(&self, entity: Entity, place: usize) {
        if let Some(slot) = self.places.get(entity.0) {
            slot.store(place, Ordering::Relaxed);
        }
    }

    /// Makes a vCPU runnable and has the CPU that is concerned look. One that is on the running CPU looks anyway.
    fn wake(&self, entity: Entity) {
        let here = |place: &AtomicUsize| place.load(Ordering::Relaxed) == percpu::index();
        if self.places.get(entity.0).is_some_and(here) {
            return;
        }
        let cpu = self.scheduler.lock().wake(entity, cpu::counter());
        if let Some(cpu) = cpu {
            gic::kick(cpu);
        }
    }
}

/// What a VM that shares CPUs has besides.
pub(crate) struct Sharing {
    /// The scheduler's number of vCPU 0; the others follow.
    first: AtomicUsize,
    /// The vCPU of this VM that was last on each CPU, plus one.
    last: Vec<AtomicU8>,
    /// Where the vCPUs read how much time was stolen from them.
    time: Mutex<GuestRam>,
    /// Ticks that were stolen from each before this life.
    before: Vec<AtomicU64>,
}

impl Sharing {
    /// For a VM with `vcpus` vCPUs on a machine with `cpus` CPUs, whose stolen time is told in `time`.
    pub(crate) fn new(vcpus: usize, cpus: usize, time: GuestRam) -> Self {
        Self {
            first: AtomicUsize::new(NOWHERE),
            last: (0..cpus).map(|_| AtomicU8::new(0)).collect(),
            time: Mutex::new(time),
            before: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn entity(&self, vcpu: usize) -> Entity {
        Entity(self.first.load(Ordering::Relaxed).saturating_add(vcpu))
    }

    /// Returns for how many milliseconds of this life vCPU `vcpu` has waited for a CPU.
    pub(crate) fn stolen_ms(&self, vcpu: usize) -> u64 {
        let (Some(pool), Some(before)) = (POOL.get(), self.before.get(vcpu)) else {
            return 0;
        };
        let stolen = pool.scheduler.lock();
        let stolen = stolen.stolen(self.entity(vcpu), cpu::counter());
        let ticks = stolen.saturating_sub(before.load(Ordering::Relaxed));
        nanoseconds(ticks, cpu::counter_frequency()) / 1_000_000
    }

    /// Returns for how many milliseconds since the boot vCPU `vcpu` had a CPU.
    pub(crate) fn ran_ms(&self, vcpu: usize) -> u64 {
        let Some(pool) = POOL.get() else { return 0 };
        let ticks = pool.scheduler.lock().ran(self.entity(vcpu), cpu::counter());
        nanoseconds(ticks, cpu::counter_frequency()) / 1_000_000
    }

    /// Makes these vCPUs runnable.
    pub(crate) fn wake(&self, vcpus: VcpuSet) {
        if let Some(pool) = POOL.get() {
            vcpus.iter().for_each(|vcpu| pool.wake(self.entity(vcpu)));
        }
    }

    /// Begins a life: from now on stolen time counts, from zero.
    pub(crate) fn begin(&self) {
        let Some(pool) = POOL.get() else { return };
        let mut time = self.time.lock();
        let all = 0..time.region().size;
        // It is the whole of it, so it is in range.
        let _ = time.zero(all);
        let (scheduler, now) = (pool.scheduler.lock(), cpu::counter());
        for (vcpu, before) in self.before.iter().enumerate() {
            before.store(scheduler.stolen(self.entity(vcpu), now), Ordering::Relaxed);
        }
    }

    /// Tells a vCPU how much time was stolen from it: `stolen` in ticks since the boot.
    pub(crate) fn tell(&self, vcpu: usize, stolen: u64) {
        let (Some(before), Some(at)) = (self.before.get(vcpu), smccc::stolen_time_at(vcpu)) else {
            return;
        };
        let ticks = stolen.saturating_sub(before.load(Ordering::Relaxed));
        let ns = nanoseconds(ticks, cpu::counter_frequency());
        // The structure of a vCPU that there is lies in the page.
        let _ = self.time.lock().store(at + smccc::STOLEN_TIME_OFFSET, ns);
    }

    /// Notes that `vcpu` runs on CPU `cpu` now. Returns whether it was the last of this VM to do so before.
    pub(crate) fn was_last(&self, vcpu: usize, cpu: usize) -> bool {
        let number = u8::try_from(vcpu).unwrap_or(u8::MAX - 1).wrapping_add(1);
        self.last.get(cpu).is_some_and(|last| last.swap(number, Ordering::Relaxed) == number)
    }
}

fn nanoseconds(ticks: u64, frequency: u64) -> u64 {
    let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(frequency.max(1));
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}
