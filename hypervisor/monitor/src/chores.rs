//! What has to be done at some time and is no vCPU's: output that waits, restarts that wait, the monitor's tables.
//!
//! One CPU does it, *home*, which also takes the UART's interrupt: one that no vCPU has for itself, if there is one.
//! It looks when its EL2 timer fires or another CPU kicks it, and does a bounded piece of each chore at a time.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use assay_el2::{cpu, gic, percpu, timer};

use crate::{console, operator, vm};

/// No chore.
const NEVER: u64 = u64::MAX;

/// When home is to look next, as a physical count.
static DUE: AtomicU64 = AtomicU64::new(NEVER);
/// The index of the CPU.
static HOME: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Returns how many ticks `ms` milliseconds are.
pub(crate) fn ticks(ms: u64) -> u64 {
    (cpu::counter_frequency() / 1000).wrapping_mul(ms)
}

/// Makes a CPU home, once.
pub(crate) fn set_home(cpu: usize) {
    HOME.store(cpu, Ordering::Release);
}

fn is_home() -> bool {
    HOME.load(Ordering::Acquire) == percpu::index()
}

/// Asks for a look at `due`, or earlier. From any CPU; takes no lock.
pub(crate) fn ask(due: u64) {
    if DUE.fetch_min(due, Ordering::AcqRel) <= due {
        return;
    }
    if is_home() {
        timer::arm_by(due);
    } else {
        let home = HOME.load(Ordering::Acquire);
        if home != usize::MAX {
            gic::kick(home);
        }
    }
}

/// Returns the deadline that the running CPU's EL2 timer has to keep besides those of its vCPU.
pub(crate) fn deadline() -> Option<u64> {
    let due = DUE.load(Ordering::Acquire);
    (due != NEVER && is_home()).then_some(due)
}

/// After the EL2 timer or a kick: does what is due, if the running CPU is home. No lock is held but that of the VM
/// which is being loaded here.
pub(crate) fn look() {
    let Some(due) = deadline() else {
        return;
    };
    let now = cpu::counter();
    if now < due {
        return timer::arm_by(due);
    }
    DUE.store(NEVER, Ordering::Release);
    let next = [console::tick(now), vm::tick(now), operator::tick(now)];
    if let Some(next) = next.into_iter().flatten().min() {
        // Whatever this look took: home's guest runs in between.
        ask(next.max(cpu::counter().wrapping_add(ticks(1) / 2)));
    }
}
