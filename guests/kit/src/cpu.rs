//! The CPUs of the guest: how many there are, and how the others are started.

use core::sync::atomic::Ordering;

use crate::this_cpu::{CPUS, PerCpu};
use crate::{machine, psci, timer};

pub use crate::this_cpu::{MAX_CPUS, dsb, index, mask_irq, unmask_irq, unmask_serror, wfe, wfi};

/// Returns how many CPUs there are that a guest can use.
pub fn count() -> usize {
    machine::machine().cpus().len().min(MAX_CPUS)
}

/// Turns CPU `index` on to call `work(argument)` and turn itself off. Returns PSCI's answer.
pub fn start(index: usize, work: fn(u64), argument: u64) -> i64 {
    let Some((cpu, mpidr)) = CPUS.get(index).zip(machine::machine().cpus().get(index)) else {
        return psci::INVALID_PARAMETERS;
    };
    cpu.argument.store(argument, Ordering::Relaxed);
    cpu.done.store(0, Ordering::Relaxed);
    cpu.work.store(work as usize as u64, Ordering::Release);
    dsb();
    psci::cpu_on(*mpidr, secondary_entry(), cpu as *const PerCpu as u64)
}

/// Tells whether the work that CPU `index` was started for is finished.
pub fn is_done(index: usize) -> bool {
    CPUS.get(index).is_some_and(|cpu| cpu.done.load(Ordering::Acquire) != 0)
}

/// Waits until CPU `index` has done its work and PSCI says that it is off, at most two seconds.
/// Returns whether it is.
pub fn wait_off(index: usize) -> bool {
    let Some(&mpidr) = machine::machine().cpus().get(index) else {
        return false;
    };
    // Done first: a CPU that is being turned on may still be reported as off.
    timer::wait_for(1_000_000, || is_done(index))
        && timer::wait_for(1_000_000, || psci::affinity_info(mpidr, 0) == psci::AFFINITY_OFF)
}

/// Returns the address at which a CPU that is turned on begins.
pub fn secondary_entry() -> u64 {
    unsafe extern "C" {
        fn kit_secondary();
    }
    kit_secondary as *const () as u64
}
