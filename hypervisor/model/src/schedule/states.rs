//! From running to waiting, blocked or throttled, and back; and what is paid on the way.

use super::heaps::Item;
use super::vcpu::{State, Vcpu};
use super::{Scheduler, to_ticks};

impl Scheduler {
    /// Does what is due on a CPU: wakes sleepers, begins periods.
    pub(super) fn ring(&mut self, at: usize, now: u64) {
        while let Some(timer) = self.timers.head(at) {
            if to_ticks(timer.key) > now {
                return;
            }
            self.timers.remove(timer.id);
            self.fresh = true;
            match timer.id.checked_sub(self.vcpus.len()) {
                None => self.rouse(timer.id, now),
                Some(vm) => self.release(vm, now),
            }
        }
    }

    /// Makes a blocked vCPU runnable.
    pub(super) fn rouse(&mut self, index: usize, now: u64) {
        let Some(vcpu) = self.vcpus.get_mut(index) else {
            return;
        };
        if let Some(vm) = self.vms.get_mut(vcpu.vm) {
            vm.count(true, now);
        }
        // If the CPU that should have seen to it was late, that is stolen time too.
        let since = now.min(vcpu.due);
        let _ = self.welcome(index);
        self.queue(index, since);
    }

    /// Puts a vCPU that was away where it belongs in virtual time.
    pub(super) fn welcome(&mut self, index: usize) -> Option<()> {
        let vcpu = self.vcpus.get_mut(index)?;
        let vm = self.vms.get(vcpu.vm)?;
        let domain = self.domains.get(vcpu.domain)?;
        let group = self.groups.get_mut(vcpu.group)?;
        let earliest = domain.time.saturating_sub(vm.credit);
        let latest = domain.time.saturating_add(2 * vm.quantum);
        *group = (*group).clamp(earliest, latest);
        vcpu.time = vcpu.time.clamp(*group, latest);
        Some(())
    }

    /// Lets a vCPU wait that does not run.
    pub(super) fn queue(&mut self, index: usize, now: u64) {
        let Some(vcpu) = self.vcpus.get_mut(index) else {
            return;
        };
        if self.vms.get(vcpu.vm).is_some_and(|vm| vm.throttled) {
            vcpu.enter(State::Throttled, now);
            return;
        }
        vcpu.enter(State::Waiting, now);
        let (key, domain) = (vcpu.time, vcpu.domain);
        self.queues.push(domain, Item { key, id: index });
        self.note_crowd(domain);
    }

    pub(super) fn note_crowd(&mut self, domain: usize) {
        if let Some(at) = domain.checked_sub(1) {
            let waits = self.queues.head(domain).is_some();
            self.crowded.set(at, waits);
        }
    }

    /// Charges what runs on a CPU for its time until now, and returns it.
    pub(super) fn charge(&mut self, at: usize, now: u64) -> Option<usize> {
        let cpu = self.cpus.get_mut(at)?;
        let index = cpu.running?;
        let vcpu = self.vcpus.get_mut(index)?;
        let vm = self.vms.get_mut(vcpu.vm)?;
        let used = now.saturating_sub(cpu.charged);
        cpu.charged = now;
        let meter = vm.meter(now);
        let paid = meter.saturating_sub(vcpu.mark);
        vcpu.mark = meter;
        // Who runs all the time, and is still behind, can't use more: that is no claim for later.
        let earliest = self.domains.get(vcpu.domain)?.time.saturating_sub(vm.credit);
        vcpu.time = vcpu.time.saturating_add(paid).max(earliest);
        let group = self.groups.get_mut(vcpu.group)?;
        *group = group.saturating_add(vm.price.saturating_mul(i128::from(used)));
        let mut is_back = false;
        if let Some(budget) = &mut vm.budget {
            budget.give_back(cpu.part, used, now);
            is_back = vm.throttled && budget.is_enough();
        }
        if is_back {
            let vm = vcpu.vm;
            self.timers.remove(self.vcpus.len().saturating_add(vm));
            self.release(vm, now);
            self.fresh = true;
        }
        Some(index)
    }

    /// Lets nobody run on a CPU. Returns who did.
    pub(super) fn leave(&mut self, at: usize) -> Option<usize> {
        self.floating.set(at, false);
        self.cpus.get_mut(at)?.running.take()
    }

    /// Keeps a VM's vCPUs from running until its budget is renewed, at the latest.
    pub(super) fn throttle(&mut self, vm: usize, at: usize, now: u64) {
        let id = self.vcpus.len().saturating_add(vm);
        let Some(vm) = self.vms.get_mut(vm) else {
            return;
        };
        let renewal = vm.budget.as_ref().map_or(now, |budget| budget.renewal);
        vm.throttled = true;
        for index in vm.vcpus.clone() {
            let Some(vcpu) = self.vcpus.get_mut(index) else {
                break;
            };
            if vcpu.state == State::Waiting {
                vcpu.enter(State::Throttled, now);
                let domain = vcpu.domain;
                self.queues.remove(index);
                self.note_crowd(domain);
            }
        }
        let key = i128::from(renewal);
        self.timers.push(at, Item { key, id });
    }

    /// Lets a VM's vCPUs run again.
    pub(super) fn release(&mut self, vm: usize, now: u64) {
        let Some(vm) = self.vms.get_mut(vm) else {
            return;
        };
        vm.throttled = false;
        for index in vm.vcpus.clone() {
            let is_held = |vcpu: &Vcpu| vcpu.state == State::Throttled;
            if self.vcpus.get(index).is_some_and(is_held) {
                let _ = self.welcome(index);
                self.queue(index, now);
            }
        }
    }
}
