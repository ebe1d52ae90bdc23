//! A GIC as the manual tells it, one interrupt at a time, without List Registers: what the [`Vgic`]
//! must be indistinguishable from.
//!
//! [`Vgic`]: crate::vgic::Vgic

use crate::vgic::Version;
use assay_spec::cpu_id::VcpuId;
use std::vec;
use std::vec::Vec;

/// One interrupt: an SPI, or one vCPU's SGI or PPI.
#[derive(Clone, Default)]
pub(super) struct Irq {
    pub(super) enabled: bool,
    pub(super) group1: bool,
    pub(super) priority: u8,
    pub(super) edge: bool,
    pub(super) line: bool,
    pub(super) latch: bool,
    pub(super) senders: u8,
    pub(super) active: bool,
    pub(super) active_on: usize,
    pub(super) route: Option<usize>,
}

impl Irq {
    pub(super) fn pending(&self) -> bool {
        self.latch || self.senders != 0 || self.line && !self.edge
    }
}

pub(super) struct Gic {
    pub(super) version: Version,
    pub(super) private: Vec<Vec<Irq>>,
    pub(super) shared: Vec<Irq>,
    pub(super) enable: u32,
    running: Vec<Vec<(u8, u32)>>,
}

impl Gic {
    pub(super) fn new(version: Version, vcpus: usize, spis: usize) -> Self {
        let mut private = vec![Irq::default(); 32];
        private[..16].iter_mut().for_each(|irq| irq.edge = true);
        let route = (version == Version::V3 || vcpus == 1).then_some(0);
        Self {
            version,
            private: vec![private; vcpus],
            shared: vec![Irq { route, ..Irq::default() }; spis],
            enable: 0,
            running: vec![Vec::new(); vcpus],
        }
    }

    pub(super) fn irq(&mut self, vcpu: VcpuId, intid: u32) -> &mut Irq {
        match intid {
            0..32 => &mut self.private[vcpu.0][intid as usize],
            _ => &mut self.shared[intid as usize - 32],
        }
    }

    /// Whether `vcpu` may acknowledge an interrupt now.
    pub(super) fn is_deliverable(&mut self, vcpu: VcpuId, intid: u32) -> bool {
        let enable = self.enable;
        let running = self.running[vcpu.0].last().map_or(0xff, |running| running.0);
        let irq = self.irq(vcpu, intid);
        irq.pending()
            && irq.enabled
            && !irq.active
            && enable & (1 << u32::from(irq.group1)) != 0
            && irq.priority < running
            && (intid < 32 || irq.route == Some(vcpu.0))
    }

    /// The priority that the next acknowledged interrupt has.
    pub(super) fn best_priority(&mut self, vcpu: VcpuId) -> Option<u8> {
        let count = 32 + self.shared.len() as u32;
        let deliverable: Vec<_> = (0..count).filter(|&n| self.is_deliverable(vcpu, n)).collect();
        deliverable.into_iter().map(|n| self.irq(vcpu, n).priority).min()
    }

    pub(super) fn acknowledge(&mut self, vcpu: VcpuId, intid: u32, source: u8) {
        let by_sender = self.version == Version::V2 && intid < 16;
        let irq = self.irq(vcpu, intid);
        if by_sender {
            assert!(irq.senders & 1 << source != 0, "SGI {intid} from {source}, who sent none");
            irq.senders &= !(1 << source);
        }
        irq.latch = false;
        irq.active = true;
        irq.active_on = vcpu.0;
        let priority = irq.priority;
        self.running[vcpu.0].push((priority, intid));
    }

    pub(super) fn end(&mut self, vcpu: VcpuId, intid: u32) {
        let (_, innermost) = self.running[vcpu.0].pop().expect("nothing runs");
        assert_eq!(innermost, intid);
        let irq = self.irq(vcpu, intid);
        if irq.active_on == vcpu.0 {
            irq.active = false;
        }
    }

    /// Whether the guest has acknowledged and not yet ended an interrupt, on any vCPU.
    pub(super) fn is_running(&self, vcpu: VcpuId, intid: u32) -> bool {
        let on = |v: usize| self.running[v].iter().any(|running| running.1 == intid);
        if intid < 32 { on(vcpu.0) } else { (0..self.running.len()).any(on) }
    }
}
