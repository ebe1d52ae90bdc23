//! What happens when an interrupt comes: acknowledge, note, call the test's handler, end.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::this_cpu::{self, CPUS, LOG_LENGTH, PerCpu};
use crate::{gic, timer};

static HANDLER: AtomicU64 = AtomicU64::new(0);

/// Sets what is called with each interrupt's number between acknowledge and end, on every CPU.
pub fn set_handler(handler: fn(u32)) {
    HANDLER.store(handler as usize as u64, Ordering::Release);
}

/// Calls nothing from here on: interrupts are only counted and noted.
pub fn clear_handler() {
    HANDLER.store(0, Ordering::Release);
}

/// Has a level-triggered SPI come to CPU 0, which this is: counted from here on, and `handler` is called.
pub fn listen(intid: u32, handler: fn(u32)) {
    let gic = gic::gic();
    gic.enable();
    set_handler(handler);
    forget(0);
    admit(intid);
    this_cpu::unmask_irq();
}

/// Lets a level-triggered SPI come to CPU 0, which may have interrupts masked and look for it.
pub fn admit(intid: u32) {
    let gic = gic::gic();
    gic.set_edge(intid, false);
    gic.route(intid, 0);
    gic.set_priority(intid, 0xa0);
    gic.enable_intid(intid);
}

/// Ends that.
pub fn ignore(intid: u32) {
    this_cpu::mask_irq();
    gic::gic().disable_intid(intid);
    clear_handler();
}

/// Called by the vector.
pub(crate) extern "C" fn taken() {
    let gic = gic::gic();
    let acknowledged = gic.acknowledge();
    let intid = gic.intid(acknowledged);
    if intid >= 1020 {
        return;
    }
    note(this_cpu::this(), acknowledged);
    let handler = HANDLER.load(Ordering::Acquire);
    if handler != 0 {
        // SAFETY: only `set_handler` stores here, a function of this type.
        let handler: fn(u32) = unsafe { core::mem::transmute(handler) };
        handler(intid);
    }
    gic.end(acknowledged);
}

fn note(this: &PerCpu, acknowledged: u32) {
    let count = this.taken.load(Ordering::Relaxed);
    if let Some(slot) = this.log.get(count as usize % LOG_LENGTH) {
        slot.store(u64::from(acknowledged), Ordering::Relaxed);
    }
    this.taken.store(count.wrapping_add(1), Ordering::Release);
}

/// Returns how many interrupts CPU `index` has taken since [`forget`].
pub fn count(index: usize) -> u64 {
    CPUS.get(index).map_or(0, |cpu| cpu.taken.load(Ordering::Acquire))
}

/// Returns the number of the `n`-th interrupt that CPU `index` has taken, as the GIC gave it: on a
/// GICv2, the sender of an SGI is in bits 12:10.
pub fn noted(index: usize, n: u64) -> u32 {
    let slot = CPUS.get(index).and_then(|cpu| cpu.log.get(n as usize % LOG_LENGTH));
    slot.map_or(0, |slot| slot.load(Ordering::Relaxed) as u32)
}

/// Forgets what CPU `index` has taken.
pub fn forget(index: usize) {
    if let Some(cpu) = CPUS.get(index) {
        cpu.taken.store(0, Ordering::Release);
    }
}

/// Waits until CPU `index` has taken `n` interrupts, at most `limit_us` microseconds.
pub fn wait_for_count(index: usize, n: u64, limit_us: u64) -> bool {
    timer::wait_for(limit_us, || count(index) >= n)
}
