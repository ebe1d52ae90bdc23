//! The short way into a List Register, for what is most frequent: an SGI to oneself, and the timer.

use crate::vgic::bank::{Bank, bit};
use crate::vgic::{Cpu, LINKED, ListRegisters, Vgic};
use assay_spec::gic::hyp::EMPTY;
use assay_spec::intid::IntId;
use assay_spec::lr::{Lr, LrState};

impl Vgic {
    /// Puts a private interrupt that has just become pending straight into a List Register: the one it
    /// had before, if the guest is done with that, or one that nothing has used. The caller knows the
    /// interrupt to be without sender. `physical` is what to link it with.
    ///
    /// False: this takes a closer look, and nothing was done. [`refill`](Self::refill) has one.
    ///
    /// Enforced by `an_sgi_to_oneself_takes_one_list_register_write` and
    /// `the_timer_is_linked_to_its_physical_interrupt`.
    // In both callers it is a constant whether there is a physical interrupt.
    #[inline(always)]
    pub(in crate::vgic) fn list_at_once<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        n: u32,
        physical: Option<IntId>,
        hw: &mut H,
    ) -> bool {
        let forward = self.forward;
        let changed = self.changed.0 >> (vcpu & 63) & 1 != 0;
        let Some(cpu) = self.cpus.get_mut(vcpu) else {
            return false;
        };
        let (n, b) = (n & 31, bit(n));
        let bank = &cpu.bank;
        // Nothing else may be on its way here, or its order would matter. Orders from others make
        // stale, and so changed. And there must be no shortage of List Registers to be managed.
        if changed
            || cpu.maintenance != 0
            || bank.enabled & forward.of(bank.group) & !bank.latch & !bank.active & b == 0
        {
            return false;
        }
        let lr = Lr {
            intid: IntId(n),
            state: LrState::Pending,
            priority: bank.priority(n),
            group1: bank.group & b != 0,
            hw: physical,
            ..EMPTY
        };
        let empty = hw.empty();
        let slot = u32::from(cpu.slot[n as usize]) & 15;
        let entry = cpu.slots[slot as usize];
        // The same as the last time, which has ended: then this model's state is already what it has
        // to be, since all it says is that the List Register is the truth.
        if bank.listed & b != 0
            && empty & 1 << slot != 0
            && (bank.soft ^ soft_when_listed(bank, physical)) & b == 0
            && entry == (n & 31) as u16 | if physical.is_some() { LINKED } else { 0 }
            && physical.is_none_or(|physical| bank.link(n) == physical)
        {
            hw.write(slot as usize, lr);
            return true;
        }
        let Some(slot) = cpu.occupy(n, physical, empty) else {
            return false;
        };
        hw.write(slot, lr);
        true
    }
}

impl Cpu {
    /// Notes private interrupt `n` as listed and pending in a List Register that nothing has used, if
    /// it is in none and there is one.
    fn occupy(&mut self, n: u32, physical: Option<IntId>, empty: u32) -> Option<usize> {
        let (n, b) = (n & 31, bit(n));
        let slot = (empty & !self.occupied).trailing_zeros();
        let bank = &mut self.bank;
        let entry = self.slots.get_mut(slot as usize)?;
        if (bank.listed | bank.held) & b != 0 {
            return None;
        }
        *entry = (n & 31) as u16;
        if let Some(physical) = physical {
            bank.hold(n, physical);
            *entry |= LINKED;
        }
        bank.latch &= !b;
        bank.soft |= b & soft_when_listed(bank, physical);
        bank.listed |= b;
        self.slot[n as usize] = (slot & 15) as u8;
        self.occupied |= 1 << slot;
        Some(slot as usize)
    }
}

/// Where the pending state is a latch's, and not that of a physical line.
fn soft_when_listed(bank: &Bank, physical: Option<IntId>) -> u32 {
    if physical.is_some() { bank.edge } else { u32::MAX }
}
