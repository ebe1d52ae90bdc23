//! The CPUs that VMs share: who runs on them, as the scheduler decides, and how a vCPU is woken.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use assay_el2::lock::Relax;
use assay_el2::{cpu, gic, percpu};
use assay_model::lock::{Mutex, SCHEDULER};
use assay_model::schedule::{Entity, Pick, Scheduler, Share, Wake};
use assay_spec::cpu_id::PcpuId;
use spin::Once;

/// All CPUs that VMs share.
pub(crate) struct Pool {
    cpus: Vec<PcpuId>,
    scheduler: Mutex<Scheduler, SCHEDULER, Relax>,
    /// The CPU that each vCPU is on, and [`ASLEEP`] if it waits there; [`NOWHERE`] otherwise.
    places: Vec<AtomicUsize>,
    /// For each CPU, by its index, what it was handed while it slept.
    handed: Vec<Handed>,
}

/// What a CPU that sleeps was handed to run: it need not ask for it. Set, and cleared by others, under the
/// scheduler's lock, and taken without.
struct Handed {
    /// The vCPU, or [`NOBODY`].
    entity: AtomicUsize,
    until: AtomicU64,
    stolen: AtomicU64,
}

const NOBODY: usize = usize::MAX;

const NOWHERE: usize = usize::MAX;
/// Nobody runs on the CPU that the vCPU is on.
const ASLEEP: usize = 1 << 32;

/// A vCPU runs for 4 ms at a stretch.
const SLICES_PER_SECOND: u64 = 250;

static POOL: Once<Pool> = Once::new();

/// What a vCPU's step on a CPU came to.
pub(crate) enum Step {
    /// It can go on.
    Again,
    /// It can go on, but waits for another vCPU.
    Yield,
    /// It has nothing to do until it is woken, or until this physical count.
    Block(Option<u64>),
}

/// What a CPU does next.
pub(crate) struct Turn {
    pub(crate) run: Option<Entity>,
    pub(crate) until: Option<u64>,
    /// Ticks for which the chosen vCPU has waited for a CPU so far.
    pub(crate) stolen: u64,
    /// Nobody is chosen, and the vCPU that was here waits to be woken: its registers may stay.
    pub(crate) stays: bool,
}

/// Makes the pool of these CPUs, by rising index, once. Nobody runs before [`open`].
pub(crate) fn set(cpus: Vec<PcpuId>, shares: &[Share]) {
    let count = shares.iter().map(|share| share.vcpus.len()).sum();
    let slice = cpu::counter_frequency() / SLICES_PER_SECOND;
    let _ = POOL.call_once(|| Pool {
        scheduler: Mutex::new(Scheduler::new(&cpus, shares, slice)),
        handed: (0..=cpus.last().map_or(0, |last| last.0)).map(|_| Handed::nothing()).collect(),
        cpus,
        places: (0..count).map(|_| AtomicUsize::new(NOWHERE)).collect(),
    });
}

/// Lets the pool's vCPUs look for something to do.
pub(crate) fn open() {
    if let Some(pool) = get() {
        (0..pool.places.len()).for_each(|entity| pool.wake(Entity(entity)));
    }
}

/// Returns the pool, if there is one.
pub(crate) fn get() -> Option<&'static Pool> {
    POOL.get()
}

/// Returns the pool if CPU `cpu` is in it.
pub(crate) fn of(cpu: PcpuId) -> Option<&'static Pool> {
    get().filter(|pool| pool.cpus.contains(&cpu))
}

impl Pool {
    /// Chooses what CPU `cpu` does next, after a step of `here` that came to `step`.
    pub(crate) fn next(&self, cpu: PcpuId, step: Step, here: Option<Entity>) -> Turn {
        let handed = &self.handed[cpu.0];
        if let Step::Again = step
            && let Some(turn) = handed.take()
        {
            return turn;
        }
        let now = cpu::counter();
        let mut scheduler = self.scheduler.lock();
        // What it was handed just now is chosen anew.
        handed.clear();
        let Pick { run, until, kick } = match step {
            Step::Block(until) => scheduler.block(cpu, now, until),
            Step::Yield => {
                scheduler.yield_now(cpu);
                scheduler.pick(cpu, now)
            }
            Step::Again => scheduler.pick(cpu, now),
        };
        let stolen = run.map_or(0, |entity| scheduler.stolen(entity, now));
        let stays = run.is_none() && here.is_some_and(|entity| scheduler.is_blocked(entity));
        if let Some(other) = kick {
            self.handed[other.0].clear();
        }
        drop(scheduler);
        if let Some(other) = kick {
            gic::kick(other);
        }
        Turn { run, until, stolen, stays }
    }

    /// Notes that a vCPU is on CPU `cpu`.
    pub(crate) fn arrive(&self, entity: Entity, cpu: PcpuId) {
        self.places[entity.0].store(cpu.0, Ordering::Relaxed);
    }

    /// Notes that a vCPU waits on CPU `cpu`, which sleeps: it has to be woken.
    pub(crate) fn doze(&self, entity: Entity, cpu: PcpuId) {
        self.places[entity.0].store(cpu.0 | ASLEEP, Ordering::Relaxed);
    }

    /// Has the CPU on which a vCPU is look: it was chosen for another.
    pub(crate) fn call_off(&self, entity: Entity) {
        let place = self.places[entity.0].load(Ordering::Relaxed);
        if place != NOWHERE {
            gic::kick(PcpuId(place & !ASLEEP));
        }
    }

    /// Notes that a vCPU leaves the running CPU.
    pub(crate) fn leave(&self, entity: Entity) {
        self.places[entity.0].store(NOWHERE, Ordering::Relaxed);
    }

    /// Makes a vCPU runnable and has the CPU that is concerned look. One that is on the running CPU looks anyway.
    pub(crate) fn wake(&self, entity: Entity) {
        let (place, this) = (self.places[entity.0].load(Ordering::Relaxed), percpu::index());
        if place == this.0 {
            return;
        }
        let mut scheduler = self.scheduler.lock();
        let cpu = match scheduler.wake(entity, cpu::counter()) {
            Wake::Nothing => return,
            Wake::Ask(cpu) => {
                self.handed[cpu.0].clear();
                cpu
            }
            Wake::Run { cpu, until, stolen } => {
                self.handed[cpu.0].give(entity, until, stolen);
                cpu
            }
        };
        drop(scheduler);
        // Where it sleeps on the running CPU, that looks anyway as well.
        if cpu != this || place != this.0 | ASLEEP {
            gic::kick(cpu);
        }
    }

    /// Returns for how many ticks since the boot each of these vCPUs has waited for a CPU.
    pub(crate) fn stolen(&self, entities: impl Iterator<Item = Entity>, mut each: impl FnMut(u64)) {
        let (scheduler, now) = (self.scheduler.lock(), cpu::counter());
        entities.for_each(|entity| each(scheduler.stolen(entity, now)));
    }

    /// Returns for how many ticks since the boot a vCPU had a CPU.
    pub(crate) fn ran(&self, entity: Entity) -> u64 {
        self.scheduler.lock().ran(entity, cpu::counter())
    }
}

/// No count of the counter.
const NEVER: u64 = u64::MAX;

impl Handed {
    fn nothing() -> Self {
        Self { entity: AtomicUsize::new(NOBODY), until: AtomicU64::new(NEVER), stolen: AtomicU64::new(0) }
    }

    /// Hands a vCPU to the CPU. The caller has the scheduler's lock, and interrupts it.
    fn give(&self, entity: Entity, until: Option<u64>, stolen: u64) {
        self.until.store(until.unwrap_or(NEVER), Ordering::Relaxed);
        self.stolen.store(stolen, Ordering::Relaxed);
        self.entity.store(entity.0, Ordering::Release);
    }

    /// The CPU has to ask. By itself, or by who has the scheduler's lock and interrupts it: if it has just taken what it was
    /// handed, it leaves its guest for that.
    fn clear(&self) {
        self.entity.store(NOBODY, Ordering::Relaxed);
    }

    /// Takes what the running CPU was handed, which gets nothing more before it sleeps again.
    fn take(&self) -> Option<Turn> {
        let entity = self.entity.load(Ordering::Acquire);
        if entity == NOBODY {
            return None;
        }
        self.clear();
        let until = Some(self.until.load(Ordering::Relaxed)).filter(|until| *until != NEVER);
        Some(Turn { run: Some(Entity(entity)), until, stolen: self.stolen.load(Ordering::Relaxed), stays: false })
    }
}
