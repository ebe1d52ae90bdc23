//! One vCPU as the scheduler sees it, what it pays, and where its time went.

use super::vm::Vm;
use super::{Cpu, Domain, NEVER};

/// The vCPU.
#[derive(Debug)]
pub(super) struct Vcpu {
    /// Its VM.
    pub(super) vm: usize,
    /// Where it waits: 0 if it may run anywhere, or 1 + the place of its CPU in the pool.
    pub(super) domain: usize,
    /// Its VM's vCPUs of the same domain.
    pub(super) group: usize,
    /// What it does.
    pub(super) state: State,
    /// Its virtual time.
    pub(super) time: i128,
    /// Its VM's meter when it was last charged.
    pub(super) mark: i128,
    /// The CPU on which it last ran.
    pub(super) last: Option<usize>,
    /// If it is blocked, when it is runnable again without being woken; [`NEVER`] if it is not.
    pub(super) due: u64,
    /// Whether it was woken while it ran, after its CPU last asked what to run.
    pub(super) woken: bool,
    since: u64,
    ran: u64,
    stolen: u64,
}

/// What a vCPU does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It runs on the CPU of this place in the pool.
    Running(usize),
    /// It could run, and is in its domain's queue.
    Waiting,
    /// It could run, but its VM's budget is used up.
    Throttled,
    /// It has nothing to do.
    Blocked,
}

impl Vcpu {
    /// Makes a vCPU that has nothing to do.
    pub(super) const fn new(vm: usize, domain: usize, group: usize) -> Self {
        Self {
            vm,
            domain,
            group,
            state: State::Blocked,
            time: 0,
            mark: 0,
            last: None,
            due: NEVER,
            woken: false,
            since: 0,
            ran: 0,
            stolen: 0,
        }
    }

    /// Makes it runnable, which was blocked. Returns since when it is.
    #[inline(always)]
    pub(super) fn rouse(&mut self, vm: &mut Vm, domain: &Domain, group: &mut i128, now: u64) -> u64 {
        self.mark = vm.meter(now);
        vm.count(true, now, self.mark);
        self.welcome(vm, domain, group);
        // If the CPU that should have seen to it was late, that is stolen time too.
        now.min(self.due)
    }

    /// Puts it where it belongs in virtual time, after it was away.
    #[inline(always)]
    pub(super) fn welcome(&mut self, vm: &Vm, domain: &Domain, group: &mut i128) {
        let (earliest, latest) = (domain.time.wrapping_sub(vm.credit), domain.time.wrapping_add(vm.quantum << 1));
        *group = (*group).max(earliest).min(latest);
        self.time = self.time.max(*group).min(latest);
    }

    /// Pays for its time on this CPU until now. Returns whether its VM, which is throttled, has enough of its budget again.
    #[inline(always)]
    pub(super) fn pay(&mut self, cpu: &mut Cpu, vm: &mut Vm, domain: &Domain, group: &mut i128, now: u64) -> bool {
        let used = now.saturating_sub(cpu.charged);
        cpu.charged = now;
        let meter = vm.meter(now);
        let paid = meter.wrapping_sub(self.mark);
        self.mark = meter;
        // Who runs all the time, and is still behind, can't use more: that is no claim for later.
        self.time = self.time.wrapping_add(paid).max(domain.time.wrapping_sub(vm.credit));
        *group = group.wrapping_add(vm.cost(used));
        match &mut vm.budget {
            None => false,
            Some(budget) => {
                budget.give_back(cpu.part, used, now);
                vm.throttled && budget.is_enough()
            }
        }
    }

    /// Changes the state, and books the time in the one before.
    pub(super) fn enter(&mut self, state: State, now: u64) {
        self.ran = self.ran(now);
        self.stolen = self.stolen(now);
        self.state = state;
        self.since = now;
    }

    /// Begins to run, which was blocked.
    #[inline(always)]
    pub(super) fn run(&mut self, at: usize, now: u64) {
        self.stolen = self.stolen.saturating_add(now.saturating_sub(self.due));
        (self.state, self.since, self.last, self.woken) = (State::Running(at), now, Some(at), false);
    }

    /// Blocks until then, which ran.
    #[inline(always)]
    pub(super) fn block(&mut self, until: Option<u64>, now: u64) {
        self.ran = self.ran.saturating_add(now.saturating_sub(self.since));
        (self.state, self.since, self.due) = (State::Blocked, now, until.unwrap_or(NEVER));
    }

    /// Returns for how many ticks it ran.
    #[inline(always)]
    pub(super) fn ran(&self, now: u64) -> u64 {
        let open = match self.state {
            State::Running(_) => now.saturating_sub(self.since),
            State::Waiting | State::Throttled | State::Blocked => 0,
        };
        self.ran.saturating_add(open)
    }

    /// Returns for how many ticks it could run and did not.
    #[inline(always)]
    pub(super) fn stolen(&self, now: u64) -> u64 {
        let open = match self.state {
            State::Running(_) => 0,
            State::Waiting | State::Throttled => now.saturating_sub(self.since),
            // No CPU has seen to it yet.
            State::Blocked => now.saturating_sub(self.due),
        };
        self.stolen.saturating_add(open)
    }
}
