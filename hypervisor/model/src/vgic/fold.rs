//! Folding List Registers: what the guest has done to its interrupts since they were listed.

use crate::vcpus::VcpuSet;
use crate::vgic::bank::{Bank, bit, bits};
use crate::vgic::{ListRegisters, Vgic};
use assay_spec::cpu_id::VcpuId;
use assay_spec::gic::hyp::EMPTY;
use assay_spec::lr::LrState;

impl Vgic {
    /// Folds all List Registers, answers those who waited for that, and leaves nothing stale.
    pub(super) fn fold_all(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) {
        for slot in bits(self.cpus[vcpu.0].occupied) {
            let lr = hw.read(slot as usize);
            hw.write(slot as usize, EMPTY);
            self.settle(vcpu, slot, (lr.state, lr.source), hw);
        }
        resample(&mut self.banks[vcpu.0], u32::MAX, hw);
        self.stale.remove(vcpu);
        self.answer(vcpu);
    }

    /// Takes note that the guest is done with what was in the List Registers that are `empty` again.
    #[inline(always)]
    pub(super) fn retire_ended(&mut self, vcpu: VcpuId, empty: u32, hw: &mut dyn ListRegisters) {
        for slot in bits(self.cpus[vcpu.0].occupied & empty) {
            self.settle(vcpu, slot, (LrState::Invalid, 0), hw);
        }
    }

    /// Takes an interrupt out of a List Register, which was read (state and source) and now has no meaning any more.
    fn settle(&mut self, vcpu: VcpuId, slot: u32, (state, source): (LrState, u8), hw: &mut dyn ListRegisters) {
        let cpu = &mut self.cpus[vcpu.0];
        cpu.occupied &= !bit(slot);
        let intid = cpu.slots[slot as usize];
        let irq = self.irq(vcpu, intid.into());
        let bank = &mut self.banks[irq.bank];
        let (n, b) = (irq.n, irq.bit());
        let pending = matches!(state, LrState::Pending | LrState::PendingActive);
        let active = matches!(state, LrState::Active | LrState::PendingActive);
        if bank.by_sender & b != 0 {
            bank.irq_mut(n).return_sender(pending, active, source);
        }
        if pending {
            bank.latch |= bank.soft & !bank.withdraw & b;
        }
        let active = (active || bank.activate & b != 0) && bank.deactivate & b == 0;
        bank.active = bank.active & !b | if active { b } else { 0 };
        // The physical interrupt goes with the virtual one: the hardware has deactivated it if it was
        // linked and has ended; otherwise it is for us to do so.
        let ended = state == LrState::Invalid;
        let dropped = bank.deactivate & b != 0 && !pending;
        if bank.held & b != 0 && (ended || dropped) {
            if !ended || bank.linked & b == 0 {
                hw.deactivate_physical(bank.irq(n).link());
            }
            bank.let_go(b);
        }
        for word in [&mut bank.listed, &mut bank.linked, &mut bank.soft] {
            *word &= !b;
        }
        for order in [&mut bank.withdraw, &mut bank.activate, &mut bank.deactivate] {
            *order &= !b;
        }
        let target = usize::from(bank.irq(n).target);
        if target != vcpu.0 && bank.deliverable(self.forward) & b != 0 {
            self.mark(VcpuSet::one(VcpuId(target)));
        }
    }

    /// Carries out what others ordered for interrupts that are not listed, but held.
    pub(super) fn release_ordered(&mut self, vcpu: VcpuId, hw: &mut dyn ListRegisters) {
        for index in self.banks_of(vcpu) {
            let bank = &mut self.banks[index];
            for n in bits(bank.deactivate & !bank.listed) {
                if usize::from(bank.irq(n).owner) == vcpu.0 {
                    bank.deactivate &= !bit(n);
                    bank.active &= !bit(n);
                    let held = bank.held & bit(n);
                    release(bank, held, hw);
                }
            }
        }
    }

    /// Lets go of every physical interrupt that stands behind a shared one, whosever it is. All vCPUs have been
    /// [parked](Self::park): this is the end of a life.
    pub fn release_shared(&mut self, hw: &mut dyn ListRegisters) {
        for bank in &mut self.banks[self.cpus.len()..] {
            let held = bank.held;
            release(bank, held, hw);
        }
    }
}

/// Deactivates the physical interrupts behind `held`.
pub(super) fn release(bank: &mut Bank, held: u32, hw: &mut dyn ListRegisters) {
    bits(held).for_each(|n| hw.deactivate_physical(bank.irq(n).link()));
    bank.let_go(held);
}

/// Looks again at the physical lines behind those of `concerned` that are held. An interrupt that is
/// not active, and whose line has fallen since it was taken, is let go: the guest has switched its
/// timer off before it took the interrupt.
///
/// Enforced by `a_timer_switched_off_while_its_interrupt_was_disabled_is_not_delivered`.
#[inline]
pub(super) fn resample(bank: &mut Bank, concerned: u32, hw: &mut dyn ListRegisters) {
    let held = concerned & bank.held & !bank.listed & !bank.edge;
    if held != 0 {
        resample_held(bank, held, hw);
    }
}

fn resample_held(bank: &mut Bank, held: u32, hw: &mut dyn ListRegisters) {
    for n in bits(held) {
        if hw.is_physical_pending(bank.irq(n).link()) {
            bank.line |= bit(n);
        } else if bank.active & bit(n) != 0 {
            bank.line &= !bit(n);
        } else {
            release(bank, bit(n), hw);
        }
    }
}
