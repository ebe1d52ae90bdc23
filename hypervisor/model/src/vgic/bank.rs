//! Thirty-two interrupts: their state as words, a bit each, and what the GIC's rules make of it.
//!
//! A bank is one vCPU's SGIs and PPIs, or 32 SPIs. It knows nothing of List Registers but which of its
//! interrupts are in one.

use super::{NOBODY, Version, byte};
use assay_spec::cpu_id::VcpuId;
use assay_spec::gic::PRIORITY_MASK;
use assay_spec::gic::dist::{CTLR_ENABLE_GRP0, CTLR_ENABLE_GRP1};
use assay_spec::intid::IntId;

/// Which groups the Distributor forwards, as masks to be applied to a bank's group bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Forward {
    group0: u32,
    group1: u32,
}

impl Forward {
    pub(super) const NONE: Self = Self { group0: 0, group1: 0 };

    /// From the enable bits of `GICD_CTLR`.
    pub(super) const fn from_ctlr(ctlr: u32) -> Self {
        Self {
            group0: if ctlr & CTLR_ENABLE_GRP0 != 0 { u32::MAX } else { 0 },
            group1: if ctlr & CTLR_ENABLE_GRP1 != 0 { u32::MAX } else { 0 },
        }
    }

    /// The enable bits of `GICD_CTLR`.
    pub(super) const fn to_ctlr(self) -> u32 {
        self.group0 & CTLR_ENABLE_GRP0 | self.group1 & CTLR_ENABLE_GRP1
    }

    /// Which interrupts with these group bits are forwarded.
    pub(super) const fn of(self, group: u32) -> u32 {
        group & self.group1 | !group & self.group0
    }
}

/// The state of 32 interrupts, a bit each, and what takes more than a bit.
pub(super) struct Bank {
    /// Which are SGIs: edge-triggered for good.
    pub(super) sgis: u32,
    /// Which are pending by their [senders](Irq::senders): the SGIs of a GICv2.
    pub(super) by_sender: u32,
    /// `IGROUPR`: Group 1.
    pub(super) group: u32,
    /// `ISENABLER`.
    pub(super) enabled: u32,
    /// Pending by an edge, an SGI or `ISPENDR`, and not in a List Register as such.
    pub(super) latch: u32,
    /// Was so when it was listed; whether the guest has acknowledged it since is not known.
    pub(super) soft: u32,
    /// Active; for a listed interrupt, as far as was known when it was listed.
    pub(super) active: u32,
    /// `ICFGR`: edge-triggered.
    pub(super) edge: u32,
    /// The source's line is high.
    pub(super) line: u32,
    /// In a List Register of its owner's CPU.
    pub(super) listed: u32,
    /// A physical interrupt is kept active for it, to be deactivated by the guest or by us.
    pub(super) held: u32,
    /// Listed so that the guest's deactivation deactivates the physical interrupt: `HW` = 1.
    pub(super) linked: u32,
    /// Orders for the owner of a listed interrupt, whose List Register is out of reach for others:
    /// `ICPENDR` was written,
    pub(super) withdraw: u32,
    /// `ISACTIVER` was written,
    pub(super) activate: u32,
    /// `ICACTIVER` was written. Also for what is not listed but [`held`](Self::held).
    pub(super) deactivate: u32,
    pub(super) irqs: [Irq; 32],
}

/// What of an interrupt takes more than a bit.
#[derive(Clone, Copy)]
pub(super) struct Irq {
    /// `IPRIORITYR`.
    pub(super) priority: u8,
    /// The vCPU that it goes to, or [`NOBODY`].
    pub(super) target: u8,
    /// The vCPU that it is listed on, or was active on.
    pub(super) owner: u8,
    /// The List Register that it is in, or was last.
    pub(super) slot: u8,
    /// The physical interrupt behind it, while it is held.
    pub(super) link: u16,
    /// SGIs of a GICv2: who has sent it and waits for it to be listed, a bit a vCPU,
    pub(super) senders: u8,
    /// and who sent it as it was last acknowledged.
    pub(super) active_sender: u8,
    /// SPIs: `ITARGETSR`, or `IROUTER` with Aff3 in the uppermost byte. What `ITARGETSR` shows of a private one.
    pub(super) route: u32,
}

impl Irq {
    /// The physical interrupt that stands behind it.
    pub(super) fn link(&self) -> IntId {
        IntId(u32::from(self.link))
    }
}

impl Bank {
    /// Bank `index` of a controller with `vcpus` vCPUs, at power-on: the first are the vCPUs' own.
    ///
    /// SPIs go nowhere before the guest has said so with GICv2, where `ITARGETSR` is zero, unless there is but one
    /// CPU and no target to choose (IHI 0048B §4.3.12). `IROUTER` of zero is vCPU 0.
    pub(super) fn new(version: Version, index: usize, vcpus: usize) -> Self {
        let private = index < vcpus;
        let v2 = version == Version::V2;
        let (target, route) = match (private, v2 && vcpus > 1) {
            (true, false) => (byte(index), 0),
            (true, true) => (byte(index), 1 << (index & 7)),
            (false, false) => (0, 0),
            (false, true) => (NOBODY, 0),
        };
        let sgis = if private { 0xffff } else { 0 };
        let irq = Irq { priority: 0, target, owner: target, slot: 0, link: 0, senders: 0, active_sender: 0, route };
        Self {
            sgis,
            by_sender: if v2 { sgis } else { 0 },
            group: 0,
            enabled: 0,
            latch: 0,
            soft: 0,
            active: 0,
            edge: sgis,
            line: 0,
            listed: 0,
            held: 0,
            linked: 0,
            withdraw: 0,
            activate: 0,
            deactivate: 0,
            irqs: [irq; 32],
        }
    }

    /// Pending, as `ISPENDR` shows it (IHI 0048B §4.3.7, figure 4-10).
    ///
    /// Enforced by `a_level_interrupt_is_pending_as_long_as_its_line_is_high`.
    pub(super) const fn pending(&self) -> u32 {
        self.latch | self.soft | self.line & !self.edge
    }

    /// What could be listed as pending: pending, enabled, of a forwarded group, and not active, since
    /// an interrupt is not taken again before it has been deactivated (IHI 0069H §4.1.2).
    ///
    /// Enforced by `an_active_interrupt_is_not_delivered_again_before_its_deactivation`.
    pub(super) const fn deliverable(&self, forward: Forward) -> u32 {
        (self.latch | self.line & !self.edge) & self.enabled & !self.active & !self.listed & forward.of(self.group)
    }

    /// Active and in no List Register. It belongs into one whatever its enable bit says: without, the
    /// guest could not end it.
    pub(super) const fn stranded(&self) -> u32 {
        self.active & !self.listed
    }

    /// Listed, and pending once more since.
    pub(super) const fn repended(&self, forward: Forward) -> u32 {
        self.latch & self.listed & self.enabled & forward.of(self.group)
    }

    /// Interrupt `n` (modulo 32).
    pub(super) fn irq(&self, n: u32) -> &Irq {
        &self.irqs[(n & 31) as usize]
    }

    /// Interrupt `n` (modulo 32).
    pub(super) fn irq_mut(&mut self, n: u32) -> &mut Irq {
        &mut self.irqs[(n & 31) as usize]
    }

    /// Notes a physical interrupt that was taken for interrupt `n` and is kept active.
    pub(super) fn hold(&mut self, n: u32, physical: IntId) {
        self.latch |= bit(n) & self.edge;
        self.line |= bit(n) & !self.edge;
        self.held |= bit(n);
        self.irq_mut(n).link = (physical.0 & 0xffff) as u16;
    }

    /// Forgets the physical interrupts behind `bits`: they are no longer active, and if a line is
    /// still high, it will say so by being taken again.
    pub(super) fn let_go(&mut self, bits: u32) {
        self.held &= !bits;
        self.line &= !bits;
    }
}

/// What a write of a register does. Each returns what is concerned by it.
impl Bank {
    pub(super) fn set_group(&mut self, value: u32) -> u32 {
        value ^ core::mem::replace(&mut self.group, value)
    }

    pub(super) fn enable(&mut self, bits: u32) -> u32 {
        let new = bits & !self.enabled;
        self.enabled |= bits;
        new
    }

    pub(super) fn disable(&mut self, bits: u32) -> u32 {
        let old = bits & self.enabled;
        self.enabled &= !bits;
        old
    }

    /// GICv2: the pending state of SGIs is read-only here (IHI 0048B §4.3.7); SPENDSGIR sets it.
    pub(super) fn set_pending(&mut self, bits: u32) -> u32 {
        let settable = bits & !self.by_sender;
        self.latch |= settable;
        settable
    }

    pub(super) fn clear_pending(&mut self, bits: u32) -> u32 {
        let settable = bits & !self.by_sender;
        self.latch &= !settable;
        self.withdraw |= settable & self.listed;
        settable & self.listed
    }

    /// An SPI that a guest makes active by writing belongs to its target, as if that had taken it; or
    /// to the writer, if it has none.
    pub(super) fn set_active(&mut self, bits: u32, writer: VcpuId) -> u32 {
        for n in self::bits(bits & !self.active & !self.listed) {
            let irq = self.irq_mut(n);
            irq.owner = if irq.target == NOBODY { byte(writer.0) } else { irq.target };
        }
        self.active |= bits & !self.listed;
        self.activate |= bits & self.listed;
        self.deactivate &= !bits;
        bits
    }

    /// A physical interrupt behind it is for its own CPU to deactivate.
    pub(super) fn clear_active(&mut self, bits: u32) -> u32 {
        let ordered = bits & (self.listed | self.active & self.held);
        self.active &= !(bits & !ordered);
        self.activate &= !bits;
        self.deactivate |= ordered;
        bits
    }

    pub(super) fn set_priority(&mut self, n: u32, priority: u8) -> u32 {
        let priority = priority & PRIORITY_MASK;
        if core::mem::replace(&mut self.irq_mut(n).priority, priority) == priority { 0 } else { bit(n) }
    }

    pub(super) fn set_route(&mut self, n: u32, route: u32, target: u8) -> u32 {
        let irq = self.irq_mut(n);
        irq.route = route;
        if core::mem::replace(&mut irq.target, target) == target { 0 } else { bit(n) }
    }

    /// SGIs are edge-triggered whatever is written.
    pub(super) fn set_edge(&mut self, edge: u32) -> u32 {
        let edge = edge | self.sgis;
        edge ^ core::mem::replace(&mut self.edge, edge)
    }
}

/// The bit of interrupt `n` (modulo 32) in a bank.
pub(super) const fn bit(n: u32) -> u32 {
    1 << (n & 31)
}

/// Iterates over the numbers of the bits that are set, lowest first.
pub(super) fn bits(mut word: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let n = word.trailing_zeros();
        word &= word - 1;
        Some(n)
    })
}
