//! Thirty-two interrupts: their state as words, a bit each, and what the GIC's rules make of it.
//!
//! A bank is one vCPU's SGIs and PPIs, or 32 SPIs. It knows nothing of List Registers but which of its
//! interrupts are in one.

use super::NOBODY;
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

/// A bank's state.
pub(super) struct Bank {
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
    /// Orders for the owner of a listed interrupt, whose List Register is out of reach for others:
    /// `ICPENDR` was written,
    pub(super) withdraw: u32,
    /// `ISACTIVER` was written,
    pub(super) activate: u32,
    /// `ICACTIVER` was written. Also for what is not listed but [`held`](Self::held).
    pub(super) deactivate: u32,
    /// `IPRIORITYR`.
    pub(super) priority: [u8; 32],
    /// The physical interrupt of those that are held.
    link: [u16; 32],
}

/// Thirty-two SPIs: a bank, and where each of them goes.
pub(super) struct Shared {
    pub(super) bank: Bank,
    /// As the guest wrote it: `IROUTER` as Aff3.Aff2.Aff1.Aff0, or the byte of `ITARGETSR`.
    pub(super) route: [u32; 32],
    /// The vCPU that this means, or [`NOBODY`].
    pub(super) target: [u8; 32],
    /// The vCPU that it is listed on, or was active on.
    pub(super) owner: [u8; 32],
}

impl Bank {
    const fn new() -> Self {
        Self {
            group: 0,
            enabled: 0,
            latch: 0,
            soft: 0,
            active: 0,
            edge: 0,
            line: 0,
            listed: 0,
            held: 0,
            withdraw: 0,
            activate: 0,
            deactivate: 0,
            priority: [0; 32],
            link: [0; 32],
        }
    }

    /// A vCPU's SGIs, which are edge-triggered for good, and PPIs.
    pub(super) const fn private() -> Self {
        let mut bank = Self::new();
        bank.edge = 0xffff;
        bank
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

    /// The physical interrupt that stands behind interrupt `n` (modulo 32).
    pub(super) fn link(&self, n: u32) -> IntId {
        IntId(u32::from(self.link[(n & 31) as usize]))
    }

    /// Notes a physical interrupt that was taken for interrupt `n` (modulo 32) and is kept active.
    pub(super) fn hold(&mut self, n: u32, physical: IntId) {
        self.latch |= bit(n) & self.edge;
        self.line |= bit(n) & !self.edge;
        self.held |= bit(n);
        self.link[(n & 31) as usize] = u16::try_from(physical.0).unwrap_or(0);
    }

    /// Forgets the physical interrupts behind `bits`: they are no longer active, and if a line is
    /// still high, it will say so by being taken again.
    pub(super) fn let_go(&mut self, bits: u32) {
        self.held &= !bits;
        self.line &= !bits;
    }

    /// The priority of interrupt `n` (modulo 32).
    pub(super) fn priority(&self, n: u32) -> u8 {
        self.priority[(n & 31) as usize]
    }
}

impl Shared {
    pub(super) const fn new(target: u8) -> Self {
        Self { bank: Bank::new(), route: [0; 32], target: [target; 32], owner: [NOBODY; 32] }
    }

    /// The vCPU that SPI `n` of these (modulo 32) is routed to, if that is one.
    pub(super) fn target(&self, n: u32) -> usize {
        usize::from(self.target[(n & 31) as usize])
    }

    /// The vCPU that SPI `n` of these (modulo 32) is listed or active on.
    pub(super) fn owner(&self, n: u32) -> usize {
        usize::from(self.owner[(n & 31) as usize])
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
