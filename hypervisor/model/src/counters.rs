//! How often a vCPU came to EL2, and why. Counting is a load, an add and a store: only the vCPU's own CPU counts.

use core::sync::atomic::{AtomicU64, Ordering};

use assay_spec::esr::ec;

/// Exception classes: `ESR_EL2.EC` has six bits.
const CLASSES: usize = 64;

/// What an interrupt was, at an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Interrupt {
    /// The guest's virtual timer.
    Timer,
    /// Another CPU's call.
    Kick,
    /// The EL2 timer.
    Deadline,
    /// The virtual CPU interface's.
    Maintenance,
    /// Any other: the console's, or one that was gone.
    Other,
}

/// Interrupts with their names in `assay: stats …`.
pub const INTERRUPTS: [(Interrupt, &str); 5] = [
    (Interrupt::Timer, "timer"),
    (Interrupt::Kick, "kick"),
    (Interrupt::Deadline, "deadline"),
    (Interrupt::Maintenance, "maintenance"),
    (Interrupt::Other, "irq"),
];

/// Exception classes with their names in `assay: stats …`; all others together are `other`.
pub const NAMED: [(u8, &str); 8] = [
    (ec::HVC64, "hvc"),
    (ec::SMC64, "smc"),
    (ec::SYSREG, "sysreg"),
    (ec::DABT_LOWER, "dabt"),
    (ec::IABT_LOWER, "iabt"),
    (ec::WFX, "wfx"),
    (ec::FP, "fp"),
    (ec::SVE, "sve"),
];

/// Returns the name of an exception class.
pub fn class_name(class: u8) -> &'static str {
    NAMED.iter().find(|(known, _)| *known == class).map_or("other", |(_, name)| name)
}

/// One vCPU's counts since the boot.
pub struct Counters {
    classes: [AtomicU64; CLASSES],
    interrupts: [AtomicU64; INTERRUPTS.len()],
    /// Bytes of coherent memory that its CPU has cleared.
    cleared: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// Not a read-modify-write: there is one writer.
#[inline(always)]
fn count(counter: &AtomicU64) {
    let next = counter.load(Ordering::Relaxed).wrapping_add(1);
    counter.store(next, Ordering::Relaxed);
}

impl Counters {
    /// Makes counts of nothing.
    pub const fn new() -> Self {
        Self {
            classes: [const { AtomicU64::new(0) }; CLASSES],
            interrupts: [const { AtomicU64::new(0) }; INTERRUPTS.len()],
            cleared: AtomicU64::new(0),
        }
    }

    /// Counts a synchronous exit, by `ESR_EL2`.
    #[inline(always)]
    pub fn exit(&self, esr: u64) {
        count(&self.classes[(esr >> 26 & 0x3f) as usize]);
    }

    /// Counts an interrupt.
    #[inline(always)]
    pub fn interrupt(&self, which: Interrupt) {
        count(&self.interrupts[which as usize]);
    }

    /// Notes that the vCPU's CPU has cleared so many bytes of coherent memory.
    pub fn cleared(&self, bytes: u64) {
        self.cleared.store(self.cleared.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
    }

    /// Calls `each` with every name and count, [`NAMED`], the other classes, [`INTERRUPTS`], then the MiB of coherent
    /// memory that were cleared.
    pub fn each(&self, mut each: impl FnMut(&'static str, u64)) {
        for (class, name) in NAMED {
            each(name, self.classes[usize::from(class)].load(Ordering::Relaxed));
        }
        let others = (0..).zip(&self.classes).filter(|(class, _)| NAMED.iter().all(|(named, _)| named != class));
        each("other", others.fold(0, |sum, (_, counter)| sum.wrapping_add(counter.load(Ordering::Relaxed))));
        for (interrupt, name) in INTERRUPTS {
            each(name, self.interrupts[interrupt as usize].load(Ordering::Relaxed));
        }
        each("cleared_mib", self.cleared.load(Ordering::Relaxed) >> 20);
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, Interrupt};
    use std::collections::BTreeMap;

    #[test]
    fn each_exit_is_counted_once_under_its_name() {
        let counters = Counters::new();
        for class in 0..64 {
            counters.exit(class << 26 | 0x3ff_ffff);
        }
        counters.exit(0x16 << 26);
        counters.interrupt(Interrupt::Timer);
        counters.interrupt(Interrupt::Timer);
        counters.interrupt(Interrupt::Other);
        counters.cleared(0x18_0000);
        counters.cleared(0x18_0000);
        let mut found = BTreeMap::new();
        counters.each(|name, count| assert_eq!(found.insert(name, count), None, "{name} twice"));
        assert_eq!(found["hvc"], 2);
        assert_eq!(found["dabt"], 1);
        assert_eq!(found["other"], 64 - 8);
        assert_eq!((found["timer"], found["kick"], found["irq"]), (2, 0, 1));
        assert_eq!(found.remove("cleared_mib"), Some(3));
        assert_eq!(found.values().sum::<u64>(), 65 + 3);
    }
}
