//! The fast path into a List Register, for what is most frequent: an SGI to oneself, the timer, and an emulated line.

use super::bank::{Bank, bit};
use super::notes::IrqRef;
use super::{Cpu, ListRegisters, ListSlots, SLOTS, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::gic::hyp::EMPTY;
use assay_spec::intid::IntId;
use assay_spec::lr::{Lr, LrState};

impl Vgic {
    /// Puts a private interrupt that has just become pending straight into the List Register that it had before, if the guest is
    /// done with that. The caller knows the interrupt to be without sender. `physical` is what to link it with.
    ///
    /// False: nothing was done, and [`list_at_once`](Self::list_at_once) looks further. Neither a function that is called here nor
    /// a panic, so that the fastest ways save no registers.
    ///
    /// Enforced by `an_sgi_to_oneself_takes_one_list_register_write` and
    /// `the_timer_is_linked_to_its_physical_interrupt`.
    // In all callers it is a constant whether there is a physical interrupt.
    #[inline(always)]
    pub(super) fn list_again<H: ListSlots>(&self, vcpu: VcpuId, n: u32, physical: Option<IntId>, hw: &mut H) -> bool {
        let (Some(bank), b) = (self.banks.get(vcpu.0), bit(n)) else {
            return false;
        };
        let (irq, linked) = (bank.irq(n), if physical.is_some() { u32::MAX } else { 0 });
        let slot = u32::from(irq.slot) & 15;
        // The same as the last time, which has ended: then this model's state is already what it has
        // to be, since all it says is that the List Register is the truth.
        let again = self.may_list(vcpu, bank, b)
            && bank.listed & !(bank.linked ^ linked) & !(bank.soft ^ soft_when_listed(bank, physical)) & b != 0
            && hw.empty() & 1 << slot != 0
            && physical.is_none_or(|physical| irq.link() == physical);
        if again {
            hw.write(slot as usize, to_list(bank, n, physical));
        }
        again
    }

    /// The same, or into a List Register that nothing has used. False: this takes a closer look, and nothing was done.
    /// [`refill`](Self::refill) has one.
    #[inline(never)]
    pub(super) fn list_at_once<H: ListRegisters>(
        &mut self,
        vcpu: VcpuId,
        n: u32,
        physical: Option<IntId>,
        hw: &mut H,
    ) -> bool {
        if self.list_again(vcpu, n, physical, hw) {
            return true;
        }
        if !self.may_list(vcpu, &self.banks[vcpu.0], bit(n)) {
            return false;
        }
        let bank = &mut self.banks[vcpu.0];
        let lr = to_list(bank, n, physical);
        let Some(slot) = self.cpus[vcpu.0].occupy(bank, n, physical, hw.empty()) else {
            return false;
        };
        hw.write(slot, lr);
        true
    }

    /// Tells whether a private interrupt that has just become pending may be listed as if it were alone. Nothing else may be on its
    /// way here, or its order would matter. Orders from others make stale, and so changed. And there must be no shortage of List
    /// Registers to be managed.
    #[inline(always)]
    fn may_list(&self, vcpu: VcpuId, bank: &Bank, b: u32) -> bool {
        self.changed.union(self.crowded).0 >> (vcpu.0 & 63) & 1 == 0
            && bank.enabled & self.forward.of(bank.group) & !bank.latch & !bank.active & b != 0
    }
}

impl Vgic {
    /// Sets the line of an emulated source of `vcpu`, as [`set_level`](Self::set_level) does, on its own CPU, whose List Registers
    /// are up to date afterwards. Returns whom to kick.
    pub fn carry_level<H: ListRegisters>(&mut self, vcpu: VcpuId, intid: IntId, level: bool, hw: &mut H) -> VcpuSet {
        match self.find(vcpu, intid) {
            Some(irq) if self.carry_at_once(vcpu, irq, level, hw) => VcpuSet::EMPTY,
            _ => {
                let kicks = self.set_level(vcpu, intid, level);
                self.kicks = self.kicks.union(kicks);
                self.flush_lr(vcpu, hw)
            }
        }
    }

    /// Carries the line of a level-triggered interrupt that is pending by its line alone to the one List Register that is
    /// concerned: the one that it is in, or one that nothing has used. False: this takes a closer look, and nothing was done.
    ///
    /// Enforced by `a_level_is_carried_by_one_list_register_write`, and the random sequences.
    fn carry_at_once<H: ListRegisters>(&mut self, vcpu: VcpuId, irq: IrqRef, level: bool, hw: &mut H) -> bool {
        let forward = self.forward;
        let (bank, b) = (&mut self.banks[irq.bank], irq.bit());
        let entry = *bank.irq(irq.n);
        let special = bank.edge | bank.held | bank.latch | bank.soft;
        // As in `list_at_once`: a `changed` vCPU has more to look at. Who lists it and whom it goes to is the same for a
        // private interrupt.
        if self.changed.union(self.crowded).contains(vcpu) || special & b != 0 || usize::from(entry.target) != vcpu.0 {
            return false;
        }
        let mut slot = u32::from(entry.slot) & 15;
        if bank.listed & b == 0 {
            if bank.active & b != 0 {
                return false;
            }
            slot = (hw.empty() & !self.cpus[vcpu.0].occupied).trailing_zeros();
        } else if usize::from(entry.owner) != vcpu.0 {
            return false;
        } else if hw.empty() & bit(slot) == 0 {
            let lr = hw.read(slot as usize);
            match lr.state {
                // Its end is to be heard of as long as the line is high.
                LrState::Active => hw.write(slot as usize, Lr { eoi_maintenance: level, ..lr }),
                LrState::Invalid | LrState::Pending if !level => hw.write(slot as usize, EMPTY),
                _ => return false,
            }
            bank.line = bank.line & !b | if level { b } else { 0 };
            return true;
        }
        let lists = level && bank.enabled & forward.of(bank.group) & b != 0;
        if lists && slot >= SLOTS {
            return false;
        }
        bank.line = bank.line & !b | if level { b } else { 0 };
        if !lists {
            return true;
        }
        // Where it was before, this model's state is already what it has to be but for that.
        bank.active &= !b;
        if bank.listed & b == 0 {
            let _ = self.list(vcpu, irq, slot, false, hw);
            return true;
        }
        let group1 = bank.group & b != 0;
        let lr = Lr { state: LrState::Pending, priority: entry.priority, group1, eoi_maintenance: true, ..EMPTY };
        hw.write(slot as usize, Lr { intid: IntId(self.intid(irq)), ..lr });
        true
    }
}

impl Cpu {
    /// Notes private interrupt `n` as listed and pending in a List Register that nothing has used, if
    /// it is in none and there is one.
    #[inline(never)]
    fn occupy(&mut self, bank: &mut Bank, n: u32, physical: Option<IntId>, empty: u32) -> Option<usize> {
        let (n, b) = (n & 31, bit(n));
        let slot = (empty & !self.occupied).trailing_zeros();
        let entry = self.slots.get_mut(slot as usize)?;
        if (bank.listed | bank.held) & b != 0 {
            return None;
        }
        *entry = (n & 31) as u16;
        if let Some(physical) = physical {
            bank.hold(n, physical);
            bank.linked |= b;
        }
        bank.latch &= !b;
        bank.soft |= b & soft_when_listed(bank, physical);
        bank.listed |= b;
        bank.irq_mut(n).slot = (slot & 15) as u8;
        self.occupied |= 1 << slot;
        Some(slot as usize)
    }
}

/// A private interrupt as it is listed.
#[inline(always)]
pub(super) fn to_list(bank: &Bank, n: u32, physical: Option<IntId>) -> Lr {
    let (priority, group1) = (bank.irq(n).priority, bank.group & bit(n) != 0);
    Lr { intid: IntId(n & 31), state: LrState::Pending, priority, group1, hw: physical, ..EMPTY }
}

/// Where the pending state is a latch's, and not that of a physical line.
fn soft_when_listed(bank: &Bank, physical: Option<IntId>) -> u32 {
    if physical.is_some() { bank.edge } else { u32::MAX }
}
