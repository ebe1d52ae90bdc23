//! Folding List Registers: what the guest has done to its interrupts since they were listed.

use crate::vcpus::VcpuSet;
use crate::vgic::bank::{Bank, bit, bits};
use crate::vgic::owners::Place;
use crate::vgic::{LINKED, ListRegisters, Version, Vgic};
use assay_spec::gic::hyp::EMPTY;
use assay_spec::lr::LrState;

impl Vgic {
    /// Folds all List Registers, answers those who waited for that, and leaves nothing stale.
    pub(in crate::vgic) fn fold_all<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) {
        let occupied = self.cpus.get(vcpu).map_or(0, |cpu| cpu.occupied);
        for slot in bits(occupied) {
            let lr = hw.read(slot as usize);
            hw.write(slot as usize, EMPTY);
            self.settle(vcpu, slot, lr.state, lr.source, hw);
        }
        if let Some(cpu) = self.cpus.get_mut(vcpu) {
            resample(&mut cpu.bank, u32::MAX, hw);
        }
        self.stale.remove(vcpu);
        self.answer(vcpu);
    }

    /// Takes note that the guest is done with what was in a List Register that is free again.
    pub(in crate::vgic) fn retire<H: ListRegisters>(&mut self, vcpu: usize, slot: u32, hw: &mut H) {
        if self.cpus.get(vcpu).is_some_and(|cpu| cpu.occupied & 1 << (slot & 31) != 0) {
            self.settle(vcpu, slot, LrState::Invalid, 0, hw);
        }
    }

    /// Takes an interrupt out of a List Register, which was read and now has no meaning any more.
    pub(super) fn settle<H: ListRegisters>(&mut self, vcpu: usize, slot: u32, state: LrState, source: u8, hw: &mut H) {
        let (version, forward) = (self.version, self.forward);
        let Some(cpu) = self.cpus.get_mut(vcpu) else {
            return;
        };
        let Some(&entry) = cpu.slots.get(slot as usize) else {
            return;
        };
        cpu.occupied &= !(1 << (slot & 31));
        let intid = u32::from(entry & !LINKED);
        let (n, b) = (intid & 31, bit(intid));
        let pending = matches!(state, LrState::Pending | LrState::PendingActive);
        let active = matches!(state, LrState::Active | LrState::PendingActive);
        if version == Version::V2 && intid < 16 {
            cpu.return_sender(n, pending, active, source);
        }
        let place = Self::place(vcpu, intid);
        let Some(bank) = self.bank_mut(place) else {
            return;
        };
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
            if !(ended && entry & LINKED != 0) {
                hw.deactivate_physical(bank.link(n));
            }
            bank.let_go(b);
        }
        for word in [&mut bank.listed, &mut bank.soft, &mut bank.withdraw, &mut bank.activate, &mut bank.deactivate] {
            *word &= !b;
        }
        if let Place::Shared(word) = place
            && let Some(shared) = self.shared.get(word)
            && shared.bank.deliverable(forward) & b != 0
            && shared.target(n) != vcpu
        {
            let target = VcpuSet::one(shared.target(n));
            self.mark(target);
        }
    }

    /// Carries out what others ordered for interrupts that are not listed, but held.
    pub(super) fn release_ordered<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) {
        if let Some(cpu) = self.cpus.get_mut(vcpu) {
            let bank = &mut cpu.bank;
            let ordered = bank.deactivate & !bank.listed;
            bank.deactivate &= !ordered;
            bank.active &= !ordered;
            release(bank, ordered & bank.held, hw);
        }
        for shared in &mut self.shared {
            for n in bits(shared.bank.deactivate & !shared.bank.listed) {
                if shared.owner(n) == vcpu {
                    shared.bank.deactivate &= !bit(n);
                    shared.bank.active &= !bit(n);
                    let held = bit(n) & shared.bank.held;
                    release(&mut shared.bank, held, hw);
                }
            }
        }
    }
}

/// Deactivates the physical interrupts behind `held`.
pub(in crate::vgic) fn release<H: ListRegisters>(bank: &mut Bank, held: u32, hw: &mut H) {
    for n in bits(held) {
        hw.deactivate_physical(bank.link(n));
    }
    bank.let_go(held);
}

/// Looks again at the physical lines behind those of `concerned` that are held. An interrupt that is
/// not active, and whose line has fallen since it was taken, is let go: the guest has switched its
/// timer off before it took the interrupt.
///
/// Enforced by `a_timer_switched_off_while_its_interrupt_was_disabled_is_not_delivered`.
pub(in crate::vgic) fn resample<H: ListRegisters>(bank: &mut Bank, concerned: u32, hw: &mut H) {
    for n in bits(concerned & bank.held & !bank.listed & !bank.edge) {
        if hw.is_physical_pending(bank.link(n)) {
            bank.line |= bit(n);
        } else if bank.active & bit(n) != 0 {
            bank.line &= !bit(n);
        } else {
            release(bank, bit(n), hw);
        }
    }
}
