//! Who runs next on one CPU, and until when.

use super::heaps::Item;
use super::vcpu::State;
use super::{ANYWHERE, Scheduler};

/// In the queue for all CPUs, so many places are searched for a vCPU that ran here last.
const NEAR: usize = 7;
/// A vCPU that just began to run keeps its CPU for this part of a slice, whoever wakes.
const PROTECTED: u64 = 8;

impl Scheduler {
    /// Chooses among what runs on a CPU and what waits for it, and makes it so.
    pub(super) fn choose(&mut self, at: usize, mut current: Option<usize>, now: u64) -> Option<usize> {
        loop {
            let chosen = self.best(at, current, now)?;
            let is_kept = current == Some(chosen);
            let time = self.vcpus.get(chosen)?.time;
            let cpu = self.cpus.get_mut(at)?;
            if !is_kept || now.saturating_sub(cpu.begun) >= self.slice {
                cpu.begun = now;
                cpu.from = time;
            }
            let most = cpu.begun.saturating_add(self.slice).saturating_sub(now);
            let Some(part) = self.afford(chosen, at, most, now) else {
                if is_kept {
                    let _ = self.leave(at);
                    self.queue(chosen, now);
                    current = None;
                }
                continue;
            };
            if !is_kept {
                if let Some(other) = self.leave(at) {
                    self.queue(other, now);
                }
                let _ = self.start(at, chosen, now);
            }
            let vcpu = self.vcpus.get(chosen)?;
            let start = time.saturating_sub(self.vms.get(vcpu.vm)?.quantum);
            let domain = self.domains.get_mut(vcpu.domain)?;
            domain.time = domain.time.max(start);
            let cpu = self.cpus.get_mut(at)?;
            cpu.part = part;
            cpu.charged = now;
            return Some(chosen);
        }
    }

    /// Returns when the slice of what runs on a CPU is over, or the part of the budget that it has.
    pub(super) fn end(&mut self, at: usize, now: u64) -> Option<u64> {
        let heads = [self.queues.head(ANYWHERE), self.queues.head(at + 1)];
        let mut heads = heads.into_iter().flatten();
        let is_urged = heads.any(|one| self.urges(one.id, at));
        let cpu = self.cpus.get_mut(at)?;
        cpu.is_urged = is_urged;
        let vm = self.vms.get(self.vcpus.get(cpu.running?)?.vm)?;
        let capped = vm.budget.as_ref();
        let capped = capped.map(|_| cpu.charged.saturating_add(cpu.part));
        let protected = cpu.begun.saturating_add(self.slice / PROTECTED);
        let slice = if is_urged && now < protected {
            Some(protected)
        } else if cpu.is_alone {
            None
        } else {
            Some(cpu.begun.saturating_add(self.slice))
        };
        slice.into_iter().chain(capped).min()
    }

    /// Returns whether a vCPU that waits was worse off than what runs on a CPU when that began to run there.
    pub(super) fn urges(&self, index: usize, at: usize) -> bool {
        self.urge(index, at).is_some_and(|urge| urge > 0)
    }

    /// Returns by how much virtual time it was.
    pub(super) fn urge(&self, index: usize, at: usize) -> Option<i128> {
        let cpu = self.cpus.get(at)?;
        let running = self.vcpus.get(cpu.running?)?;
        let from = cpu.from.saturating_add(self.domains.get(running.domain)?.offset);
        Some(from.saturating_sub(self.lead(index)?))
    }

    /// Returns a vCPU's virtual time as it compares between domains.
    fn lead(&self, index: usize) -> Option<i128> {
        let vcpu = self.vcpus.get(index)?;
        Some(vcpu.time.saturating_add(self.domains.get(vcpu.domain)?.offset))
    }

    /// Returns who should run on a CPU, budgets aside.
    fn best(&mut self, at: usize, current: Option<usize>, now: u64) -> Option<usize> {
        let is_free = |index: &usize| self.is_free(*index);
        let own = self.queues.head(at + 1).map(|one| one.id);
        let bound = own.or(current.filter(|index| !is_free(index)));
        let ran = now.saturating_sub(self.cpus.get(at)?.begun);
        let is_over = current.is_none() || ran >= self.slice;
        let mut free = if is_over { self.near(at) } else { self.queues.head(ANYWHERE).map(|one| one.id) };
        if bound.is_some() && self.idle.first_except(&self.called).is_some() {
            // Who may run anywhere is better off on the idle CPU.
            free = None;
            if current.is_some_and(|index| is_free(&index)) {
                return own;
            }
        }
        let running = |wanted: bool| current.filter(|index| is_free(index) == wanted);
        let free_lowest = self.lower(free, running(true));
        let bound_lowest = self.lower(own, running(false));
        let _ = self.align(at, free_lowest, bound_lowest);
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
    pub(super) fn is_free(&self, index: usize) -> bool {
        let vcpu = self.vcpus.get(index);
        vcpu.is_some_and(|vcpu| vcpu.domain == ANYWHERE)
    }

    fn lower(&self, one: Option<usize>, other: Option<usize>) -> Option<usize> {
        let both = [one, other].into_iter().flatten();
        both.min_by_key(|index| self.lead(*index))
    }

    /// Returns the first of the queue for all CPUs, or one that ran here and is as good as the first.
    fn near(&self, at: usize) -> Option<usize> {
        let head = self.queues.head(ANYWHERE)?;
        let vm = self.vms.get(self.vcpus.get(head.id)?.vm)?;
        let last = head.key.saturating_add(vm.credit / 8);
        let ran_here = |one: &Item| {
            let vcpu = self.vcpus.get(one.id);
            one.key <= last && vcpu.is_some_and(|vcpu| vcpu.last == Some(at))
        };
        let front = self.queues.front(ANYWHERE, NEAR);
        let near = front.filter(ran_here).min_by_key(|one| one.key);
        Some(near.unwrap_or(head).id)
    }

    /// Moves the domain of a CPU, so that neither side has more than two quanta before the other.
    fn align(&mut self, at: usize, free: Option<usize>, bound: Option<usize>) -> Option<()> {
        let (free, bound) = (free?, bound?);
        let ahead = self.lead(bound)?.saturating_sub(self.lead(free)?);
        let quantum = |index: usize| Some(self.vms.get(self.vcpus.get(index)?.vm)?.quantum);
        let most = quantum(bound)?.saturating_mul(2);
        let least = quantum(free)?.saturating_mul(-2);
        let domain = self.domains.get_mut(at + 1)?;
        let change = ahead.clamp(least, most).saturating_sub(ahead);
        domain.offset = domain.offset.saturating_add(change);
        Some(())
    }

    /// Sets a part of the budget aside; if there is none, the vCPU's VM is throttled.
    fn afford(&mut self, index: usize, at: usize, most: u64, now: u64) -> Option<u64> {
        let number = self.vcpus.get(index)?.vm;
        let vm = self.vms.get_mut(number)?;
        if vm.throttled {
            return None;
        }
        let part = vm.reserve(now, most);
        if part.is_none() {
            self.throttle(number, at, now);
        }
        part
    }

    fn start(&mut self, at: usize, index: usize, now: u64) -> Option<()> {
        self.queues.remove(index);
        let vcpu = self.vcpus.get_mut(index)?;
        vcpu.enter(State::Running(at), now);
        vcpu.last = Some(at);
        vcpu.woken = false;
        vcpu.mark = self.vms.get(vcpu.vm)?.meter(now);
        let domain = vcpu.domain;
        self.note_crowd(domain);
        self.floating.set(at, domain == ANYWHERE);
        self.cpus.get_mut(at)?.running = Some(index);
        Some(())
    }
}
