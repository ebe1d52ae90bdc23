//! Which vCPU of a VM with shared CPUs runs where, and until when.
//!
//! Only the decision: time comes in as the counter's value, and who runs is the caller's to carry out. All CPUs
//! of the pool use one [`Scheduler`] under one lock; CPUs that belong to one VM never touch it. Allocates in
//! [`Scheduler::new`] and nowhere else.
//!
//! In this state each vCPU gets a slice in turn: weights and caps are not looked at.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

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
    /// On the physical CPU of this index.
    On(usize),
}

/// What a CPU is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    /// The vCPU to run; without one the CPU may sleep.
    pub run: Option<Entity>,
    /// The counter's value at which this CPU must ask again at the latest.
    pub until: Option<u64>,
    /// Another CPU that should ask now.
    pub kick: Option<usize>,
}

/// The scheduler of a pool of CPUs.
#[derive(Debug)]
pub struct Scheduler {
    cpus: Vec<(usize, Option<usize>)>,
    queue: VecDeque<usize>,
    vcpus: Vec<Vcpu>,
    slice: u64,
}

#[derive(Debug)]
struct Vcpu {
    place: Placement,
    state: State,
    since: u64,
    woken: bool,
    ran: u64,
    stolen: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running(usize),
    Waiting,
    Blocked(Option<u64>),
}

impl Vcpu {
    fn enter(&mut self, state: State, now: u64) {
        let time = now.saturating_sub(self.since);
        match self.state {
            State::Running(_) => self.ran = self.ran.saturating_add(time),
            State::Waiting => self.stolen = self.stolen.saturating_add(time),
            State::Blocked(_) => {}
        }
        self.state = state;
        self.since = now;
    }
}

impl Scheduler {
    /// Makes a scheduler for the pool of physical CPUs `cpus`, in which all vCPUs are blocked until they are
    /// woken. `slice` is in counter ticks.
    pub fn new(cpus: &[usize], shares: &[Share], slice: u64) -> Self {
        let places = shares.iter().flat_map(|share| &share.vcpus);
        let vcpus: Vec<Vcpu> = places
            .map(|&place| Vcpu {
                place,
                state: State::Blocked(None),
                since: 0,
                woken: false,
                ran: 0,
                stolen: 0,
            })
            .collect();
        Self {
            cpus: cpus.iter().map(|&cpu| (cpu, None)).collect(),
            queue: VecDeque::with_capacity(vcpus.len()),
            vcpus,
            slice,
        }
    }

    /// Chooses what runs next on `cpu`. What runs there, if anything, stays runnable.
    pub fn pick(&mut self, cpu: usize, now: u64) -> Pick {
        for (index, vcpu) in self.vcpus.iter_mut().enumerate() {
            if matches!(vcpu.state, State::Blocked(Some(until)) if until <= now) {
                vcpu.enter(State::Waiting, now);
                self.queue.push_back(index);
            }
        }
        if let Some(index) = self.take(cpu)
            && let Some(vcpu) = self.vcpus.get_mut(index)
        {
            vcpu.enter(State::Waiting, now);
            vcpu.woken = false;
            self.queue.push_back(index);
        }
        let allowed = |index: &usize| self.is_allowed(*index, cpu);
        let chosen = self.queue.iter().position(allowed);
        let chosen = chosen.and_then(|at| self.queue.remove(at));
        let deadline = |vcpu: &Vcpu| match vcpu.state {
            State::Blocked(until) => until,
            _ => None,
        };
        let wake = self.vcpus.iter().filter_map(deadline).min();
        if let Some(vcpu) = chosen.and_then(|index| self.vcpus.get_mut(index)) {
            vcpu.enter(State::Running(cpu), now);
        }
        if let Some(slot) = self.cpus.iter_mut().find(|slot| slot.0 == cpu) {
            slot.1 = chosen;
        }
        let end = chosen.map(|_| now.saturating_add(self.slice));
        let waits = |slot: &&(usize, Option<usize>)| {
            slot.1.is_none() && self.queue.iter().any(|one| self.is_allowed(*one, slot.0))
        };
        Pick {
            run: chosen.map(Entity),
            until: end.into_iter().chain(wake).min(),
            kick: self.cpus.iter().find(waits).map(|slot| slot.0),
        }
    }

    /// Says that what runs on `cpu` has nothing to do until it is woken, or until the counter reaches
    /// `until`. The caller picks next.
    pub fn block(&mut self, cpu: usize, now: u64, until: Option<u64>) {
        let Some(index) = self.take(cpu) else {
            return;
        };
        if let Some(vcpu) = self.vcpus.get_mut(index) {
            if vcpu.woken {
                vcpu.woken = false;
                vcpu.enter(State::Waiting, now);
                self.queue.push_back(index);
            } else {
                vcpu.enter(State::Blocked(until), now);
            }
        }
    }

    /// Makes a vCPU runnable. Returns the CPU to interrupt: where it runs, or which should take it.
    ///
    /// Of a vCPU that runs it is remembered: a [`Scheduler::block`] that follows makes it runnable again.
    pub fn wake(&mut self, entity: Entity, now: u64) -> Option<usize> {
        let vcpu = self.vcpus.get_mut(entity.0)?;
        match vcpu.state {
            State::Running(cpu) => {
                vcpu.woken = true;
                Some(cpu)
            }
            State::Waiting => None,
            State::Blocked(_) => {
                vcpu.enter(State::Waiting, now);
                self.queue.push_back(entity.0);
                let idle = |slot: &&(usize, Option<usize>)| {
                    slot.1.is_none() && self.is_allowed(entity.0, slot.0)
                };
                self.cpus.iter().find(idle).map(|slot| slot.0)
            }
        }
    }

    /// Returns for how many ticks, up to `now`, the vCPU was runnable and did not run.
    pub fn stolen(&self, entity: Entity, now: u64) -> u64 {
        self.vcpus.get(entity.0).map_or(0, |vcpu| {
            let waits = vcpu.state == State::Waiting;
            let open = if waits {
                now.saturating_sub(vcpu.since)
            } else {
                0
            };
            vcpu.stolen.saturating_add(open)
        })
    }

    /// Returns for how many ticks, up to `now`, the vCPU ran.
    pub fn ran(&self, entity: Entity, now: u64) -> u64 {
        self.vcpus.get(entity.0).map_or(0, |vcpu| {
            let runs = matches!(vcpu.state, State::Running(_));
            let open = if runs {
                now.saturating_sub(vcpu.since)
            } else {
                0
            };
            vcpu.ran.saturating_add(open)
        })
    }

    fn take(&mut self, cpu: usize) -> Option<usize> {
        self.cpus.iter_mut().find(|slot| slot.0 == cpu)?.1.take()
    }

    fn is_allowed(&self, index: usize, cpu: usize) -> bool {
        match self.vcpus.get(index).map(|vcpu| vcpu.place) {
            Some(Placement::On(only)) => only == cpu,
            Some(Placement::Any) => true,
            None => false,
        }
    }
}
