//! A lock whose waiting CPU says that it waits.

use core::arch::asm;

use spin::relax::RelaxStrategy;

/// What a CPU does between two looks at a lock that another has: YIELD, for CPUs whose threads share a core, and for
/// an emulator that runs one CPU at a time; then ISB, which takes as long as a short wait should.
pub struct Relax;

impl RelaxStrategy for Relax {
    #[inline]
    fn relax() {
        // SAFETY: neither instruction changes a register, memory or the state of the machine.
        unsafe { asm!("yield", "isb", options(nomem, nostack, preserves_flags)) }
    }
}

/// A lock for what CPUs of several VMs use.
pub type Mutex<T> = spin::mutex::Mutex<T, Relax>;
