//! Which CPU should be told that there is something to run.

use super::vcpu::State;
use super::{ANYWHERE, Scheduler};

impl Scheduler {
    /// Finds a CPU for a vCPU that became runnable.
    pub(super) fn find_target(&self, index: usize) -> Option<usize> {
        let vcpu = &self.vcpus[index];
        if vcpu.state != State::Waiting {
            return None;
        }
        let Some(own) = vcpu.domain.checked_sub(1) else {
            return self.find_idle(vcpu.last).or_else(|| self.find_urged(index));
        };
        let has_room = self.floating.contains(own) && !self.idle.is_empty();
        let is_needed = self.idle.contains(own) || has_room || self.urges(index, own);
        is_needed.then_some(own)
    }

    /// Finds the CPU that should ask next, after another has.
    pub(super) fn find_kick(&mut self) -> Option<usize> {
        if self.queues.is_empty() {
            self.fresh = false;
            return None;
        }
        let head = self.queues.head(ANYWHERE);
        let idle = head.and_then(|head| self.find_idle(self.vcpus[head.id].last));
        if let Some(idle) = idle.or_else(|| self.idle.first_with(&self.crowded)) {
            return Some(idle);
        }
        let displaced = self.floating.first_with_except(&self.crowded, &self.called);
        if displaced.is_some() && !self.idle.is_empty() {
            return displaced;
        }
        if !self.fresh {
            return None;
        }
        let urged = head.and_then(|head| self.find_urged(head.id));
        self.fresh = urged.is_some();
        urged
    }

    /// Finds a CPU that sleeps and was not told to ask, best the one at `last`.
    fn find_idle(&self, last: Option<usize>) -> Option<usize> {
        last.filter(|at| self.idle.contains(*at)).or_else(|| self.idle.first_with(&self.idle))
    }

    /// Finds the CPU on which runs who can best wait for this vCPU; the one where it ran last if that will do.
    fn find_urged(&self, index: usize) -> Option<usize> {
        let can = |at: &usize| !self.called.contains(*at) && !self.cpus[*at].is_urged && self.urges(index, *at);
        let last = self.vcpus[index].last.filter(can);
        last.or_else(|| (0..self.cpus.len()).filter(can).max_by_key(|at| self.urge(index, *at)))
    }
}
