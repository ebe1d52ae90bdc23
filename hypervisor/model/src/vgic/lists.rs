//! When the List Registers are filled and folded: what a vCPU's own CPU calls around the guest.

mod at_once;
mod fill;
mod fold;

use super::bank::{Bank, Forward, bit, bits};
use super::{ListRegisters, Vgic};
use crate::vcpus::VcpuSet;
use fill::Among;
pub(super) use fold::{release, resample};

/// `ICH_VMCR_EL2.VENG0` and `VENG1`, `GICH_VMCR.VMGrp0En` and `VMGrp1En`: where `GICD_CTLR` has its enable bits.
const VMCR_GROUPS: u32 = 3;

impl Vgic {
    /// Puts into the List Registers what should be in them. Call it on the vCPU's own CPU before it
    /// enters the guest, at least after a kick; it returns at once if there is nothing to do.
    ///
    /// Highest priority first. If there is more than fits, a maintenance interrupt is asked for when
    /// room comes up. Returns whom to kick: SPIs that have since been routed to others.
    pub fn flush<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) -> VcpuSet {
        self.refill(vcpu, hw);
        self.take_kicks(vcpu)
    }

    /// Folds the List Registers back into the model and leaves them empty, on the vCPU's own CPU: on a
    /// maintenance interrupt, and before the vCPU waits in EL2. [`flush`](Self::flush) has to follow
    /// before the guest goes on. Returns whom to kick.
    pub fn sync<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) -> VcpuSet {
        self.fold_all(vcpu, hw);
        self.changed.insert(vcpu);
        self.take_kicks(vcpu)
    }

    /// Takes a vCPU off its physical CPU: it was stopped, switched off, or has to make room. The List
    /// Registers are folded and empty, and no physical interrupt is left active for it.
    ///
    /// The guest's own view stays: what was pending or active is so when the vCPU comes back, except
    /// for a hardware-linked interrupt that was pending, whose line will say so again.
    pub fn park<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) -> VcpuSet {
        let kicks = self.sync(vcpu, hw);
        if let Some(cpu) = self.cpus.get_mut(vcpu) {
            let held = cpu.bank.held;
            fold::release(&mut cpu.bank, held, hw);
            cpu.maintenance = 0;
            hw.set_maintenance(0);
        }
        for shared in &mut self.shared {
            let held = bits(shared.bank.held).filter(|&n| {
                let active = shared.bank.active & bit(n) != 0;
                vcpu == if active { shared.owner(n) } else { shared.target(n) }
            });
            let held = held.fold(0, |held, n| held | bit(n));
            fold::release(&mut shared.bank, held, hw);
        }
        kicks
    }

    /// Tells whether an interrupt waits for this vCPU that is in no List Register. For a vCPU that
    /// waits in EL2 after [`sync`](Self::sync): it wakes up if so.
    pub fn has_pending(&self, vcpu: usize) -> bool {
        self.best(vcpu, Among::Pending).is_some()
    }

    /// Tells whether an interrupt of those wakes this vCPU from WFI: its CPU interface would signal it. `vmcr` is
    /// its `ICH_VMCR_EL2` or `GICH_VMCR`. What the interface masks does not wake a CPU (DDI0487 D1.6, IHI 0069H §4.8), and
    /// could not be taken after either. Active priorities are not looked at: one that they hold back wakes too soon.
    pub fn wakes(&self, vcpu: usize, vmcr: u32) -> bool {
        let groups = Forward::from_ctlr(vmcr & VMCR_GROUPS);
        // Both have the mask in the uppermost bits, GICv2 five of them.
        let mask = vmcr >> 24;
        let passes = |bank: &Bank, n: u32| u32::from(bank.priority(n)) < mask;
        let through = |bank: &Bank| bank.deliverable(self.forward) & groups.of(bank.group);
        self.cpus.get(vcpu).is_some_and(|cpu| bits(through(&cpu.bank)).any(|n| passes(&cpu.bank, n)))
            || self
                .shared
                .iter()
                .any(|shared| bits(through(&shared.bank)).any(|n| shared.target(n) == vcpu && passes(&shared.bank, n)))
    }

    /// Tells whether something listed here became pending once more.
    fn is_repended(&self, vcpu: usize) -> bool {
        let forward = self.forward;
        self.cpus.get(vcpu).is_some_and(|cpu| cpu.bank.repended(forward) != 0)
            || self.shared.iter().any(|shared| bits(shared.bank.repended(forward)).any(|n| shared.owner(n) == vcpu))
    }
}
