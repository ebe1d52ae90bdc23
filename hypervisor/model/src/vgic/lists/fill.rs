//! Choosing what is listed, and writing it into List Registers.

use super::fold::resample;
use crate::vgic::bank::{Bank, bit, bits};
use crate::vgic::owners::Place;
use crate::vgic::{LINKED, ListRegisters, NOBODY, SLOTS, Version, Vgic};
use assay_spec::gic::hyp::{HCR_NPIE, HCR_UIE};
use assay_spec::intid::IntId;
use assay_spec::lr::{Lr, LrState};

/// What is looked for among the interrupts that are in no List Register.
#[derive(Clone, Copy)]
pub(super) enum Among {
    Active,
    Pending,
}

impl Vgic {
    /// Brings the List Registers up to date if they are not.
    pub(in crate::vgic) fn refill<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) {
        if !self.changed.contains(vcpu) {
            return;
        }
        self.changed.remove(vcpu);
        if self.stale.contains(vcpu) || self.is_repended(vcpu) {
            self.fold_all(vcpu, hw);
        }
        self.release_ordered(vcpu, hw);
        let requests = if self.fill_free(vcpu, hw) { 0 } else { self.fill_crowded(vcpu, hw) };
        if let Some(cpu) = self.cpus.get_mut(vcpu)
            && cpu.maintenance != requests
        {
            cpu.maintenance = requests;
            hw.set_maintenance(requests);
        }
    }

    /// Lists what is not listed in the List Registers that are free. False: they did not suffice.
    fn fill_free<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) -> bool {
        let mut empty = hw.empty();
        for among in [Among::Active, Among::Pending] {
            while let Some(intid) = self.best(vcpu, among) {
                if empty == 0 {
                    return false;
                }
                let slot = empty.trailing_zeros();
                if self.list(vcpu, intid, slot, false, hw).is_some() {
                    empty &= empty - 1;
                }
            }
        }
        true
    }

    /// Chooses anew what is listed, because there is more than fits, and returns the maintenance
    /// requests that go with it.
    ///
    /// The guest may end its running interrupt at any time, so active ones go first. Where it ends and
    /// deactivates in one step, it does so from the highest priority down, and one List Register is
    /// given to the most urgent pending interrupt: the active ones that then find no room come back
    /// when only one List Register is still valid (`UIE`, IHI 0069H §12.4.7), before their
    /// turn. Where it deactivates separately, in any order, no active interrupt is ever left out.
    ///
    /// Enforced by `more_interrupts_than_list_registers_are_all_taken_in_order_of_priority`.
    fn fill_crowded<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) -> u32 {
        self.fold_all(vcpu, hw);
        let count = slot_count(hw);
        let in_order = count > 1 && !hw.is_deactivation_separate();
        let reserved = u32::from(in_order && self.has_pending(vcpu));
        let mut slot = 0;
        let mut requests = if count > 1 { HCR_UIE } else { 0 };
        for (among, end) in [(Among::Active, count - reserved), (Among::Pending, count), (Among::Active, count)] {
            while slot < end
                && let Some(intid) = self.best(vcpu, among)
            {
                match self.list(vcpu, intid, slot, true, hw) {
                    Some(LrState::Pending) => requests |= HCR_NPIE,
                    Some(_) => {}
                    None => continue,
                }
                slot += 1;
            }
        }
        let left = self.has_pending(vcpu) || self.best(vcpu, Among::Active).is_some();
        if left { requests } else { 0 }
    }

    /// The most urgent interrupt for this vCPU that is in no List Register: of the highest priority,
    /// then of the lowest INTID.
    pub(super) fn best(&self, vcpu: usize, among: Among) -> Option<u32> {
        let mask = |bank: &Bank| match among {
            Among::Active => bank.stranded(),
            Among::Pending => bank.deliverable(self.forward),
        };
        let key = |bank: &Bank, base: u32, n: u32| u32::from(bank.priority(n)) << 16 | base | n;
        let cpu = self.cpus.get(vcpu)?;
        let mut best = bits(mask(&cpu.bank)).map(|n| key(&cpu.bank, 0, n)).min();
        let mut base = 0;
        for shared in &self.shared {
            base += 32;
            for n in bits(mask(&shared.bank)) {
                let whose = match among {
                    Among::Active => shared.owner(n),
                    Among::Pending => shared.target(n),
                };
                if whose == vcpu {
                    let key = key(&shared.bank, base, n);
                    best = Some(best.map_or(key, |best| best.min(key)));
                }
            }
        }
        best.map(|key| key & 0x3ff)
    }

    /// Writes an interrupt into a free List Register, unless a look at its line shows that there is
    /// nothing to deliver. Returns the state it was listed with.
    fn list<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        intid: u32,
        slot: u32,
        crowded: bool,
        hw: &mut H,
    ) -> Option<LrState> {
        let (n, forward) = (intid & 31, self.forward);
        let by_sender = self.version == Version::V2 && intid < 16;
        let mut ours = true;
        if let Place::Shared(word) = Self::place(vcpu, intid)
            && let Some(shared) = self.shared.get_mut(word)
        {
            ours = shared.target(n) == vcpu;
            shared.owner[n as usize] = u8::try_from(vcpu).unwrap_or(NOBODY);
        }
        self.retire(vcpu, slot, hw);
        let bank = self.bank_mut(Self::place(vcpu, intid))?;
        let b = bit(n);
        let active = bank.active & b != 0;
        if !active {
            resample(bank, b, hw);
            if bank.deliverable(forward) & b == 0 {
                return None;
            }
        }
        let again = active && bank.latch & bank.enabled & forward.of(bank.group) & b != 0;
        let level = bank.line & !bank.edge & b != 0;
        let physical = (bank.held & b != 0 && !again).then(|| bank.link(n));
        let state = match (active, again && ours && !crowded && bank.held & b == 0 && !by_sender) {
            (false, _) => LrState::Pending,
            (true, false) => LrState::Active,
            (true, true) => LrState::PendingActive,
        };
        if state != LrState::Active {
            bank.soft |= bank.latch & b;
            bank.latch &= !b;
        }
        bank.listed |= b;
        let mut lr = Lr {
            intid: IntId(intid),
            state,
            priority: bank.priority(n),
            group1: bank.group & b != 0,
            hw: physical,
            // To look at a level again, to make room, or to go on with what the List Register could
            // not express. Not for linked ones: their line is the physical one's.
            eoi_maintenance: physical.is_none() && (level || crowded && active || again && state == LrState::Active),
            source: 0,
        };
        let cpu = self.cpus.get_mut(vcpu)?;
        if by_sender {
            cpu.choose_sender(n, &mut lr);
        }
        if intid < 32 {
            cpu.slot[n as usize] = (slot & 15) as u8;
        }
        cpu.occupied |= 1 << (slot & 31);
        if let Some(entry) = cpu.slots.get_mut(slot as usize) {
            *entry = (intid & 0x3ff) as u16 | if physical.is_some() { LINKED } else { 0 };
        }
        hw.write(slot as usize, lr);
        Some(state)
    }
}

/// How many List Registers are used.
fn slot_count<H: ListRegisters>(hw: &H) -> u32 {
    hw.count().clamp(1, SLOTS)
}
