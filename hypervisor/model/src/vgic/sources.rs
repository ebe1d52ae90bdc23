//! Where interrupts come from: emulated devices, and physical interrupts that stand behind virtual ones.
//!
//! An INTID that the controller does not have is ignored.

use super::{ListRegisters, ListSlots, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

impl Vgic {
    /// Sets the line of an emulated source: an SPI, or a PPI of `vcpu`. That of an interrupt with a physical one behind it, which
    /// is kept active, is the physical one's.
    ///
    /// Returns whom to kick, the caller's own vCPU too: it has to [`flush_lr`](Self::flush_lr).
    pub fn set_level(&mut self, vcpu: VcpuId, intid: IntId, level: bool) -> VcpuSet {
        let Some(irq) = self.find(vcpu, intid) else {
            return VcpuSet::EMPTY;
        };
        let (bank, b) = (&mut self.banks[irq.bank], irq.bit());
        if (bank.line & b != 0) == level || bank.held & b != 0 {
            return VcpuSet::EMPTY;
        }
        let edge = bank.edge & b;
        if level {
            bank.line |= b;
            bank.latch |= edge;
        } else {
            bank.line &= !b;
        }
        // A listed level is looked at again; the end of a pulse means nothing to an edge-triggered interrupt.
        if level && bank.listed & b == 0 {
            self.note_pending(irq);
        } else if level || edge == 0 {
            self.note(irq.bank, b);
        }
        core::mem::take(&mut self.kicks)
    }

    /// Makes an interrupt pending once, as an edge does: an SPI, or a PPI of `vcpu`.
    ///
    /// Returns whom to kick, as [`set_level`](Self::set_level) does.
    pub fn pulse(&mut self, vcpu: VcpuId, intid: IntId) -> VcpuSet {
        if let Some(irq) = self.find(vcpu, intid) {
            self.banks[irq.bank].latch |= irq.bit();
            self.note_pending(irq);
        }
        core::mem::take(&mut self.kicks)
    }

    /// Delivers a physical interrupt that was taken by EL2 on this CPU, while `vcpu` is on it, and
    /// whose priority was dropped: it stays active until the guest deactivates `virt`, or until this
    /// model does, through [`ListRegisters::deactivate_physical`].
    ///
    /// Returns whom else to kick: the target of an SPI. If the controller has no interrupt `virt`,
    /// `phys` stays active, that is to say quiet.
    pub fn hw_fired<H: ListRegisters>(&mut self, vcpu: VcpuId, virt: IntId, phys: IntId, hw: &mut H) -> VcpuSet {
        if (IntId::PPI_BASE..IntId::SPI_BASE).contains(&virt.0) && self.list_at_once(vcpu, virt.0, Some(phys), hw) {
            return VcpuSet::EMPTY;
        }
        self.hw_fired_shared(vcpu, virt, phys, hw)
    }

    /// The same for a private interrupt that goes where it was before. False: nothing was done.
    #[inline(always)]
    pub fn hw_fired_at_once<H: ListSlots>(&self, vcpu: VcpuId, virt: IntId, phys: IntId, hw: &mut H) -> bool {
        (IntId::PPI_BASE..IntId::SPI_BASE).contains(&virt.0) && self.list_again(vcpu, virt.0, Some(phys), hw)
    }

    /// The same for an interrupt that is no timer's, and out of the way of those.
    #[inline(never)]
    pub fn hw_fired_shared(&mut self, vcpu: VcpuId, virt: IntId, phys: IntId, hw: &mut dyn ListRegisters) -> VcpuSet {
        // One whose physical interrupt comes anew, although it was listed, has been ended by the guest: what the List
        // Registers hold of it is history, and must not be taken for the end of the new one.
        self.retire_ended(vcpu, hw.empty(), hw);
        self.note_held(vcpu, virt, phys);
        self.flush_lr(vcpu, hw)
    }

    /// Notes a physical interrupt that was taken by EL2 on a CPU that runs no vCPU of this VM just now, and whose
    /// priority was dropped: it is delivered when its target's List Registers are filled next.
    ///
    /// Returns whom to kick. `virt` must be in no List Register.
    pub fn hold(&mut self, vcpu: VcpuId, virt: IntId, phys: IntId) -> VcpuSet {
        self.note_held(vcpu, virt, phys);
        core::mem::take(&mut self.kicks)
    }

    fn note_held(&mut self, vcpu: VcpuId, virt: IntId, phys: IntId) {
        if let Some(irq) = self.find(vcpu, virt) {
            self.banks[irq.bank].hold(irq.n, phys);
            self.note(irq.bank, irq.bit());
        }
    }

    /// Returns the vCPU that a shared interrupt goes to, if the guest has chosen one that there is.
    pub fn target(&self, intid: IntId) -> Option<VcpuId> {
        let irq = self.find(VcpuId(0), intid).filter(|irq| irq.bank >= self.cpus.len())?;
        let target = usize::from(self.banks[irq.bank].irq(irq.n).target);
        (target < self.cpus.len()).then_some(VcpuId(target))
    }
}
