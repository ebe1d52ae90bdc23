//! Who runs next on one CPU, and until when.

use super::heaps::Item;
use super::vcpu::State;
use super::{ANYWHERE, Pick, Scheduler, Wake, to_ticks};

/// In the queue for all CPUs, so many places are searched for a vCPU that ran here last.
const NEAR: usize = 7;
/// A vCPU that just began to run keeps its CPU for this part of a slice, whoever wakes.
const PROTECTED: u64 = 8;

/// What became of a vCPU that was blocked.
pub(super) enum Roused {
    /// It runs on a CPU that slept.
    Runs(Wake),
    /// It is to be queued, and is runnable since then.
    Since(u64),
}

impl Scheduler {
    /// Lets a CPU sleep on which nothing runs, while nobody waits in any queue: what all the rest of a choice comes to then.
    /// `None`: there is more to look at.
    #[inline(always)]
    pub(super) fn sleep(&mut self, at: usize, now: u64) -> Option<Pick> {
        let timer = self.timer(at);
        if self.cpus[at].running.is_some() || !self.queues.is_empty() || timer.is_some_and(|timer| timer <= now) {
            return None;
        }
        self.called.set(at, false);
        self.idle.set(at, true);
        self.fresh = false;
        Some(Pick { run: None, until: timer, kick: None })
    }

    /// Makes a blocked vCPU runnable, which is in no queue. It is put on the CPU where it ran last, if that sleeps, was not told to
    /// ask and has nothing else to do. Nobody waits then, so that there is nobody to compare it with: the same as
    /// [`Scheduler::choose`] and what goes with it come to.
    #[inline(always)]
    pub(super) fn rouse(&mut self, index: usize, now: u64) -> Roused {
        let vcpu = &mut self.vcpus[index];
        let (vm, domain) = (&mut self.vms[vcpu.vm], &mut self.domains[vcpu.domain]);
        let since = vcpu.rouse(vm, domain, &mut self.groups[vcpu.group], now);
        let Some(at) = vcpu.last.filter(|_| self.queues.is_empty() && vm.budget.is_none()) else {
            return Roused::Since(since);
        };
        let timer = self.timers.head(at).map(|timer| to_ticks(timer.key));
        if !self.idle.contains(at) || timer.is_some_and(|timer| timer <= now) {
            return Roused::Since(since);
        }
        vcpu.run(at, now);
        domain.time = domain.time.max(vcpu.time.wrapping_sub(vm.quantum));
        let cpu = &mut self.cpus[at];
        (cpu.running, cpu.begun, cpu.from, cpu.charged) = (Some(index), now, vcpu.time, now);
        (cpu.part, cpu.is_urged) = (u64::MAX, false);
        self.floating.set(at, vcpu.domain == ANYWHERE);
        self.idle.set(at, false);
        let end = (!cpu.is_alone).then(|| now.saturating_add(self.slice));
        let until = timer.into_iter().chain(end).min();
        Roused::Runs(Wake::Run { cpu: cpu.id, until, stolen: vcpu.stolen(now) })
    }

    /// Returns when a CPU has something to do of its own.
    pub(super) fn timer(&self, at: usize) -> Option<u64> {
        self.timers.head(at).map(|timer| to_ticks(timer.key))
    }

    /// Chooses among what runs on a CPU and what waits for it, and makes it so.
    pub(super) fn choose(&mut self, at: usize, mut current: Option<usize>, now: u64) -> Option<usize> {
        loop {
            let chosen = self.best(at, current, now)?;
            let stays = current == Some(chosen);
            let time = self.vcpus[chosen].time;
            let cpu = &mut self.cpus[at];
            if !stays || now.saturating_sub(cpu.begun) >= self.slice {
                (cpu.begun, cpu.from) = (now, time);
            }
            let most = cpu.begun.saturating_add(self.slice).saturating_sub(now);
            let Some(part) = self.afford(chosen, at, most, now) else {
                if stays {
                    let _ = self.leave(at);
                    self.queue(chosen, now);
                    current = None;
                }
                continue;
            };
            if !stays {
                if let Some(other) = self.leave(at) {
                    self.queue(other, now);
                }
                self.start(at, chosen, now);
            }
            let start = time - self.vms[self.vcpus[chosen].vm].quantum;
            let domain = &mut self.domains[self.vcpus[chosen].domain];
            domain.time = domain.time.max(start);
            (self.cpus[at].part, self.cpus[at].charged) = (part, now);
            return Some(chosen);
        }
    }

    /// Returns when the slice of what runs on a CPU is over, or the part of the budget that it has.
    pub(super) fn end(&mut self, at: usize, now: u64) -> Option<u64> {
        let heads = || [self.queues.head(ANYWHERE), self.queues.head(at + 1)];
        let is_urged = !self.queues.is_empty() && heads().into_iter().flatten().any(|one| self.urges(one.id, at));
        let cpu = &mut self.cpus[at];
        cpu.is_urged = is_urged;
        let is_capped = self.vms[self.vcpus[cpu.running?].vm].budget.is_some();
        let capped = is_capped.then(|| cpu.charged.saturating_add(cpu.part));
        let protected = cpu.begun.saturating_add(self.slice / PROTECTED);
        let slice = if is_urged && now < protected {
            Some(protected)
        } else {
            (!cpu.is_alone).then(|| cpu.begun.saturating_add(self.slice))
        };
        slice.into_iter().chain(capped).min()
    }

    /// Returns whether a vCPU that waits was worse off than what runs on a CPU when that began to run there.
    pub(super) fn urges(&self, index: usize, at: usize) -> bool {
        self.urge(index, at).is_some_and(|urge| urge > 0)
    }

    /// Returns by how much virtual time it was.
    pub(super) fn urge(&self, index: usize, at: usize) -> Option<i128> {
        let cpu = &self.cpus[at];
        let running = &self.vcpus[cpu.running?];
        Some(cpu.from + self.domains[running.domain].offset - self.lead(index))
    }

    /// Returns a vCPU's virtual time as it compares between domains.
    fn lead(&self, index: usize) -> i128 {
        let vcpu = &self.vcpus[index];
        vcpu.time + self.domains[vcpu.domain].offset
    }

    /// Returns who should run on a CPU, budgets aside.
    fn best(&mut self, at: usize, current: Option<usize>, now: u64) -> Option<usize> {
        if self.queues.is_empty() {
            return current;
        }
        let own = self.queues.head(at + 1).map(|one| one.id);
        let bound = own.or(current.filter(|&index| !self.is_free(index)));
        let ran = now.saturating_sub(self.cpus[at].begun);
        let is_over = current.is_none() || ran >= self.slice;
        let mut free = if is_over { self.near(at) } else { self.queues.head(ANYWHERE).map(|one| one.id) };
        if bound.is_some() && !self.idle.is_empty() {
            // Who may run anywhere is better off on the idle CPU.
            free = None;
            if current.is_some_and(|index| self.is_free(index)) {
                return own;
            }
        }
        let running = |wanted: bool| current.filter(|&index| self.is_free(index) == wanted);
        let free_lowest = self.lower(free, running(true));
        let bound_lowest = self.lower(own, running(false));
        if let (Some(free), Some(bound)) = (free_lowest, bound_lowest) {
            self.align(at, free, bound);
        }
        let first = self.lower(free, own);
        let (Some(current), Some(first)) = (current, first) else {
            return current.or(first);
        };
        let is_first = if is_over {
            self.lead(first) < self.lead(current)
        } else {
            ran >= self.slice / PROTECTED && self.urges(first, at)
        };
        Some(if is_first { first } else { current })
    }

    /// Returns whether a vCPU may run on every CPU.
    fn is_free(&self, index: usize) -> bool {
        self.vcpus[index].domain == ANYWHERE
    }

    fn lower(&self, one: Option<usize>, other: Option<usize>) -> Option<usize> {
        match (one, other) {
            (Some(one), Some(other)) if self.lead(other) < self.lead(one) => Some(other),
            _ => one.or(other),
        }
    }

    /// Returns the first of the queue for all CPUs, or one that ran here and is as good as the first.
    fn near(&self, at: usize) -> Option<usize> {
        let head = self.queues.head(ANYWHERE)?;
        let last = head.key + self.vms[self.vcpus[head.id].vm].credit / 8;
        let ran_here = |one: &Item| one.key <= last && self.vcpus[one.id].last == Some(at);
        let near = self.queues.front(ANYWHERE, NEAR).filter(ran_here).min_by_key(|one| one.key);
        Some(near.unwrap_or(head).id)
    }

    /// Moves the domain of a CPU, so that neither side has more than two quanta before the other.
    fn align(&mut self, at: usize, free: usize, bound: usize) {
        let ahead = self.lead(bound) - self.lead(free);
        let quantum = |index: usize| self.vms[self.vcpus[index].vm].quantum;
        self.domains[at + 1].offset += ahead.max(-2 * quantum(free)).min(2 * quantum(bound)) - ahead;
    }

    /// Sets a part of the budget aside; if there is none, the vCPU's VM is throttled.
    fn afford(&mut self, index: usize, at: usize, most: u64, now: u64) -> Option<u64> {
        let vm = self.vcpus[index].vm;
        if self.vms[vm].throttled {
            return None;
        }
        let part = self.vms[vm].reserve(now, most);
        if part.is_none() {
            self.throttle(vm, at, now);
        }
        part
    }

    fn start(&mut self, at: usize, index: usize, now: u64) {
        self.queues.remove(index);
        let vcpu = &mut self.vcpus[index];
        vcpu.enter(State::Running(at), now);
        vcpu.last = Some(at);
        vcpu.woken = false;
        vcpu.mark = self.vms[vcpu.vm].meter(now);
        let domain = vcpu.domain;
        self.note_crowd(domain);
        self.floating.set(at, domain == ANYWHERE);
        self.cpus[at].running = Some(index);
    }
}
