//! What is in the List Registers, and when: what a vCPU's own CPU calls around the guest.

use super::bank::{Forward, bit, bits};
use super::fast_path::to_list;
use super::fold::{release, resample};
use super::notes::{IrqRef, Waiting};
use super::{ListRegisters, ListSlots, SLOTS, Vgic, byte};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::gic::hyp::{HCR_NPIE, HCR_UIE};
use assay_spec::intid::IntId;
use assay_spec::lr::{Lr, LrState};

/// `ICH_VMCR_EL2.VENG0` and `VENG1`, `GICH_VMCR.VMGrp0En` and `VMGrp1En`: where `GICD_CTLR` has its enable bits.
const VMCR_GROUPS: u32 = 3;

impl Vgic {
    /// Puts into the List Registers what should be in them. Call it on the vCPU's own CPU before it
    /// enters the guest, at least after a kick; it returns at once if there is nothing to do.
    ///
    /// Highest priority first. If there is more than fits, a maintenance interrupt is asked for when
    /// room comes up. Returns whom to kick: SPIs that have since been routed to others.
    #[inline]
    pub fn flush_lr(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) -> VcpuSet {
        self.refill(vcpu, hw);
        self.take_kicks(vcpu)
    }

    /// Folds the List Registers back into the model and leaves them empty, on the vCPU's own CPU: on a
    /// maintenance interrupt, and before the vCPU waits in EL2. [`flush_lr`](Self::flush_lr) has to follow
    /// before the guest goes on. Returns whom to kick.
    pub fn sync_lr(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) -> VcpuSet {
        self.fold_all(vcpu, hw);
        // Of nothing there is always room for more.
        if self.crowded.contains(vcpu) {
            self.set_maintenance(vcpu, 0, hw);
        }
        self.concern(VcpuSet::one(vcpu));
        self.take_kicks(vcpu)
    }

    /// Takes a vCPU off its physical CPU: it was stopped, switched off, or has to make room. The List
    /// Registers are folded and empty, and no physical interrupt is left active for it.
    ///
    /// The guest's own view stays: what was pending or active is so when the vCPU comes back, except
    /// for a hardware-linked interrupt that was pending, whose line will say so again.
    pub fn park(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) -> VcpuSet {
        let kicks = self.sync_lr(vcpu, hw);
        self.set_maintenance(vcpu, 0, hw);
        for index in self.banks_of(vcpu) {
            let bank = &mut self.banks[index];
            for n in bits(bank.held) {
                let irq = bank.irq(n);
                let whose = if bank.active & bit(n) != 0 { irq.owner } else { irq.target };
                if usize::from(whose) == vcpu.0 {
                    release(bank, bit(n), hw);
                }
            }
        }
        kicks
    }

    /// Tells whether there is nothing on its way to this vCPU: the guest is done with all that is listed, and nothing is new. One
    /// that waits in EL2 need not be folded then. On its own CPU.
    ///
    /// What was listed stays its own until it is folded: another vCPU that asks about such an SPI, or changes it, wakes it.
    ///
    /// Enforced by `a_vcpu_is_quiet_once_it_has_ended_what_was_listed`, and the random sequences.
    #[inline]
    pub fn is_quiet(&self, vcpu: VcpuId, hw: &impl ListSlots) -> bool {
        !self.changed.union(self.crowded).contains(vcpu) && self.cpus[vcpu.0].occupied & !hw.empty() == 0
    }

    /// Tells whether an interrupt waits for this vCPU that is in no List Register. For a vCPU that
    /// waits in EL2 after [`sync_lr`](Self::sync_lr): it wakes up if so.
    pub fn has_pending(&self, vcpu: VcpuId) -> bool {
        self.waiting(vcpu).pending.irq().is_some()
    }

    /// Tells whether an interrupt of those wakes this vCPU from WFI: its CPU interface would signal it. `vmcr` is
    /// its `ICH_VMCR_EL2` or `GICH_VMCR`. What the interface masks does not wake a CPU (DDI0487 D1.6, IHI 0069H §4.8), and
    /// could not be taken after either. Active priorities are not looked at: one that they hold back wakes too soon.
    pub fn wakes(&self, vcpu: VcpuId, vmcr: u32) -> bool {
        let groups = Forward::from_ctlr(vmcr & VMCR_GROUPS);
        // Both have the mask in the uppermost bits, GICv2 five of them.
        let mask = vmcr >> 24;
        self.banks_of(vcpu).any(|index| {
            let bank = &self.banks[index];
            bits(bank.deliverable(self.forward) & groups.of(bank.group)).any(|n| {
                let irq = bank.irq(n);
                usize::from(irq.target) == vcpu.0 && u32::from(irq.priority) < mask
            })
        })
    }

    /// Brings the List Registers up to date if they are not.
    #[inline(always)]
    pub(super) fn refill(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) {
        if self.changed.contains(vcpu) {
            self.fill(vcpu, hw);
        }
    }

    /// Lists what is not listed: in the List Registers that are free, or if they do not suffice, in all, chosen anew.
    ///
    /// The guest may end its running interrupt at any time, so active ones go first. Where it ends and
    /// deactivates in one step, it does so from the highest priority down, and if there is more than fits, one List
    /// Register is given to the most urgent pending interrupt: the active ones that then find no room come back
    /// when only one List Register is still valid (`UIE`, IHI 0069H §12.4.7), before their
    /// turn. Where it deactivates separately, in any order, no active interrupt is ever left out.
    ///
    /// Enforced by `more_interrupts_than_list_registers_are_all_taken_in_order_of_priority`.
    #[inline(never)]
    fn fill(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) {
        self.changed.remove(vcpu);
        if self.lone.contains(vcpu) && self.fill_lone(vcpu, hw) {
            return;
        }
        let mut free = hw.empty();
        self.retire_ended(vcpu, free, hw);
        let all = |hw: &dyn ListRegisters| u32::MAX >> (32 - hw.count().clamp(1, SLOTS));
        let mut waiting = self.waiting(vcpu);
        if self.stale.contains(vcpu) || waiting.is_repended {
            self.fold_all(vcpu, hw);
            free = all(hw);
            waiting = self.waiting(vcpu);
        }
        if waiting.is_ordered {
            self.release_ordered(vcpu, hw);
            waiting = self.waiting(vcpu);
        }
        let crowded = waiting.count > free.count_ones();
        let (mut reserved, mut requests) = (false, 0);
        if crowded {
            self.fold_all(vcpu, hw);
            free = all(hw);
            waiting = self.waiting(vcpu);
            if free > 1 {
                reserved = !hw.is_deactivation_separate() && waiting.pending.irq().is_some();
                requests = HCR_UIE;
            }
        }
        for (active, all_but_one) in [(true, reserved), (false, false), (true, false)] {
            while waiting.count != 0
                && (if all_but_one { free & free.wrapping_sub(1) } else { free }) != 0
                && let Some(irq) = if active { waiting.active } else { waiting.pending }.irq()
            {
                let state = self.list(vcpu, irq, free.trailing_zeros(), crowded, hw);
                waiting = if waiting.count == 1 { Waiting::NOTHING } else { self.waiting(vcpu) };
                if state.is_some() {
                    free &= free - 1;
                }
                if state == Some(LrState::Pending) && crowded {
                    requests |= HCR_NPIE;
                }
            }
        }
        if waiting.count == 0 {
            requests = 0;
        }
        if requests != 0 || self.crowded.contains(vcpu) {
            self.set_maintenance(vcpu, requests, hw);
        }
    }

    /// Lists the one interrupt that became pending since the last time, all others being where they belong: where it was,
    /// if the guest is done with that, or in a List Register that nothing has used. False: this takes a closer look, and
    /// nothing was done.
    ///
    /// Enforced by `one_interrupt_that_becomes_pending_takes_one_list_register_write`.
    fn fill_lone(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) -> bool {
        self.lone.remove(vcpu);
        let (cpu, empty) = (&self.cpus[vcpu.0], hw.empty());
        let (irq, b) = (cpu.lone, cpu.lone.bit());
        let bank = &mut self.banks[irq.bank];
        let entry = bank.irq(irq.n);
        if self.stale.union(self.crowded).contains(vcpu) || usize::from(entry.target) != vcpu.0 {
            return false;
        }
        let slot = if bank.repended(self.forward) & b != 0 && usize::from(entry.owner) == vcpu.0 {
            let slot = u32::from(entry.slot) & 15;
            let special = bank.held | bank.withdraw | bank.activate | bank.deactivate;
            if empty & bit(slot) == 0 || special & b != 0 {
                return false;
            }
            if (bank.by_sender | bank.line & !bank.edge) & b == 0 {
                // As it was listed the last time, but for what the guest has done since.
                (bank.latch, bank.soft, bank.active) = (bank.latch & !b, bank.soft | b, bank.active & !b);
                let lr = to_list(bank, irq.n, None);
                hw.write(slot as usize, Lr { intid: IntId(self.intid(irq)), ..lr });
                return true;
            }
            for word in [&mut bank.listed, &mut bank.soft, &mut bank.active] {
                *word &= !b;
            }
            slot
        } else {
            (empty & !cpu.occupied).trailing_zeros()
        };
        if slot >= SLOTS || bank.deliverable(self.forward) & b == 0 {
            return false;
        }
        let _ = self.list(vcpu, irq, slot, false, hw);
        true
    }

    fn set_maintenance(&mut self, vcpu: VcpuId, requests: u32, hw: &mut dyn ListRegisters) {
        hw.set_maintenance(requests);
        self.crowded.remove(vcpu);
        if requests != 0 {
            self.crowded.insert(vcpu);
        }
    }

    /// Writes an interrupt into a free List Register, unless a look at its line shows that there is
    /// nothing to deliver. Returns the state it was listed with.
    pub(super) fn list(
        &mut self,
        vcpu: VcpuId,
        irq: IrqRef,
        slot: u32,
        crowded: bool,
        hw: &mut dyn ListRegisters,
    ) -> Option<LrState> {
        let (forward, intid) = (self.forward, self.intid(irq));
        let (n, b) = (irq.n, irq.bit());
        let bank = &mut self.banks[irq.bank];
        let active = bank.active & b != 0;
        if !active {
            resample(bank, b, hw);
            if bank.deliverable(forward) & b == 0 {
                return None;
            }
        }
        let held = bank.held & b != 0;
        let by_sender = bank.by_sender & b != 0;
        let ours = usize::from(bank.irq(n).target) == vcpu.0;
        let again = active && bank.latch & bank.enabled & forward.of(bank.group) & b != 0;
        let level = bank.line & !bank.edge & b != 0;
        let physical = (held && !again).then(|| bank.irq(n).link());
        let state = match (active, again && ours && !crowded && !held && !by_sender) {
            (false, _) => LrState::Pending,
            (true, false) => LrState::Active,
            (true, true) => LrState::PendingActive,
        };
        if state != LrState::Active {
            bank.soft |= bank.latch & b;
            bank.latch &= !b;
        }
        bank.listed |= b;
        bank.linked |= if physical.is_some() { b } else { 0 };
        let entry = bank.irq_mut(n);
        (entry.owner, entry.slot) = (byte(vcpu.0), (slot & 15) as u8);
        let mut lr = Lr {
            intid: IntId(intid),
            state,
            priority: entry.priority,
            group1: bank.group & b != 0,
            hw: physical,
            // To look at a level again, to make room, or to go on with what the List Register could
            // not express. Not for linked ones: their line is the physical one's.
            eoi_maintenance: physical.is_none() && (level || crowded && active || again && state == LrState::Active),
            source: 0,
        };
        if by_sender {
            bank.choose_sender(n, &mut lr);
        }
        let cpu = &mut self.cpus[vcpu.0];
        cpu.occupied |= bit(slot);
        cpu.slots[slot as usize] = (intid & 0x3ff) as u16;
        hw.write(slot as usize, lr);
        Some(state)
    }
}
