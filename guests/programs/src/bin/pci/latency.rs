//! How long a message takes from the device to the handler: a figure of `cargo xtask bench`.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::{Outcome, cpu, ensure, gic, irq, mmio, println, timer};

use crate::{edu, host};

const ROUNDS: u32 = 50;
/// When the handler was called last, 0 = not since.
static AT: AtomicU64 = AtomicU64::new(0);

fn note(_: u32) {
    AT.store(timer::now(), Ordering::Relaxed);
    edu::acknowledge_all();
}

/// The least of all rounds, from the store that has the device send to the kit's handler.
pub fn message() -> Outcome {
    host::command(host::MEMORY_SPACE | host::BUS_MASTER | host::INTX_DISABLE, 0);
    let (gic, intid) = (gic::gic(), edu::FIRST_MESSAGE + 3);
    gic.enable();
    gic.set_edge(intid, true);
    gic.route(intid, 0);
    irq::set_handler(note);
    gic.enable_intid(intid);
    edu::point_messages(intid)?;
    cpu::unmask_irq();
    // To find it takes long.
    let raise = host::bar(0) + edu::RAISE;
    let mut least = u64::MAX;
    for round in 0..ROUNDS {
        AT.store(0, Ordering::Relaxed);
        let start = timer::now();
        mmio::write32(raise, 1);
        ensure!(timer::wait_for(1_000_000, || AT.load(Ordering::Relaxed) != 0), "message {} is lost", round);
        least = least.min(AT.load(Ordering::Relaxed).wrapping_sub(start));
    }
    cpu::mask_irq();
    irq::clear_handler();
    println!("BENCH msi_to_handler {} ns", timer::nanoseconds(least));
    Ok(())
}
