//! Which vCPU of a VM with shared CPUs runs where, and until when.
//!
//! Only the decision: time comes in as the counter's value, and who runs is the caller's to carry out. All CPUs
//! of the pool use one [`Scheduler`] under one lock; CPUs that belong to one VM never touch it. Memory is
//! allocated in [`Scheduler::new`] and nowhere else.
//!
//! # What is fair
//!
//! A VM's weight is divided among those of its vCPUs that are runnable. A vCPU pays for what it runs with
//! *virtual time*: ticks, times the runnable vCPUs of its VM, by the VM's weight. Whoever may run on a CPU and
//! has paid least runs there next. So a VM gets a part of the CPUs in proportion to its weight, however many
//! vCPUs it has, as far as they can use it: none runs on two CPUs at once, and what one VM can't use goes to
//! the others by their weights.
//!
//! Virtual time is kept in one *domain* for the vCPUs that may run anywhere, and in one for each CPU for those
//! that are bound to it. Between domains nothing is remembered but the last two quanta: a CPU that was crowded
//! or free for an hour has no claim from it. The same holds for a sleeper: when it wakes it is at most one
//! slice ahead of the others, and no better off than if its VM had only one vCPU that ran all that the VM ran.
//!
//! # Bounds
//!
//! With S the slice, n(i) the vCPUs of a VM `i`, w(i) its weight, q(i) = S · n(i) / w(i) its quantum, and F
//! [`LAG_QUANTA`]:
//!
//! - **Fairness.** Let two VMs whose vCPUs may run anywhere both have one waiting, all through a window, and none that
//!   yields. What they run in it, each divided by its weight, differs by F · (q(i) + q(j)) at most, however long the window.
//! - **Latency.** A vCPU of VM `i` that is not throttled waits for S + 1/m · Σ over all VMs `j` of
//!   (S · n(j) + w(j) · F / 2 · (q(i) + q(j))) at most, for m CPUs; m is 1 if some vCPUs are bound to CPUs. One
//!   that wakes and has run less than its share takes a CPU from another at once, or when that has run S / 8.
//! - **Work.** When all CPUs that were told to ask have asked, none is idle while a vCPU waits that may run
//!   there, nor while one waits for a CPU on which another runs that may run anywhere.
//! - **Caps.** In each period, from a multiple of it to the next, a VM runs for its budget at most, if CPUs ask at
//!   [`Pick::until`]. For CPUs that ask up to D later, it is 2 · D · n(i) more, and D · n(i) more in all periods
//!   together. Nothing is saved up.
//!
//! The simulation in the tests checks all four; the first two were found by reasoning and confirmed there, not
//! proven.
//!
//! # Cost
//!
//! With `n` vCPUs and `c` CPUs, `pick`, `block` and `wake` are O(log n + c / 64), and O(log n) more for each vCPU
//! that becomes runnable by it: those whose time to wake has come, or those of a VM whose budget begins or
//! ends, which it does once a period. A vCPU that becomes runnable while no CPU is idle costs one look at each
//! CPU, O(c).

mod choice;
mod cpu_set;
mod heaps;
mod states;
mod target;
#[cfg(test)]
mod tests;
mod vcpu;
mod vm;

use alloc::vec;
use alloc::vec::Vec;
use assay_spec::cpu_id::PcpuId;
use choice::Roused;
use cpu_set::CpuSet;
use heaps::Heaps;
use vcpu::{State, Vcpu};
use vm::Vm;

/// How many of their quanta two VMs may be apart: the factor in the bounds above.
pub const LAG_QUANTA: u64 = 2;

/// The counter never gets there.
const NEVER: u64 = u64::MAX;

/// The domain of the vCPUs that may run anywhere.
const ANYWHERE: usize = 0;

/// A vCPU that is scheduled: its index, counted through the VMs given to [`Scheduler::new`] in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entity(pub usize);

/// What one VM asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// Its weight against the other VMs, `1..=65535`.
    pub weight: u32,
    /// How much it may run at most.
    pub cap: Option<Cap>,
    /// Where its vCPUs may run.
    pub vcpus: Vec<Placement>,
}

/// A limit on what a VM's vCPUs may run together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cap {
    /// So many counter ticks …
    pub budget: u64,
    /// … in each so many counter ticks.
    pub period: u64,
}

/// Where a vCPU may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// On every CPU of the pool.
    Any,
    /// On the physical CPU of this index, which is in the pool; if it is not, on every CPU.
    On(PcpuId),
}

/// What a CPU is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    /// The vCPU to run; without one the CPU may sleep.
    pub run: Option<Entity>,
    /// The counter's value at which this CPU must ask again at the latest.
    pub until: Option<u64>,
    /// Another CPU that should ask now.
    pub kick: Option<PcpuId>,
}

/// What the wake-up of a vCPU takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Nothing: nobody has to look, or who has to was told before.
    Nothing,
    /// This CPU should ask: the vCPU runs there, or should be taken.
    Ask(PcpuId),
    /// A CPU that sleeps runs the vCPU from now on, as if it had asked.
    Run {
        /// The CPU.
        cpu: PcpuId,
        /// As [`Pick::until`].
        until: Option<u64>,
        /// For how many ticks the vCPU was runnable and did not run, as [`Scheduler::stolen`] tells.
        stolen: u64,
    },
}

/// The scheduler of a pool of CPUs.
#[derive(Debug)]
pub struct Scheduler {
    slice: u64,
    /// The latest time that was heard of.
    now: u64,
    cpus: Vec<Cpu>,
    /// For each physical CPU, by its index, its place in `cpus`, if it is in the pool.
    places: Vec<Option<usize>>,
    vms: Vec<Vm>,
    vcpus: Vec<Vcpu>,
    /// For each VM and domain in which it has vCPUs: the virtual time if they were one vCPU.
    groups: Vec<i128>,
    domains: Vec<Domain>,
    /// The waiting vCPUs of each domain, by virtual time.
    queues: Heaps,
    /// For each CPU what it has to do when: a vCPU's wake time, or (numbered after the vCPUs) a VM's renewal.
    timers: Heaps,
    /// CPUs that sleep and were not told to ask.
    idle: CpuSet,
    /// CPUs that were told to ask and have not yet.
    called: CpuSet,
    /// CPUs on which something runs that may run anywhere.
    floating: CpuSet,
    /// CPUs with vCPUs of their own that wait.
    crowded: CpuSet,
    /// Whether something became runnable for which no CPU was looked for.
    fresh: bool,
}

/// A CPU of the pool.
#[derive(Default, Debug)]
struct Cpu {
    id: PcpuId,
    /// What runs, if anything.
    running: Option<usize>,
    /// When its slice began.
    begun: u64,
    /// Its virtual time then.
    from: i128,
    /// Until when that has been charged.
    charged: u64,
    /// The part of the VM's budget that was set aside for it then.
    part: u64,
    /// Whether it asks again as soon as what runs has had its least time.
    is_urged: bool,
    /// Whether no more than one vCPU can ever run here.
    is_alone: bool,
    /// Whether what runs has said that it spins.
    yields: bool,
}

/// Those who wait for the same CPUs.
#[derive(Clone, Default, Debug)]
struct Domain {
    /// Where those are who have what is due to them.
    time: i128,
    /// What to add to virtual times before they are compared with other domains'.
    offset: i128,
}

impl Scheduler {
    /// Makes a scheduler for the pool of physical CPUs `cpus`, by rising index, in which all vCPUs are blocked until they are
    /// woken. `slice`, in counter ticks, is for how long a vCPU runs while others wait.
    pub fn new(cpus: &[PcpuId], shares: &[Share], slice: u64) -> Self {
        assert!(cpus.is_sorted_by(|one, next| one < next), "the pool's CPUs are in order, each once");
        let slice = slice.max(8);
        let (mut vms, mut vcpus, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for share in shares {
            let first = vcpus.len();
            // The VM's group in each domain where it has a vCPU.
            let mut mine: Vec<Option<usize>> = vec![None; cpus.len() + 1];
            for place in &share.vcpus {
                let domain = match place {
                    Placement::Any => ANYWHERE,
                    Placement::On(cpu) => cpus.binary_search(cpu).map_or(ANYWHERE, |at| at + 1),
                };
                let group = *mine[domain].get_or_insert_with(|| {
                    groups.push(0);
                    groups.len() - 1
                });
                vcpus.push(Vcpu::new(vms.len(), domain, group));
            }
            vms.push(Vm::new(share, first..vcpus.len(), slice));
        }
        let in_domain = |domain| vcpus.iter().filter(|vcpu: &&Vcpu| vcpu.domain == domain).count();
        let queues = Heaps::new((0..=cpus.len()).map(in_domain), vcpus.len());
        // Whatever may run on a CPU may also leave its timer there.
        let timers = (0..cpus.len()).map(|cpu| in_domain(ANYWHERE) + in_domain(cpu + 1) + vms.len());
        let timers = Heaps::new(timers, vcpus.len() + vms.len());
        let set = || CpuSet::new(cpus.len());
        let (idle, called, floating, crowded) = (set(), set(), set(), set());
        let domains = vec![Domain::default(); cpus.len() + 1];
        let is_alone = |at: usize| in_domain(ANYWHERE) + in_domain(at + 1) <= 1;
        let mut places = vec![None; cpus.last().map_or(0, |last| last.0 + 1)];
        for (at, cpu) in cpus.iter().enumerate() {
            places[cpu.0] = Some(at);
        }
        let cpu = |(at, &id): (usize, &PcpuId)| Cpu { id, is_alone: is_alone(at), ..Cpu::default() };
        let cpus = cpus.iter().enumerate().map(cpu).collect();
        let (now, fresh) = (0, false);
        Self {
            slice,
            now,
            cpus,
            places,
            vms,
            vcpus,
            groups,
            domains,
            queues,
            timers,
            idle,
            called,
            floating,
            crowded,
            fresh,
        }
    }

    /// Chooses what runs next on `cpu`, which is in the pool. What runs there, if anything, stays runnable.
    pub fn pick(&mut self, cpu: PcpuId, now: u64) -> Pick {
        let at = self.place(cpu);
        let now = self.at_least(now);
        self.next(at, now)
    }

    #[inline(never)]
    fn next(&mut self, at: usize, now: u64) -> Pick {
        if let Some(pick) = self.sleep(at, now) {
            return pick;
        }
        self.called.set(at, false);
        self.idle.set(at, false);
        let current = self.charge(at, now);
        if let Some(index) = current {
            self.vcpus[index].woken = false;
            if core::mem::take(&mut self.cpus[at].yields) {
                self.forfeit(at, index, now);
            }
        }
        self.ring(at, now);
        let chosen = self.choose(at, current, now);
        self.idle.set(at, chosen.is_none());
        let end = chosen.and_then(|_| self.end(at, now));
        let until = self.timer(at).into_iter().chain(end).min();
        let kick = self.find_kick().map(|at| self.call(at));
        Pick { run: chosen.map(Entity), until, kick }
    }

    /// Says that what runs on `cpu` has nothing to do until it is woken, or until the counter reaches
    /// `until`, and chooses what runs there next, as [`Scheduler::pick`] does.
    pub fn block(&mut self, cpu: PcpuId, now: u64, until: Option<u64>) -> Pick {
        let at = self.place(cpu);
        let now = self.at_least(now);
        if let Some(index) = self.cpus[at].running {
            self.put_aside(at, index, now, until);
        }
        self.sleep(at, now).unwrap_or_else(|| self.next(at, now))
    }

    /// Says that what runs on `cpu` only waits for another vCPU. If somebody waits for the CPU, the rest of its slice is
    /// forfeit: paid as if it had run. The caller picks next.
    pub fn yield_now(&mut self, cpu: PcpuId) {
        let at = self.place(cpu);
        self.cpus[at].yields = true;
    }

    /// Makes a vCPU runnable. If the CPU sleeps where it ran last, which may still have its registers, nobody waits and its VM
    /// has no cap, it is put there at once: that CPU need not ask.
    ///
    /// Of a vCPU that runs it is remembered: a [`Scheduler::block`] before its CPU's next
    /// [`Scheduler::pick`] leaves it runnable. So who looks for work, finds none and blocks misses nothing, if
    /// work is made known before the call of `wake`.
    pub fn wake(&mut self, entity: Entity, now: u64) -> Wake {
        let now = self.at_least(now);
        let vcpu = &mut self.vcpus[entity.0];
        let target = match vcpu.state {
            State::Running(at) => {
                vcpu.woken = true;
                at
            }
            State::Waiting | State::Throttled => return Wake::Nothing,
            State::Blocked => {
                if vcpu.due != NEVER {
                    self.timers.remove(entity.0);
                }
                match self.rouse(entity.0, now) {
                    Roused::Runs(wake) => return wake,
                    Roused::Since(since) => self.queue(entity.0, since),
                }
                let Some(target) = self.find_target(entity.0) else { return Wake::Nothing };
                target
            }
        };
        Wake::Ask(self.call(target))
    }

    /// Returns whether the vCPU has nothing to do: no CPU chooses it before it is woken, or its time has come.
    pub fn is_blocked(&self, entity: Entity) -> bool {
        self.vcpus[entity.0].state == State::Blocked
    }

    /// Returns for how many ticks, up to `now`, the vCPU was runnable and did not run.
    pub fn stolen(&self, entity: Entity, now: u64) -> u64 {
        self.vcpus[entity.0].stolen(now)
    }

    /// Returns for how many ticks, up to `now`, the vCPU ran.
    pub fn ran(&self, entity: Entity, now: u64) -> u64 {
        self.vcpus[entity.0].ran(now)
    }

    #[inline(always)]
    fn place(&self, cpu: PcpuId) -> usize {
        let place = self.places.get(cpu.0).copied().flatten();
        place.unwrap_or_else(|| unreachable!("CPU {cpu} is not in the pool"))
    }

    /// CPUs read the counter before they get the lock, so that their times may come in another order.
    #[inline(always)]
    fn at_least(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    #[inline(always)]
    fn call(&mut self, at: usize) -> PcpuId {
        self.called.set(at, true);
        self.idle.set(at, false);
        self.cpus[at].id
    }
}

fn to_ticks(key: i128) -> u64 {
    u64::try_from(key).unwrap_or(u64::MAX)
}
