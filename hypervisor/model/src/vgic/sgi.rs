//! Software Generated Interrupts: by system register (GICv3) and by `GICD_SGIR` (GICv2).

use super::bank::{Bank, Irq, bit};
use super::notes::IrqRef;
use super::{ListRegisters, ListSlots, Version, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::gic::sgi::Sgi;
use assay_spec::lr::{Lr, LrState};

/// An SGI, and whom it is to be sent to.
#[derive(Clone, Copy)]
pub struct Unsent {
    n: u32,
    targets: VcpuSet,
}

impl Vgic {
    /// A write of `ICC_SGI1R_EL1`, which with one Security state sends SGIs of either group (IHI 0069H
    /// §8.1.10). One to the sender itself is in a List Register at once. Returns whom to kick.
    #[inline(always)]
    pub fn sgi1r<H: ListRegisters>(&mut self, from: VcpuId, value: u64, hw: &mut H) -> VcpuSet {
        self.send(from, self.unsent(from, value), u32::MAX, hw)
    }

    /// The same for an SGI to nobody, and for one to the sender itself that goes where it was before. Otherwise nothing is done, and
    /// what it comes to is for [`send_unsent`](Self::send_unsent).
    #[inline(always)]
    pub fn sgi1r_at_once<H: ListSlots>(&self, from: VcpuId, value: u64, hw: &mut H) -> Option<Unsent> {
        let unsent = self.unsent(from, value);
        if unsent.targets.is_empty() {
            return None;
        }
        let is_own = unsent.targets == VcpuSet::one(VcpuId(from.0 & 63));
        if is_own && self.list_again(from, unsent.n, None, hw) { None } else { Some(unsent) }
    }

    /// Sends what [`sgi1r_at_once`](Self::sgi1r_at_once) left. Returns whom to kick.
    #[inline(always)]
    pub fn send_unsent<H: ListRegisters>(&mut self, from: VcpuId, unsent: Unsent, hw: &mut H) -> VcpuSet {
        self.send(from, unsent, u32::MAX, hw)
    }

    /// A write of `ICC_SGI0R_EL1` or `ICC_ASGI1R_EL1`, which with one Security state send an SGI only
    /// where it is configured as Group 0 (IHI 0069H §8.1.10). Returns whom to kick.
    ///
    /// Enforced by `sgi0r_sends_only_to_where_the_sgi_is_in_group_0`.
    pub fn sgi0r<H: ListRegisters>(&mut self, from: VcpuId, value: u64, hw: &mut H) -> VcpuSet {
        self.send(from, self.unsent(from, value), 0, hw)
    }

    /// Sends an SGI to where its group bit is among `groups`, or is 0.
    #[inline(always)]
    fn send<H: ListRegisters>(&mut self, from: VcpuId, unsent: Unsent, groups: u32, hw: &mut H) -> VcpuSet {
        let Unsent { n, targets } = unsent;
        if targets.is_empty() {
            return VcpuSet::EMPTY;
        }
        if targets == VcpuSet::one(VcpuId(from.0 & 63))
            && self.banks[from.0].group & !groups & bit(n) == 0
            && self.list_at_once(from, n, None, hw)
        {
            return VcpuSet::EMPTY;
        }
        self.send_to(from, n, targets, groups, hw)
    }

    #[inline(never)]
    fn send_to(&mut self, from: VcpuId, n: u32, targets: VcpuSet, groups: u32, hw: &mut dyn ListRegisters) -> VcpuSet {
        for target in targets.iter() {
            let bank = &mut self.banks[target.0];
            if bank.group & !groups & bit(n) == 0 {
                bank.latch |= bit(n);
                self.note_pending(IrqRef { bank: target.0, n: n & 31 });
            }
        }
        self.flush_lr(from, hw)
    }

    #[inline(always)]
    fn unsent(&self, from: VcpuId, value: u64) -> Unsent {
        let sgi = Sgi::decode(value);
        Unsent { n: sgi.intid, targets: self.targets(from, &sgi) }
    }

    /// The vCPUs that an SGI is for. Affinities that no vCPU has are ignored.
    #[inline(always)]
    fn targets(&self, from: VcpuId, sgi: &Sgi) -> VcpuSet {
        // With GICv2 the registers that send like this do not exist.
        let all = if self.version == Version::V3 { self.everyone } else { VcpuSet::EMPTY };
        if sgi.all_others {
            return all.without(VcpuSet::one(from));
        }
        // Aff0 goes up to 15 and Aff1 up to 3: see `Vgic::new`.
        if sgi.cluster > 3 || sgi.range != 0 {
            return VcpuSet::EMPTY;
        }
        VcpuSet(u64::from(sgi.targets) << (sgi.cluster * 16) & all.0)
    }

    /// Makes SGI `n` of `vcpu` pending from each vCPU in the mask `senders` that there is.
    pub(super) fn add_senders(&mut self, vcpu: VcpuId, n: u32, senders: u64) {
        let senders = (senders & self.everyone.0 & 0xff) as u8;
        if senders != 0 {
            let bank = &mut self.banks[vcpu.0];
            bank.irq_mut(n).senders |= senders;
            bank.latch |= bit(n);
            self.note_pending(IrqRef { bank: vcpu.0, n: n & 31 });
        }
    }
}

impl Bank {
    /// Takes senders of SGI `n` back, who have sent it and wait for it to be listed. Returns what is concerned.
    pub(super) fn remove_senders(&mut self, n: u32, senders: u8) -> u32 {
        let irq = self.irq_mut(n);
        irq.senders &= !senders;
        if irq.senders == 0 {
            self.latch &= !bit(n);
        }
        0
    }

    /// Fills in who sent the SGI that `lr` lists. A List Register has room for one sender; the others
    /// wait until the guest has ended this one (IHI 0048B §3.2.3: each is an interrupt of its own).
    ///
    /// Enforced by `an_sgi_from_two_senders_is_taken_twice_with_the_right_source`.
    pub(super) fn choose_sender(&mut self, n: u32, lr: &mut Lr) {
        let irq = self.irq_mut(n);
        if lr.state != LrState::Pending {
            lr.source = irq.active_sender;
            return;
        }
        lr.source = (irq.senders.trailing_zeros() & 7) as u8;
        irq.senders &= !(1 << lr.source);
        if irq.senders != 0 {
            self.latch |= bit(n);
            lr.eoi_maintenance = true;
        }
    }
}

impl Irq {
    /// Takes back what [`choose_sender`](Bank::choose_sender) chose, or notes that it was acknowledged.
    pub(super) fn return_sender(&mut self, pending: bool, active: bool, source: u8) {
        if pending {
            self.senders |= 1 << (source & 7);
        }
        if active {
            self.active_sender = source & 7;
        }
    }
}
