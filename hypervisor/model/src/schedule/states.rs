//! From running to waiting, blocked or throttled, and back; and what is paid on the way.

use super::heaps::Item;
use super::vcpu::State;
use super::{ANYWHERE, Scheduler, to_ticks};

impl Scheduler {
    /// Does what is due on a CPU: wakes sleepers, begins periods.
    pub(super) fn ring(&mut self, at: usize, now: u64) {
        while let Some(timer) = self.timers.head(at)
            && to_ticks(timer.key) <= now
        {
            self.timers.remove(timer.id);
            self.fresh = true;
            match timer.id.checked_sub(self.vcpus.len()) {
                None => {
                    let since = self.rouse(timer.id, now);
                    self.queue(timer.id, since);
                }
                Some(vm) => self.release(vm, now),
            }
        }
    }

    /// Makes a blocked vCPU runnable, which is in no queue yet. Returns since when it is.
    pub(super) fn rouse(&mut self, index: usize, now: u64) -> u64 {
        let vcpu = &self.vcpus[index];
        let vm = &mut self.vms[vcpu.vm];
        vm.count(true, now, vm.meter(now));
        // If the CPU that should have seen to it was late, that is stolen time too.
        let since = now.min(vcpu.due);
        self.welcome(index);
        since
    }

    /// Puts a vCPU that was away where it belongs in virtual time.
    fn welcome(&mut self, index: usize) {
        let vcpu = &mut self.vcpus[index];
        let vm = &self.vms[vcpu.vm];
        let time = self.domains[vcpu.domain].time;
        let (earliest, latest) = (time - vm.credit, time + 2 * vm.quantum);
        let group = &mut self.groups[vcpu.group];
        *group = (*group).clamp(earliest, latest);
        vcpu.time = vcpu.time.clamp(*group, latest);
    }

    /// Lets a vCPU wait that does not run.
    pub(super) fn queue(&mut self, index: usize, now: u64) {
        let vcpu = &mut self.vcpus[index];
        if self.vms[vcpu.vm].throttled {
            return vcpu.enter(State::Throttled, now);
        }
        vcpu.enter(State::Waiting, now);
        let (key, domain) = (vcpu.time, vcpu.domain);
        self.queues.push(domain, Item { key, id: index });
        self.note_crowd(domain);
    }

    pub(super) fn note_crowd(&mut self, domain: usize) {
        if let Some(at) = domain.checked_sub(1) {
            self.crowded.set(at, self.queues.head(domain).is_some());
        }
    }

    /// Charges what runs on a CPU for its time until now, and returns it.
    pub(super) fn charge(&mut self, at: usize, now: u64) -> Option<usize> {
        let cpu = &mut self.cpus[at];
        let index = cpu.running?;
        let vcpu = &mut self.vcpus[index];
        let vm = &mut self.vms[vcpu.vm];
        let used = now.saturating_sub(cpu.charged);
        cpu.charged = now;
        let meter = vm.meter(now);
        let paid = meter - vcpu.mark;
        vcpu.mark = meter;
        // Who runs all the time, and is still behind, can't use more: that is no claim for later.
        vcpu.time = (vcpu.time + paid).max(self.domains[vcpu.domain].time - vm.credit);
        self.groups[vcpu.group] += vm.cost(used);
        let mut is_back = false;
        if let Some(budget) = &mut vm.budget {
            budget.give_back(cpu.part, used, now);
            is_back = vm.throttled && budget.is_enough();
        }
        if is_back {
            let vm = vcpu.vm;
            self.timers.remove(self.vcpus.len() + vm);
            self.release(vm, now);
            self.fresh = true;
        }
        Some(index)
    }

    /// What runs on a CPU pays for the rest of its slice, if there is somebody to have it: otherwise vCPUs that spin, and
    /// so pay little, would only make room for one another. At most two quanta, as for a sleeper.
    pub(super) fn forfeit(&mut self, at: usize, index: usize, now: u64) {
        if [ANYWHERE, at + 1].into_iter().all(|domain| self.queues.head(domain).is_none()) {
            return;
        }
        let end = self.cpus[at].begun.saturating_add(self.slice).max(now);
        let vcpu = &mut self.vcpus[index];
        let vm = &self.vms[vcpu.vm];
        let latest = self.domains[vcpu.domain].time + 2 * vm.quantum;
        let paid = vcpu.time + vm.meter(end) - vm.meter(now);
        vcpu.time = paid.min(latest).max(vcpu.time);
        self.cpus[at].begun = now.saturating_sub(self.slice);
    }

    /// Lets nobody run on a CPU. Returns who did.
    #[inline(always)]
    pub(super) fn leave(&mut self, at: usize) -> Option<usize> {
        self.floating.set(at, false);
        self.cpus[at].running.take()
    }

    /// Keeps a VM's vCPUs from running until its budget is renewed, at the latest.
    pub(super) fn throttle(&mut self, vm: usize, at: usize, now: u64) {
        let id = self.vcpus.len() + vm;
        let vm = &mut self.vms[vm];
        let renewal = vm.budget.as_ref().map_or(now, |budget| budget.renewal);
        vm.throttled = true;
        for index in vm.vcpus.clone() {
            let vcpu = &mut self.vcpus[index];
            if let State::Kept(last) = vcpu.state {
                self.cpus[last].kept = None;
            }
            if matches!(vcpu.state, State::Waiting | State::Kept(_)) {
                vcpu.enter(State::Throttled, now);
                let domain = vcpu.domain;
                self.queues.remove(index);
                self.note_crowd(domain);
            }
        }
        self.timers.push(at, Item { key: i128::from(renewal), id });
    }

    /// Lets a VM's vCPUs run again.
    fn release(&mut self, vm: usize, now: u64) {
        let vm = &mut self.vms[vm];
        vm.throttled = false;
        for index in vm.vcpus.clone() {
            if self.vcpus[index].state == State::Throttled {
                self.welcome(index);
                self.queue(index, now);
            }
        }
    }
}
