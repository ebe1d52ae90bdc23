//! Reads of state that is in List Registers: of one's own, which are folded, and of others', who have to be asked.

use super::fold::resample;
use super::registers::View;
use super::{ListRegisters, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;

impl Vgic {
    /// Folds the List Registers of `vcpu`, the caller's, if there is anything of a bank in them. They are to be filled
    /// again.
    pub(super) fn fold_own(&mut self, vcpu: VcpuId, bank: usize, hw: &mut dyn ListRegisters) {
        if self.is_listed_by(vcpu, bank, u32::MAX) {
            self.fold_all(vcpu, hw);
            self.concern(VcpuSet::one(vcpu));
        }
    }

    /// Makes this model know the state of a bank, as far as the caller's own List Registers go. If
    /// others list some of it, returns them, unless they have just told what they knew. `question` is the register that
    /// is read, by frame and offset.
    ///
    /// The state that the others tell is older than the end of the read, and not older than its
    /// beginning, which is all that a read of another CPU's doings can have.
    ///
    /// Enforced by `a_read_of_what_another_vcpu_has_listed_waits_for_that_vcpu`.
    pub(super) fn inspect(
        &mut self,
        vcpu: VcpuId,
        bank: usize,
        question: (View, u32),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        self.fold_own(vcpu, bank, hw);
        if bank == vcpu.0 {
            resample(&mut self.banks[bank], u32::MAX, hw);
            return None;
        }
        let others = self.listers(bank);
        let cpu = &mut self.cpus[vcpu.0];
        let asked = cpu.question == Some(question);
        if asked && cpu.unanswered.is_empty() || others.is_empty() {
            cpu.question = None;
            self.asking.remove(vcpu);
            return None;
        }
        if !asked {
            cpu.question = Some(question);
            cpu.unanswered = others;
        }
        let unanswered = cpu.unanswered;
        self.asking.insert(vcpu);
        self.concern(unanswered);
        self.stale = self.stale.union(unanswered);
        Some(unanswered)
    }

    /// `vcpu` has folded all it had: those who waited for that need not wait for it any more.
    pub(super) fn answer(&mut self, vcpu: VcpuId) {
        if !self.asking.is_empty() {
            self.cpus.iter_mut().for_each(|cpu| cpu.unanswered.remove(vcpu));
        }
    }
}
