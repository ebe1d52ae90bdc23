//! Whose an interrupt is: which vCPU sees it, lists it, and has to act when its state changes.

use super::Vgic;
use super::bank::{Bank, bits};
use crate::vcpus::VcpuSet;

/// Which bank: a vCPU's private interrupts, or a word of SPIs (0 is INTID 32 to 63).
#[derive(Clone, Copy)]
pub(super) enum Place {
    Private(usize),
    Shared(usize),
}

impl Vgic {
    /// Says that the state of `concerned` in a bank was changed, and works out who has to act on it:
    /// the owner of what is listed, otherwise who would list it.
    pub(super) fn note(&mut self, place: Place, concerned: u32) {
        let forward = self.forward;
        match place {
            Place::Private(vcpu) => {
                let Some(cpu) = self.cpus.get(vcpu) else {
                    return;
                };
                let bank = &cpu.bank;
                if concerned & bank.listed != 0 {
                    self.mark_stale(VcpuSet::one(vcpu));
                } else if concerned & (bank.deliverable(forward) | bank.stranded() | bank.deactivate) != 0 {
                    self.mark(VcpuSet::one(vcpu));
                }
            }
            Place::Shared(word) => {
                let Some(shared) = self.shared.get(word) else {
                    return;
                };
                let bank = &shared.bank;
                let (mut changed, mut stale) = (VcpuSet::EMPTY, VcpuSet::EMPTY);
                for n in bits(concerned & bank.listed) {
                    stale.insert(shared.owner(n));
                }
                for n in bits(concerned & !bank.listed & (bank.active | bank.deactivate)) {
                    changed.insert(shared.owner(n));
                }
                for n in bits(concerned & bank.deliverable(forward)) {
                    changed.insert(shared.target(n));
                }
                self.mark(changed);
                self.mark_stale(stale);
            }
        }
    }

    /// These vCPUs have something new to list.
    pub(super) fn mark(&mut self, vcpus: VcpuSet) {
        self.changed = self.changed.union(vcpus);
        self.kicks = self.kicks.union(vcpus);
    }

    /// These vCPUs have to fold what they have listed.
    pub(super) fn mark_stale(&mut self, vcpus: VcpuSet) {
        self.stale = self.stale.union(vcpus);
        self.mark(vcpus);
    }

    /// The place of an interrupt as `vcpu` sees it.
    pub(super) fn place(vcpu: usize, intid: u32) -> Place {
        match (intid / 32) as usize {
            0 => Place::Private(vcpu),
            word => Place::Shared(word - 1),
        }
    }

    pub(super) fn bank(&self, place: Place) -> Option<&Bank> {
        match place {
            Place::Private(vcpu) => self.cpus.get(vcpu).map(|cpu| &cpu.bank),
            Place::Shared(word) => self.shared.get(word).map(|shared| &shared.bank),
        }
    }

    pub(super) fn bank_mut(&mut self, place: Place) -> Option<&mut Bank> {
        match place {
            Place::Private(vcpu) => self.cpus.get_mut(vcpu).map(|cpu| &mut cpu.bank),
            Place::Shared(word) => self.shared.get_mut(word).map(|shared| &mut shared.bank),
        }
    }
}
