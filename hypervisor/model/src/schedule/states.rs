//! From running to waiting, blocked or throttled, and back; and what is paid on the way.

use super::heaps::Item;
use super::vcpu::{State, Vcpu};
use super::vm::Vm;
use super::{ANYWHERE, Domain, NEVER, Scheduler, to_ticks};

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
                    let (vcpu, vm, domain, group) = self.parts(timer.id);
                    let since = vcpu.rouse(vm, domain, group, now);
                    self.queue(timer.id, since);
                }
                Some(vm) => self.release(vm, now),
            }
        }
    }

    /// What belongs to a vCPU: itself, its VM, its domain, and its VM's virtual time there.
    #[inline(always)]
    fn parts(&mut self, index: usize) -> (&mut Vcpu, &mut Vm, &mut Domain, &mut i128) {
        let vcpu = &mut self.vcpus[index];
        let (vm, domain) = (&mut self.vms[vcpu.vm], &mut self.domains[vcpu.domain]);
        let group = &mut self.groups[vcpu.group];
        (vcpu, vm, domain, group)
    }

    /// Lets a vCPU wait that does not run.
    #[inline(never)]
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
        let index = self.cpus[at].running?;
        let vcpu = &mut self.vcpus[index];
        let (cpu, vm) = (&mut self.cpus[at], &mut self.vms[vcpu.vm]);
        let is_back = vcpu.pay(cpu, vm, &self.domains[vcpu.domain], &mut self.groups[vcpu.group], now);
        if is_back {
            self.renew(index, now);
        }
        Some(index)
    }

    /// What runs on a CPU has nothing to do any more, until it is woken or its time has come.
    #[inline(always)]
    pub(super) fn put_aside(&mut self, at: usize, index: usize, now: u64, until: Option<u64>) {
        let vcpu = &mut self.vcpus[index];
        let (cpu, vm) = (&mut self.cpus[at], &mut self.vms[vcpu.vm]);
        let is_back = vcpu.pay(cpu, vm, &self.domains[vcpu.domain], &mut self.groups[vcpu.group], now);
        cpu.running = None;
        self.floating.set(at, false);
        let goes_on = core::mem::take(&mut vcpu.woken) || until.is_some_and(|until| until <= now);
        if !goes_on {
            vcpu.block(until, now);
            // The meter was read to charge it.
            vm.count(false, now, vcpu.mark);
            if let Some(until) = until.filter(|until| *until != NEVER) {
                self.timers.push(at, Item { key: i128::from(until), id: index });
            }
        }
        if is_back {
            self.renew(index, now);
        }
        if goes_on {
            self.queue(index, now);
        }
    }

    /// The VM of this vCPU has enough of its budget again.
    #[inline(never)]
    fn renew(&mut self, index: usize, now: u64) {
        let vm = self.vcpus[index].vm;
        self.timers.remove(self.vcpus.len() + vm);
        self.release(vm, now);
        self.fresh = true;
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
            if vcpu.state == State::Waiting {
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
                let (vcpu, vm, domain, group) = self.parts(index);
                vcpu.welcome(vm, domain, group);
                self.queue(index, now);
            }
        }
    }
}
