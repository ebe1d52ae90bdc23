//! Whose an interrupt is, and who has to act when its state changes.

use super::bank::{Forward, bit, bits};
use super::{Vgic, byte};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

/// An interrupt of a VM: its bank, and its number in there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct IrqRef {
    pub(super) bank: usize,
    pub(super) n: u32,
}

impl IrqRef {
    pub(super) fn bit(self) -> u32 {
        bit(self.n)
    }
}

/// How urgent an interrupt is, and which it is: the lowest is first. Of the same priority, that of the lowest INTID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency(u32);

impl Urgency {
    /// No interrupt.
    pub(super) const NONE: Self = Self(u32::MAX);

    fn new(priority: u8, IrqRef { bank, n }: IrqRef) -> Self {
        Self(u32::from(priority) << 16 | u32::from(byte(bank)) << 5 | n & 31)
    }

    /// Which it is, if any.
    pub(super) fn irq(self) -> Option<IrqRef> {
        (self != Self::NONE).then_some(IrqRef { bank: (self.0 >> 5 & 0xff) as usize, n: self.0 & 31 })
    }
}

/// What of a vCPU's interrupts is to be dealt with.
pub(super) struct Waiting {
    /// The most urgent that is active there and in no List Register,
    pub(super) active: Urgency,
    /// and the most urgent that is to be delivered to it and in none.
    pub(super) pending: Urgency,
    /// How many there are of both.
    pub(super) count: u32,
    /// Something that is listed there became pending once more.
    pub(super) is_repended: bool,
    /// Something is to be deactivated that is not listed, but held.
    pub(super) is_ordered: bool,
}

impl Waiting {
    pub(super) const NOTHING: Self =
        Self { active: Urgency::NONE, pending: Urgency::NONE, count: 0, is_repended: false, is_ordered: false };
}

impl Vgic {
    /// The interrupt that `vcpu` knows by an INTID, if there is one.
    #[inline]
    pub(super) fn find(&self, vcpu: VcpuId, intid: IntId) -> Option<IrqRef> {
        let irq = self.irq(vcpu, intid.0);
        (irq.bank < self.banks.len()).then_some(irq)
    }

    /// The same for an INTID that is known to be there.
    #[inline(always)]
    pub(super) fn irq(&self, vcpu: VcpuId, intid: u32) -> IrqRef {
        IrqRef { bank: self.bank_of(vcpu, intid as usize / 32), n: intid % 32 }
    }

    /// The bank of the `word`th 32 interrupts, as a vCPU knows them, if there is one.
    #[inline(always)]
    pub(super) fn bank_of(&self, vcpu: VcpuId, word: usize) -> usize {
        assert!(vcpu.0 < self.cpus.len(), "no vCPU {vcpu}");
        if word == 0 { vcpu.0 } else { self.cpus.len() + word - 1 }
    }

    /// The banks whose interrupts a vCPU may get.
    pub(super) fn banks_of(&self, vcpu: VcpuId) -> impl Iterator<Item = usize> + use<> {
        let (private, spis) = (self.bank_of(vcpu, 0), self.cpus.len());
        (spis - 1..self.banks.len()).map(move |index| if index < spis { private } else { index })
    }

    /// The INTID of an interrupt.
    #[inline(always)]
    pub(super) fn intid(&self, irq: IrqRef) -> u32 {
        let word = byte((irq.bank + 1).saturating_sub(self.cpus.len()));
        u32::from(word) * 32 + irq.n
    }

    /// Looks through a vCPU's interrupts.
    pub(super) fn waiting(&self, vcpu: VcpuId) -> Waiting {
        let mut waiting = Waiting::NOTHING;
        for index in self.banks_of(vcpu) {
            let bank = &self.banks[index];
            let (active, pending) = (bank.stranded(), bank.deliverable(self.forward));
            let (repended, ordered) = (bank.repended(self.forward), bank.deactivate & !bank.listed);
            for n in bits(active | pending | repended | ordered) {
                let irq = bank.irq(n);
                let urgency = Urgency::new(irq.priority, IrqRef { bank: index, n });
                let owned = if usize::from(irq.owner) == vcpu.0 { bit(n) } else { 0 };
                let targeted = if usize::from(irq.target) == vcpu.0 { bit(n) } else { 0 };
                if active & owned != 0 {
                    waiting.active = waiting.active.min(urgency);
                    waiting.count += 1;
                }
                if pending & targeted != 0 {
                    waiting.pending = waiting.pending.min(urgency);
                    waiting.count += 1;
                }
                waiting.is_repended |= repended & owned != 0;
                waiting.is_ordered |= ordered & owned != 0;
            }
        }
        waiting
    }

    /// Tells whether `vcpu` lists any of `concerned`.
    pub(super) fn is_listed_by(&self, vcpu: VcpuId, bank: usize, concerned: u32) -> bool {
        let bank = &self.banks[bank];
        bits(bank.listed & concerned).any(|n| usize::from(bank.irq(n).owner) == vcpu.0)
    }

    /// Who lists any interrupt of a bank.
    pub(super) fn listers(&self, bank: usize) -> VcpuSet {
        let bank = &self.banks[bank];
        let mut vcpus = VcpuSet::EMPTY;
        bits(bank.listed).for_each(|n| vcpus.insert(bank.irq(n).owner.into()));
        vcpus
    }

    /// Says that the state of `concerned` in a bank was changed, and works out who has to act on it:
    /// the owner of what is listed, otherwise who would list it.
    pub(super) fn note(&mut self, bank: usize, concerned: u32) {
        // As by a write of what is so already.
        if concerned == 0 {
            return;
        }
        let state = &self.banks[bank];
        let owned = concerned & (state.listed | state.active | state.deactivate);
        let targeted = concerned & state.deliverable(self.forward);
        // It may be quiet.
        if owned | targeted != 0 {
            self.note_some(bank, owned, targeted);
        }
    }

    #[inline(never)]
    fn note_some(&mut self, bank: usize, owned: u32, targeted: u32) {
        let bank = &self.banks[bank];
        let (mut changed, mut stale) = (VcpuSet::EMPTY, VcpuSet::EMPTY);
        for n in bits(owned) {
            let owner = bank.irq(n).owner.into();
            if bank.listed & bit(n) != 0 { stale.insert(owner) } else { changed.insert(owner) }
        }
        bits(targeted).for_each(|n| changed.insert(bank.irq(n).target.into()));
        self.stale = self.stale.union(stale);
        self.mark(changed.union(stale));
    }

    /// Says that an interrupt has become pending, and works out who has to act on it. That one remembers which it is, as long
    /// as there is nothing else.
    #[inline(always)]
    pub(super) fn note_pending(&mut self, irq: IrqRef) {
        let bank = &self.banks[irq.bank];
        let entry = bank.irq(irq.n);
        let whose = if bank.repended(self.forward) & irq.bit() != 0 {
            entry.owner
        } else if bank.deliverable(self.forward) & irq.bit() != 0 {
            entry.target
        } else {
            return self.note(irq.bank, irq.bit());
        };
        let vcpu = VcpuId(whose.into());
        let Some(cpu) = self.cpus.get_mut(vcpu.0) else { return };
        if !self.changed.contains(vcpu) {
            cpu.lone = irq;
            self.lone.insert(vcpu);
        } else if cpu.lone != irq {
            self.lone.remove(vcpu);
        }
        self.changed.insert(vcpu);
        self.kicks.insert(vcpu);
    }

    /// Which groups are forwarded was changed.
    pub(super) fn set_forward(&mut self, forward: Forward) {
        if forward != self.forward {
            self.forward = forward;
            (0..self.banks.len()).for_each(|bank| self.note(bank, u32::MAX));
        }
    }

    /// These vCPUs have something new to list.
    pub(super) fn mark(&mut self, vcpus: VcpuSet) {
        self.concern(vcpus);
        self.kicks = self.kicks.union(vcpus);
    }

    /// The same for vCPUs that need no kick.
    pub(super) fn concern(&mut self, vcpus: VcpuSet) {
        self.changed = self.changed.union(vcpus);
        self.lone = self.lone.without(vcpus);
    }
}
