//! The short way into a List Register, for what is most frequent: an SGI to oneself, and the timer.

use crate::vgic::bank::bit;
use crate::vgic::{LINKED, ListRegisters, Vgic};
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
        let changed = self.changed.contains(vcpu);
        let Some(cpu) = self.cpus.get_mut(vcpu) else {
            return false;
        };
        let (i, b) = ((n & 31) as usize, bit(n));
        let bank = &mut cpu.bank;
        // Nothing else is on its way here, or its order would matter. No orders from others either
        // (those make stale, and so changed), and no room to be watched.
        if changed || cpu.maintenance != 0 {
            return false;
        }
        if bank.enabled & forward.of(bank.group) & !bank.latch & b == 0 {
            return false;
        }
        let empty = hw.empty();
        let (slot, room) = if bank.listed & b != 0 {
            (u32::from(cpu.slot[i]) & 31, empty)
        } else if (bank.active | bank.held) & b == 0 {
            let unused = empty & !cpu.occupied;
            (unused.trailing_zeros() & 31, unused)
        } else {
            return false;
        };
        let in_slot = 1 << slot;
        let Some(entry) = cpu
            .slots
            .get_mut(slot as usize)
            .filter(|_| room & in_slot != 0)
        else {
            return false;
        };
        // If it was listed, it has ended: that is settled here by the way.
        bank.active &= !b;
        bank.listed |= b;
        bank.soft |= b;
        *entry = (n & 31) as u16;
        if let Some(physical) = physical {
            bank.hold(n, physical);
            bank.soft = bank.soft & !b | bank.latch & b;
            bank.latch &= !b;
            *entry |= LINKED;
        }
        cpu.slot[i] = (slot & 31) as u8;
        cpu.occupied |= in_slot;
        let lr = Lr {
            intid: IntId(n & 31),
            state: LrState::Pending,
            priority: bank.priority(n),
            group1: bank.group & b != 0,
            hw: physical,
            ..EMPTY
        };
        hw.write(slot as usize, lr);
        true
    }
}
