//! Software Generated Interrupts: by system register (GICv3) and by `GICD_SGIR` (GICv2).

use super::bank::{bit, bits};
use super::owners::Place;
use super::{Cpu, ListRegisters, Version, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::gic::sgi::{Filter, Sgi, decode_sgir};
use assay_spec::lr::{Lr, LrState};

impl Vgic {
    /// A write of `ICC_SGI1R_EL1`, which with one Security state sends SGIs of either group (IHI 0069H
    /// §8.1.10). One to the sender itself is in a List Register at once. Returns whom to kick.
    pub fn sgi1r<H: ListRegisters>(&mut self, from: usize, value: u64, hw: &mut H) -> VcpuSet {
        self.send(from, value, u32::MAX, hw)
    }

    /// A write of `ICC_SGI0R_EL1` or `ICC_ASGI1R_EL1`, which with one Security state send an SGI only
    /// where it is configured as Group 0 (IHI 0069H §8.1.10). Returns whom to kick.
    ///
    /// Enforced by `sgi0r_sends_only_to_where_the_sgi_is_in_group_0`.
    pub fn sgi0r<H: ListRegisters>(&mut self, from: usize, value: u64, hw: &mut H) -> VcpuSet {
        self.send(from, value, 0, hw)
    }

    /// Sends an SGI to where its group bit is among `groups`, or is 0.
    #[inline(always)]
    fn send<H: ListRegisters>(&mut self, from: usize, value: u64, groups: u32, hw: &mut H) -> VcpuSet {
        let sgi = Sgi::decode(value);
        let targets = self.targets(from, &sgi);
        if targets == VcpuSet::one(from & 63)
            && self.cpus.get(from).is_some_and(|cpu| cpu.bank.group & !groups & bit(sgi.intid) == 0)
            && self.list_at_once(from, sgi.intid, None, hw)
        {
            return VcpuSet::EMPTY;
        }
        self.send_to(from, sgi.intid, targets, groups, hw)
    }

    #[inline(never)]
    fn send_to<H: ListRegisters>(
        &mut self,
        from: usize,
        n: u32,
        mut targets: VcpuSet,
        groups: u32,
        hw: &mut H,
    ) -> VcpuSet {
        while !targets.is_empty() {
            let target = targets.0.trailing_zeros() as usize;
            targets.remove(target);
            let Some(cpu) = self.cpus.get_mut(target) else {
                break;
            };
            if cpu.bank.group & !groups & bit(n) == 0 {
                cpu.bank.latch |= bit(n);
                self.note(Place::Private(target), bit(n));
            }
        }
        self.refill(from, hw);
        self.take_kicks(from)
    }

    /// The vCPUs that an SGI is for. Affinities that no vCPU has are ignored.
    fn targets(&self, from: usize, sgi: &Sgi) -> VcpuSet {
        // With GICv2 the registers that send like this do not exist.
        let all = if self.version == Version::V3 { self.everyone } else { VcpuSet::EMPTY };
        if sgi.all_others {
            return VcpuSet(all.0 & !VcpuSet::one(from).0);
        }
        // Aff0 goes up to 15 and Aff1 up to 3: see `Vgic::new`.
        if sgi.cluster > 3 || sgi.range != 0 {
            return VcpuSet::EMPTY;
        }
        VcpuSet(u64::from(sgi.targets) << (sgi.cluster * 16) & all.0)
    }

    /// A write of `GICD_SGIR` (IHI 0048B §4.3.15). Only the CPU interfaces that exist are reached.
    pub(super) fn write_sgir(&mut self, from: usize, value: u32) {
        let all = self.everyone;
        let Some((n, filter)) = decode_sgir(value) else {
            return;
        };
        let targets = match filter {
            Filter::List(mask) => VcpuSet(u64::from(mask) & all.0),
            Filter::AllOthers => VcpuSet(all.0 & !VcpuSet::one(from).0),
            Filter::Own => VcpuSet::one(from),
        };
        for target in targets.iter() {
            self.add_senders(target, n, VcpuSet::one(from).0);
        }
    }

    /// Makes SGI `n` of `vcpu` pending from each vCPU in the mask `senders`.
    fn add_senders(&mut self, vcpu: usize, n: u32, senders: u64) {
        let existing = self.everyone.0;
        let Some(cpu) = self.cpus.get_mut(vcpu) else {
            return;
        };
        let senders = (senders & existing & 0xff) as u8;
        if senders != 0 {
            cpu.senders[(n & 15) as usize] |= senders;
            cpu.bank.latch |= bit(n);
            self.note(Place::Private(vcpu), bit(n));
        }
    }

    /// Reads byte `n` of `GICD_CPENDSGIR` or `GICD_SPENDSGIR`: who has sent SGI `n`. The caller's List
    /// Registers are folded.
    pub(super) fn read_senders(&self, vcpu: usize, n: u32) -> u8 {
        self.cpus.get(vcpu).map_or(0, |cpu| cpu.senders[(n & 15) as usize])
    }

    /// Writes byte `n` of `GICD_SPENDSGIR`.
    pub(super) fn write_spendsgir(&mut self, vcpu: usize, n: u32, senders: u8) {
        self.add_senders(vcpu, n, u64::from(senders));
    }

    /// Writes byte `n` of `GICD_CPENDSGIR`. The caller's List Registers are folded.
    pub(super) fn write_cpendsgir(&mut self, vcpu: usize, n: u32, senders: u8) {
        let Some(cpu) = self.cpus.get_mut(vcpu) else {
            return;
        };
        let left = &mut cpu.senders[(n & 15) as usize];
        *left &= !senders;
        if *left == 0 {
            cpu.bank.latch &= !bit(n);
        }
    }
}

impl Cpu {
    /// Fills in who sent the SGI that `lr` lists. A List Register has room for one sender; the others
    /// wait until the guest has ended this one (IHI 0048B §3.2.3: each is an interrupt of its own).
    ///
    /// Enforced by `an_sgi_from_two_senders_is_taken_twice_with_the_right_source`.
    pub(super) fn choose_sender(&mut self, n: u32, lr: &mut Lr) {
        let i = (n & 15) as usize;
        if lr.state != LrState::Pending {
            lr.source = self.active_sender[i];
            return;
        }
        let mut waiting = bits(u32::from(self.senders[i]));
        lr.source = (waiting.next().unwrap_or(0) & 7) as u8;
        self.senders[i] &= !(1 << lr.source);
        if self.senders[i] != 0 {
            self.bank.latch |= bit(n);
            lr.eoi_maintenance = true;
        }
    }

    /// Takes back what [`choose_sender`](Self::choose_sender) chose, or notes that it was acknowledged.
    pub(super) fn return_sender(&mut self, n: u32, pending: bool, active: bool, source: u8) {
        let i = (n & 15) as usize;
        if pending {
            self.senders[i] |= 1 << (source & 7);
        }
        if active {
            self.active_sender[i] = source & 7;
        }
    }
}
