//! One VM as the scheduler sees it: what its vCPUs' time costs, and its budget.

use super::{Cap, Share};
use core::ops::Range;

/// Virtual time for one tick at weight 1: enough bits that a weight of 65535 is met to 0.02 %.
const UNIT: u64 = 1 << 28;
/// Weights.
const WEIGHTS: core::ops::RangeInclusive<u32> = 1..=65535;

/// The VM.
#[derive(Debug)]
pub(super) struct Vm {
    /// Its vCPUs.
    pub(super) vcpus: Range<usize>,
    /// Virtual time that a tick costs the whole VM.
    price: u64,
    /// Virtual time of one slice of one vCPU while all of the VM's are runnable.
    pub(super) quantum: i128,
    /// Virtual time of one slice of one vCPU while it is the only runnable one.
    pub(super) credit: i128,
    /// Its budget, if it is capped.
    pub(super) budget: Option<Budget>,
    /// Whether the budget is used up, so that none of its vCPUs is in a queue.
    pub(super) throttled: bool,
    /// How many of its vCPUs are runnable or run.
    active: u32,
    /// Virtual time that a tick costs each of them.
    rate: u64,
    meter: i128,
    since: u64,
}

impl Vm {
    /// Makes a VM whose vCPUs are all blocked.
    pub(super) fn new(share: &Share, vcpus: Range<usize>, slice: u64) -> Self {
        let weight = share.weight.clamp(*WEIGHTS.start(), *WEIGHTS.end());
        let price = UNIT / u64::from(weight);
        let credit = cost(price, slice);
        Self {
            quantum: credit * vcpus.len() as i128,
            vcpus,
            price,
            credit,
            budget: share.cap.map(|cap| Budget::new(cap, slice)),
            throttled: false,
            active: 0,
            rate: 0,
            meter: 0,
            since: 0,
        }
    }

    /// Returns what a vCPU that ran all the time until `now` would have paid.
    ///
    /// A VM's weight is divided among those of its vCPUs that are runnable, so that a tick's price changes
    /// with their number.
    #[inline(always)]
    pub(super) fn meter(&self, now: u64) -> i128 {
        self.meter.wrapping_add(cost(self.rate, now.saturating_sub(self.since)))
    }

    /// Returns what the whole VM pays for `ticks`.
    #[inline(always)]
    pub(super) fn cost(&self, ticks: u64) -> i128 {
        cost(self.price, ticks)
    }

    /// Notes that one more vCPU is runnable, or one fewer. `meter` is what [`Vm::meter`] says now.
    #[inline(always)]
    pub(super) fn count(&mut self, more: bool, now: u64, meter: i128) {
        debug_assert_eq!(meter, self.meter(now), "the meter is of now");
        self.meter = meter;
        self.since = now;
        self.active = if more { self.active + 1 } else { self.active - 1 };
        self.rate = if more { self.rate + self.price } else { self.rate - self.price };
    }

    /// Sets part of the budget aside for one of the vCPUs, which does not run yet. Returns the ticks that it
    /// may run; `None` if the budget is used up, and the most there is if there is no budget.
    pub(super) fn reserve(&mut self, now: u64, most: u64) -> Option<u64> {
        let active = self.active;
        match &mut self.budget {
            None => Some(u64::MAX),
            Some(budget) => budget.reserve(active, now, most),
        }
    }
}

/// Two factors of 64 bits have a product of 128: nothing to check, which a product of two of 128 takes a long time for. A price
/// is no more than [`UNIT`] times the vCPUs of a VM, so that all that a VM can pay while the counter goes round once has less than
/// 100 bits: virtual times are added and subtracted without a look at their sign.
#[inline(always)]
fn cost(price: u64, ticks: u64) -> i128 {
    (u128::from(price) * u128::from(ticks)).cast_signed()
}

/// What is left for a VM with a cap.
#[derive(Debug)]
pub(super) struct Budget {
    cap: Cap,
    /// Ticks that are left and not set aside.
    left: u64,
    /// Ticks that ran beyond what was set aside, and beyond the budget.
    debt: u64,
    /// When there is a new budget.
    pub(super) renewal: u64,
    /// The least that is set aside: less is as good as nothing.
    grain: u64,
    /// For how many vCPUs something is set aside.
    holders: u32,
}

impl Budget {
    fn new(cap: Cap, slice: u64) -> Self {
        Self { cap, left: 0, debt: 0, renewal: 0, grain: (cap.budget.min(slice) / 64).max(1), holders: 0 }
    }

    /// Begins a new period if it is time. What is left of the last one is gone; what ran too long is owed.
    pub(super) fn renew(&mut self, now: u64) {
        if now < self.renewal {
            return;
        }
        let period = self.cap.period.max(1);
        let periods = (now.saturating_sub(self.renewal) / period).saturating_add(1);
        self.renewal = self.renewal.saturating_add(periods.saturating_mul(period));
        let earned = self.cap.budget.saturating_mul(periods);
        let paid = self.debt.min(earned);
        self.debt -= paid;
        self.left = (earned - paid).min(self.cap.budget);
    }

    /// Returns whether there is enough to go on.
    pub(super) const fn is_enough(&self) -> bool {
        self.left >= self.grain
    }

    /// The parts are equal, as far as it is known now who will want one.
    fn reserve(&mut self, active: u32, now: u64, most: u64) -> Option<u64> {
        self.renew(now);
        if !self.is_enough() {
            return None;
        }
        let sharers = active.saturating_sub(self.holders).max(1);
        let part = (self.left / u64::from(sharers)).max(self.grain);
        let part = part.min(most).min(self.left).min(self.renewal.saturating_sub(now));
        self.left -= part;
        self.holders = self.holders.saturating_add(1);
        Some(part)
    }

    /// Takes back what was set aside, `part`, after `used` ticks of it or more ran.
    pub(super) fn give_back(&mut self, part: u64, used: u64, now: u64) {
        self.holders = self.holders.saturating_sub(1);
        if now < self.renewal {
            self.left = self.left.saturating_add(part.saturating_sub(used));
        }
        self.renew(now);
        self.debt = self.debt.saturating_add(used.saturating_sub(part));
        let paid = self.debt.min(self.left);
        self.debt -= paid;
        self.left -= paid;
    }
}
