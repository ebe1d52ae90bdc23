//! Deferred work: what has to be done at some time and is no vCPU's, as output that waits or a restart that waits.
//!
//! One CPU does it, the *housekeeping* CPU, which also takes the UART's interrupt: one that no vCPU has for itself, if
//! there is one. It looks when its EL2 timer fires or another CPU kicks it, and does a bounded piece of each work at a
//! time. What the works are is set once, by the boot: they lie on higher floors.

use core::sync::atomic::{AtomicU64, Ordering};

use assay_el2::{cpu, gic, percpu, timer};
use assay_spec::cpu_id::PcpuId;
use spin::Once;

/// A work: does a piece of it at the count `now`, and returns when to come again.
pub(crate) type Work = fn(now: u64) -> Option<u64>;

/// What the housekeeping CPU does.
struct Housekeeping {
    cpu: PcpuId,
    works: &'static [Work],
    take_input: fn(),
}

static HOUSEKEEPING: Once<Housekeeping> = Once::new();

/// No work is due.
const NEVER: u64 = u64::MAX;

/// When the housekeeping CPU is to look next, as a physical count.
static DUE: AtomicU64 = AtomicU64::new(NEVER);

/// Returns how many ticks `ms` milliseconds are.
pub(crate) fn ticks(ms: u64) -> u64 {
    (cpu::counter_frequency() / 1000).wrapping_mul(ms)
}

/// Says which CPU keeps house, once, what it does, and what takes the UART's input.
pub(crate) fn set_housekeeping(cpu: PcpuId, works: &'static [Work], take_input: fn()) {
    let _ = HOUSEKEEPING.call_once(|| Housekeeping { cpu, works, take_input });
}

/// Returns what the running CPU has to do, if it is the housekeeping CPU.
fn housekeeping() -> Option<&'static Housekeeping> {
    HOUSEKEEPING.get().filter(|housekeeping| housekeeping.cpu == percpu::index())
}

/// The UART has received something.
pub(crate) fn take_input() {
    if let Some(housekeeping) = HOUSEKEEPING.get() {
        (housekeeping.take_input)();
    }
}

/// Asks for a look at `due`, or earlier. From any CPU; takes no lock.
pub(crate) fn ask(due: u64) {
    if DUE.fetch_min(due, Ordering::AcqRel) > due {
        hasten(due);
    }
}

/// Has the housekeeping CPU see to what is due earlier than anything before.
#[inline(never)]
fn hasten(due: u64) {
    match HOUSEKEEPING.get() {
        Some(housekeeping) if housekeeping.cpu == percpu::index() => timer::arm_by(due),
        Some(housekeeping) => gic::kick(housekeeping.cpu),
        None => {}
    }
}

/// Returns the deadline that the running CPU's EL2 timer has to keep besides those of its vCPU.
pub(crate) fn deadline() -> Option<u64> {
    let due = DUE.load(Ordering::Acquire);
    (due != NEVER && housekeeping().is_some()).then_some(due)
}

/// After the EL2 timer or a kick: does what is due, if the running CPU keeps house. No lock is held but that of the VM
/// which is being loaded here.
#[inline(always)]
pub(crate) fn look() {
    if DUE.load(Ordering::Acquire) != NEVER {
        keep_house();
    }
}

#[inline(never)]
fn keep_house() {
    let (Some(due), Some(housekeeping)) = (deadline(), housekeeping()) else { return };
    let now = cpu::counter();
    if now < due {
        return timer::arm_by(due);
    }
    DUE.store(NEVER, Ordering::Release);
    if let Some(next) = housekeeping.works.iter().filter_map(|work| work(now)).min() {
        // Whatever this look took: the guest of this CPU runs in between.
        ask(next.max(cpu::counter().wrapping_add(ticks(1) / 2)));
    }
}
