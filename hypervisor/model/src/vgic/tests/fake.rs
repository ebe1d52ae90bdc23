//! A virtual CPU interface as the manual describes it, and a VM's worth of them around a [`Vgic`].

use crate::vcpus::VcpuSet;
use crate::vgic::{ListRegisters, ListSlots, Read, Version, Vgic};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::hyp::{EMPTY, HCR_NPIE, HCR_UIE};
use assay_spec::gic::redist::{SGI_BASE, STRIDE};
use assay_spec::intid::IntId;
use assay_spec::lr::{Lr, LrState};
use std::vec;
use std::vec::Vec;

/// The virtual timer's interrupt, virtual and physical.
pub(super) const TIMER: IntId = IntId::ppi(11);

/// List Registers, the guest's side of them, and one physical timer interrupt.
pub(super) struct Interface {
    pub(super) lrs: Vec<Lr>,
    pub(super) requests: u32,
    /// Acknowledged and not yet ended, innermost last: priority, INTID, source.
    pub(super) running: Vec<(u8, u32, u8)>,
    /// Ends that met no List Register.
    pub(super) lost: usize,
    pub(super) separate: bool,
    pub(super) line: bool,
    pub(super) physical_active: bool,
    /// How often a List Register was read or written.
    pub(super) accesses: std::cell::Cell<usize>,
}

impl Interface {
    fn new(count: usize) -> Self {
        Self {
            lrs: vec![EMPTY; count],
            requests: 0,
            running: Vec::new(),
            lost: 0,
            separate: false,
            line: false,
            physical_active: false,
            accesses: std::cell::Cell::new(0),
        }
    }

    /// Reads IAR: what is pending, if it is more urgent than what runs.
    pub(super) fn acknowledge(&mut self) -> Option<(u32, u8)> {
        let running = self.running.last().map_or(0xff, |running| running.0);
        let lr = self
            .lrs
            .iter_mut()
            .filter(|lr| lr.state == LrState::Pending && lr.priority < running)
            .min_by_key(|lr| (lr.priority, lr.intid))?;
        lr.state = LrState::Active;
        self.running.push((lr.priority, lr.intid.0, lr.source));
        Some((lr.intid.0, lr.source))
    }

    /// Writes EOIR (and DIR) for the innermost interrupt.
    pub(super) fn end(&mut self) -> Option<(u32, u8)> {
        let (_, intid, source) = self.running.pop()?;
        self.deactivate(intid, source);
        Some((intid, source))
    }

    pub(super) fn deactivate(&mut self, intid: u32, source: u8) {
        let active = |lr: &&mut Lr| {
            matches!(lr.state, LrState::Active | LrState::PendingActive) && (lr.intid.0, lr.source) == (intid, source)
        };
        match self.lrs.iter_mut().find(active) {
            Some(lr) if lr.state == LrState::PendingActive => lr.state = LrState::Pending,
            Some(lr) => {
                lr.state = LrState::Invalid;
                if lr.hw.is_some() {
                    self.physical_active = false;
                }
            }
            None => self.lost += 1,
        }
    }

    /// Tells whether the maintenance interrupt is asserted.
    fn wants_maintenance(&self) -> bool {
        let valid = self.lrs.iter().filter(|lr| lr.state != LrState::Invalid).count();
        let pending = self.lrs.iter().any(|lr| lr.state == LrState::Pending);
        self.requests & HCR_UIE != 0 && valid <= 1
            || self.requests & HCR_NPIE != 0 && !pending
            || self.lrs.iter().any(|lr| lr.state == LrState::Invalid && lr.eoi_maintenance)
    }
}

impl ListSlots for Interface {
    fn write(&mut self, index: usize, lr: Lr) {
        self.accesses.set(self.accesses.get() + 1);
        assert!(!(lr.hw.is_some() && lr.eoi_maintenance), "{lr:?}");
        assert!(!(lr.hw.is_some() && lr.state == LrState::PendingActive), "{lr:?}");
        self.lrs[index] = lr;
        let valid = self.lrs.iter().filter(|lr| lr.state != LrState::Invalid);
        let mut intids: Vec<_> = valid.map(|lr| lr.intid).collect();
        intids.sort();
        assert!(intids.windows(2).all(|pair| pair[0] != pair[1]), "listed twice: {intids:?}");
    }
    fn empty(&self) -> u32 {
        let empty = |lr: &Lr| lr.state == LrState::Invalid && !lr.eoi_maintenance;
        (0..).zip(&self.lrs).filter(|(_, lr)| empty(lr)).fold(0, |bits, (n, _)| bits | 1 << n)
    }
}

impl ListRegisters for Interface {
    fn count(&self) -> u32 {
        self.lrs.len() as u32
    }
    fn read(&self, index: usize) -> Lr {
        self.accesses.set(self.accesses.get() + 1);
        self.lrs[index]
    }
    fn set_maintenance(&mut self, requests: u32) {
        self.requests = requests;
    }
    fn deactivate_physical(&mut self, intid: IntId) {
        assert_eq!(intid, TIMER);
        assert!(self.physical_active, "deactivated although not active");
        self.physical_active = false;
    }
    fn is_deactivation_separate(&self) -> bool {
        self.separate
    }
    fn is_physical_pending(&self, intid: IntId) -> bool {
        assert_eq!(intid, TIMER);
        self.line
    }
}

/// A VM: the controller, and each vCPU's interface.
pub(super) struct GuestMachine {
    pub(super) vgic: Vgic,
    pub(super) cpus: Vec<Interface>,
    /// Kicks that have not arrived yet.
    pub(super) kicked: VcpuSet,
}

impl GuestMachine {
    pub(super) fn new(version: Version, vcpus: usize, spis: usize, lrs: usize) -> Self {
        Self {
            vgic: Vgic::new(version, vcpus, spis),
            cpus: (0..vcpus).map(|_| Interface::new(lrs)).collect(),
            kicked: VcpuSet::EMPTY,
        }
    }

    /// One with both groups forwarded, and everything enabled, in Group 1, at priority 0xa0.
    pub(super) fn ready(version: Version, vcpus: usize, spis: usize, lrs: usize) -> Self {
        let mut machine = Self::new(version, vcpus, spis, lrs);
        machine.dist(VcpuId(0), 0, 3);
        for vcpu in 0..vcpus {
            machine.private(VcpuId(vcpu), 0x80, u32::MAX);
            machine.private(VcpuId(vcpu), 0x100, u32::MAX);
            for n in 0..8 {
                machine.private(VcpuId(vcpu), 0x400 + 4 * n, 0xa0a0_a0a0);
            }
        }
        for word in 1..=(spis.div_ceil(32) as u64) {
            machine.dist(VcpuId(0), 0x80 + 4 * word, u32::MAX);
            machine.dist(VcpuId(0), 0x100 + 4 * word, u32::MAX);
            for n in 0..8 {
                machine.dist(VcpuId(0), 0x400 + 32 * word + 4 * n, 0xa0a0_a0a0);
                if version == Version::V2 {
                    machine.dist(VcpuId(0), 0x800 + 32 * word + 4 * n, 0x0101_0101);
                }
            }
        }
        machine
    }

    /// Writes a word to the Distributor.
    pub(super) fn dist(&mut self, vcpu: VcpuId, offset: u64, value: u32) {
        self.dist_write(vcpu, offset, Width::W4, u64::from(value));
    }

    pub(super) fn dist_write(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) {
        let kicks = self.vgic.dist_write(vcpu, offset, (width, value), &mut self.cpus[vcpu.0]).unwrap_or_default();
        self.kick(kicks);
    }

    /// Writes a word to the registers of `vcpu`'s own private interrupts, wherever they are.
    pub(super) fn private(&mut self, vcpu: VcpuId, offset: u64, value: u32) {
        match self.vgic.version {
            Version::V2 => self.dist(vcpu, offset, value),
            Version::V3 => self.redist(vcpu, vcpu.0, SGI_BASE + offset, value),
        }
    }

    /// Writes a word to `of`'s Redistributor.
    pub(super) fn redist(&mut self, vcpu: VcpuId, of: usize, offset: u64, value: u32) {
        let offset = of as u64 * STRIDE + offset;
        let cpu = &mut self.cpus[vcpu.0];
        let kicks = self.vgic.redist_write(vcpu, offset, (Width::W4, u64::from(value)), cpu).unwrap_or_default();
        self.kick(kicks);
    }

    /// Reads a word of the registers of `of`'s private interrupts, until there is an answer.
    pub(super) fn read_private(&mut self, vcpu: VcpuId, of: usize, offset: u64) -> u32 {
        if self.vgic.version == Version::V2 {
            assert_eq!(vcpu, VcpuId(of));
            return self.read_dist(vcpu, offset);
        }
        let offset = of as u64 * STRIDE + SGI_BASE + offset;
        self.repeat(|m| m.vgic.redist_read(vcpu, offset, Width::W4, &mut m.cpus[vcpu.0]))
    }

    /// Reads a word of the Distributor, until there is an answer.
    pub(super) fn read_dist(&mut self, vcpu: VcpuId, offset: u64) -> u32 {
        self.repeat(|m| m.vgic.dist_read(vcpu, offset, Width::W4, &mut m.cpus[vcpu.0]))
    }

    fn repeat(&mut self, read: impl Fn(&mut Self) -> Option<Read>) -> u32 {
        let read = |m: &mut Self| read(m).unwrap_or(Read::Value(0));
        match read(self) {
            Read::Value(value) => value as u32,
            Read::Retry(others) => {
                assert!(!others.is_empty());
                self.kick(others);
                match read(self) {
                    Read::Value(value) => value as u32,
                    Read::Retry(_) => panic!("no answer although all were flushed"),
                }
            }
        }
    }

    /// Delivers kicks, and whatever follows from them, until all is quiet.
    pub(super) fn kick(&mut self, kicks: VcpuSet) {
        self.kicked = self.kicked.union(kicks);
        for _ in 0..100 {
            let before = self.kicked;
            for vcpu in 0..self.cpus.len() {
                self.serve(VcpuId(vcpu));
            }
            let fires = self.cpus.iter().any(|cpu| cpu.line && !cpu.physical_active);
            if before.is_empty() && self.kicked.is_empty() && !fires {
                return;
            }
        }
        panic!("no end of kicks");
    }

    /// What happens on one CPU when its guest is interrupted.
    fn serve(&mut self, vcpu: VcpuId) {
        let cpu = &mut self.cpus[vcpu.0];
        if self.kicked.contains(vcpu) {
            self.kicked.remove(vcpu);
            self.kicked = self.kicked.union(self.vgic.flush_lr(vcpu, cpu));
        }
        if cpu.wants_maintenance() {
            self.kicked = self.kicked.union(self.vgic.sync_lr(vcpu, cpu));
            self.kicked = self.kicked.union(self.vgic.flush_lr(vcpu, cpu));
            assert!(!cpu.wants_maintenance(), "maintenance without end");
        }
        if cpu.line && !cpu.physical_active {
            cpu.physical_active = true;
            self.kicked = self.kicked.union(self.vgic.hw_fired(vcpu, TIMER, TIMER, cpu));
            assert!(!cpu.wants_maintenance(), "maintenance without end");
        }
    }

    pub(super) fn set_level(&mut self, vcpu: VcpuId, intid: u32, level: bool) {
        let kicks = self.vgic.set_level(vcpu, IntId(intid), level);
        self.kick(kicks);
    }

    /// Sets a line on the CPU of `vcpu`.
    pub(super) fn carry_level(&mut self, vcpu: VcpuId, intid: u32, level: bool) {
        let kicks = self.vgic.carry_level(vcpu, IntId(intid), level, &mut self.cpus[vcpu.0]);
        self.kick(kicks);
    }

    pub(super) fn set_timer(&mut self, vcpu: VcpuId, line: bool) {
        self.cpus[vcpu.0].line = line;
        self.kick(VcpuSet::EMPTY);
    }

    pub(super) fn acknowledge(&mut self, vcpu: VcpuId) -> Option<(u32, u8)> {
        let acknowledged = self.cpus[vcpu.0].acknowledge();
        self.kick(VcpuSet::EMPTY);
        acknowledged
    }

    pub(super) fn end(&mut self, vcpu: VcpuId) -> Option<(u32, u8)> {
        let ended = self.cpus[vcpu.0].end();
        self.kick(VcpuSet::EMPTY);
        ended
    }

    /// Sends SGI `n` to the vCPUs of a mask, as the version does.
    pub(super) fn send(&mut self, from: usize, n: u32, targets: u16) {
        match self.vgic.version {
            Version::V2 => self.dist(VcpuId(from), 0xf00, u32::from(targets) << 16 | n),
            Version::V3 => {
                let value = u64::from(n) << 24 | u64::from(targets);
                let kicks = self.vgic.sgi1r(VcpuId(from), value, &mut self.cpus[from]);
                self.kick(kicks);
            }
        }
    }

    /// Takes the vCPU off its CPU and puts it back.
    pub(super) fn park(&mut self, vcpu: VcpuId) {
        let kicks = self.vgic.park(vcpu, &mut self.cpus[vcpu.0]);
        let cpu = &mut self.cpus[vcpu.0];
        assert!(!cpu.physical_active && cpu.requests == 0);
        assert!(cpu.lrs.iter().all(|lr| lr.state == LrState::Invalid));
        self.kick(kicks.union(VcpuSet::one(vcpu)));
    }
}
