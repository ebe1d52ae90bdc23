//! Where interrupts come from: emulated devices, and physical interrupts that stand behind virtual ones.

use super::bank::{bit, bits};
use super::owners::Place;
use super::{LINKED, ListRegisters, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::intid::IntId;

impl Vgic {
    /// Sets the line of an emulated source: an SPI, or a PPI of `vcpu`. An INTID that the controller
    /// does not have is ignored.
    ///
    /// Returns whom to kick, the caller's own vCPU too: it has to [`flush`](Self::flush).
    pub fn set_level(&mut self, vcpu: usize, intid: IntId, level: bool) -> VcpuSet {
        let (place, b) = (Self::place(vcpu, intid.0), bit(intid.0));
        let Some(bank) = self.bank_mut(place) else {
            return VcpuSet::EMPTY;
        };
        if (bank.line & b != 0) == level {
            return VcpuSet::EMPTY;
        }
        let edge = bank.edge & b;
        if level {
            bank.line |= b;
            bank.latch |= edge;
        } else {
            bank.line &= !b;
        }
        // The end of a pulse means nothing to an edge-triggered interrupt.
        if level || edge == 0 {
            self.note(place, b);
        }
        core::mem::take(&mut self.kicks)
    }

    /// Makes an interrupt pending once, as an edge does: an SPI, or a PPI of `vcpu`.
    ///
    /// Returns whom to kick, as [`set_level`](Self::set_level) does.
    pub fn pulse(&mut self, vcpu: usize, intid: IntId) -> VcpuSet {
        let (place, b) = (Self::place(vcpu, intid.0), bit(intid.0));
        if let Some(bank) = self.bank_mut(place) {
            bank.latch |= b;
            self.note(place, b);
        }
        core::mem::take(&mut self.kicks)
    }

    /// Delivers a physical interrupt that was taken by EL2 on this CPU, while `vcpu` is on it, and
    /// whose priority was dropped: it stays active until the guest deactivates `virt`, or until this
    /// model does, through [`ListRegisters::deactivate_physical`].
    ///
    /// Returns whom else to kick: the target of an SPI. If the controller has no interrupt `virt`,
    /// `phys` stays active, that is to say quiet.
    pub fn hw_fired<H: ListRegisters>(&mut self, vcpu: usize, virt: IntId, phys: IntId, hw: &mut H) -> VcpuSet {
        if (IntId::PPI_BASE..IntId::SPI_BASE).contains(&virt.0) && self.list_at_once(vcpu, virt.0, Some(phys), hw) {
            return VcpuSet::EMPTY;
        }
        self.hw_fired_shared(vcpu, virt, phys, hw)
    }

    /// The same for an interrupt that is no timer's, and out of the way of those.
    #[inline(never)]
    pub fn hw_fired_shared<H: ListRegisters>(&mut self, vcpu: usize, virt: IntId, phys: IntId, hw: &mut H) -> VcpuSet {
        let place = Self::place(vcpu, virt.0);
        self.retire_ended(vcpu, place, virt.0, hw);
        if let Some(bank) = self.bank_mut(place) {
            bank.hold(virt.0, phys);
            self.note(place, bit(virt.0));
            self.refill(vcpu, hw);
        }
        self.take_kicks(vcpu)
    }

    /// Notes a physical interrupt that was taken by EL2 on a CPU that runs no vCPU of this VM just now, and whose
    /// priority was dropped: it is delivered when its target's List Registers are filled next.
    ///
    /// Returns whom to kick. `virt` must be in no List Register.
    pub fn hold(&mut self, vcpu: usize, virt: IntId, phys: IntId) -> VcpuSet {
        let place = Self::place(vcpu, virt.0);
        if let Some(bank) = self.bank_mut(place) {
            bank.hold(virt.0, phys);
            self.note(place, bit(virt.0));
        }
        core::mem::take(&mut self.kicks)
    }

    /// Returns the vCPU that a shared interrupt goes to, if the guest has chosen one that there is.
    pub fn target(&self, intid: IntId) -> Option<usize> {
        let Place::Shared(word) = Self::place(0, intid.0) else {
            return None;
        };
        let target = self.shared.get(word)?.target(intid.0);
        (target < self.cpus.len()).then_some(target)
    }

    /// Lets go of every physical interrupt that stands behind a shared one, whosever it is. All vCPUs have been
    /// [parked](Self::park): this is the end of a life.
    pub fn release_shared<H: ListRegisters>(&mut self, hw: &mut H) {
        for shared in &mut self.shared {
            let held = shared.bank.held;
            super::lists::release(&mut shared.bank, held, hw);
        }
    }

    /// An interrupt whose physical one comes anew, although it was listed, has been ended by the guest:
    /// what the List Registers hold of it is history, and must not be taken for the end of the new one.
    fn retire_ended<H: ListRegisters>(&mut self, vcpu: usize, place: Place, intid: u32, hw: &mut H) {
        let listed = self.bank(place).is_some_and(|bank| bank.listed & bit(intid) != 0);
        let Some(cpu) = self.cpus.get(vcpu).filter(|_| listed) else {
            return;
        };
        let slot = bits(cpu.occupied & hw.empty()).find(|&slot| {
            let entry = cpu.slots.get(slot as usize).copied().unwrap_or(0);
            u32::from(entry & !LINKED) == intid
        });
        if let Some(slot) = slot {
            self.retire(vcpu, slot, hw);
        }
    }
}
