//! Which CPU should be told that there is something to run.

use super::{ANYWHERE, Scheduler};

impl Scheduler {
    /// Finds a CPU for a vCPU that became runnable.
    pub(super) fn find_target(&self, index: usize) -> Option<usize> {
        let vcpu = self.vcpus.get(index)?;
        if vcpu.state != super::State::Waiting {
            return None;
        }
        let Some(own) = vcpu.domain.checked_sub(1) else {
            return self.find_idle(vcpu.last).or_else(|| self.find_urged(index));
        };
        let has_room = self.floating.contains(own) && self.find_idle(None).is_some();
        let is_needed = self.idle.contains(own) || has_room || self.urges(index, own);
        is_needed.then_some(own)
    }

    /// Finds the CPU that should ask next, after another has.
    pub(super) fn find_kick(&mut self) -> Option<usize> {
        if let Some(head) = self.queues.head(ANYWHERE) {
            let last = self.vcpus.get(head.id).and_then(|vcpu| vcpu.last);
            if let Some(idle) = self.find_idle(last) {
                return Some(idle);
            }
        }
        if let Some(idle) = self.idle.first_with(&self.crowded, &self.called) {
            return Some(idle);
        }
        let displaced = self.floating.first_with(&self.crowded, &self.called);
        if displaced.is_some() && self.find_idle(None).is_some() {
            return displaced;
        }
        if !self.fresh {
            return None;
        }
        let head = self.queues.head(ANYWHERE);
        let urged = head.and_then(|head| self.find_urged(head.id));
        self.fresh = urged.is_some();
        urged
    }

    /// Finds a CPU that sleeps and was not told to ask, best the one at `last`.
    fn find_idle(&self, last: Option<usize>) -> Option<usize> {
        let is_idle = |at: &usize| self.idle.contains(*at) && !self.called.contains(*at);
        last.filter(is_idle).or_else(|| self.idle.first_except(&self.called))
    }

    /// Finds the CPU on which runs who can best wait for this vCPU; the one where it ran last if that will do.
    fn find_urged(&self, index: usize) -> Option<usize> {
        let last = self.vcpus.get(index)?.last;
        let knows = |at: usize| self.cpus.get(at).is_none_or(|cpu| cpu.is_urged);
        let can = |at: &usize| !self.called.contains(*at) && !knows(*at) && self.urges(index, *at);
        last.filter(can).or_else(|| {
            let all = (0..self.cpus.len()).filter(can);
            all.max_by_key(|at| self.urge(index, *at))
        })
    }
}
