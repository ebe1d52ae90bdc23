//! The last exits of a VM, while somebody wants to see them.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

use assay_spec::cpu_id::VcpuId;
use assay_spec::esr;
use assay_spec::intid::IntId;

use crate::counters;

/// How many are kept.
pub const ENTRIES: usize = 64;

/// Why a guest was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A synchronous exception, with `ESR_EL2`.
    Exception(u64),
    /// An interrupt: the one of the highest priority that was pending, if any still was.
    Irq(Option<IntId>),
    /// An FIQ.
    Fiq,
    /// An SError.
    SError,
}

/// One exit. Displayed as the fields of an `assay: trace` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// When, as a physical count.
    pub ticks: u64,
    /// Where the guest was.
    pub pc: u64,
    /// Which vCPU.
    pub vcpu: VcpuId,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticks, pc, vcpu, .. } = self;
        write!(f, "vcpu={vcpu} ticks={ticks} pc={pc:#x} ")?;
        match self.why {
            Why::Exception(syndrome) => {
                write!(f, "exit={} esr={syndrome:#x}", counters::class_name(esr::class(syndrome)))
            }
            Why::Irq(None) => f.write_str("exit=irq"),
            Why::Irq(Some(IntId(number))) => write!(f, "exit=irq intid={number}"),
            Why::Fiq => f.write_str("exit=fiq"),
            Why::SError => f.write_str("exit=serror"),
        }
    }
}

/// The record.
pub struct ExitTrace {
    entries: Box<[Option<Exit>]>,
    /// Where the next goes.
    next: usize,
}

impl Default for ExitTrace {
    fn default() -> Self {
        Self::new()
    }
}

impl ExitTrace {
    /// Makes an empty record; it never allocates again.
    pub fn new() -> Self {
        Self { entries: vec![None; ENTRIES].into_boxed_slice(), next: 0 }
    }

    /// Adds an exit; the oldest goes.
    pub fn push(&mut self, exit: Exit) {
        self.entries[self.next] = Some(exit);
        self.next = (self.next + 1) % ENTRIES;
    }

    /// Returns the exit at this place, from 0 for the oldest; `None` where there is none.
    pub fn get(&self, place: usize) -> Option<Exit> {
        self.entries[(self.next + place) % ENTRIES].filter(|_| place < ENTRIES)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.fill(None);
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES, Exit, ExitTrace, Why};
    use assay_spec::cpu_id::VcpuId;
    use assay_spec::intid::IntId;
    use std::string::ToString;
    use std::vec::Vec;

    fn exit(ticks: u64) -> Exit {
        Exit { ticks, pc: 0x4000_0000, vcpu: VcpuId(1), why: Why::Irq(Some(IntId(27))) }
    }

    fn kept(trace: &ExitTrace) -> Vec<u64> {
        let places = (0..2 * ENTRIES).filter_map(|place| trace.get(place));
        places.map(|exit| exit.ticks).collect()
    }

    #[test]
    fn the_last_exits_are_kept_oldest_first() {
        let mut trace = ExitTrace::new();
        assert!(kept(&trace).is_empty());
        (0..3).for_each(|n| trace.push(exit(n)));
        assert_eq!(kept(&trace), [0, 1, 2]);
        let most = ENTRIES as u64;
        (3..most + 5).for_each(|n| trace.push(exit(n)));
        assert_eq!(kept(&trace), (5..most + 5).collect::<Vec<_>>());
        trace.clear();
        assert!(kept(&trace).is_empty());
    }

    #[test]
    fn an_exit_reads_as_fields() {
        assert_eq!(exit(7).to_string(), "vcpu=1 ticks=7 pc=0x40000000 exit=irq intid=27");
        let gone = Exit { why: Why::Irq(None), ..exit(7) };
        assert_eq!(gone.to_string(), "vcpu=1 ticks=7 pc=0x40000000 exit=irq");
        let load = Exit { why: Why::Exception(0x9200_0006), ..exit(8) };
        assert_eq!(load.to_string(), "vcpu=1 ticks=8 pc=0x40000000 exit=dabt esr=0x92000006");
    }
}
