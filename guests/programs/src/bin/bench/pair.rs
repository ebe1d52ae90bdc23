//! What takes two CPUs.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_kit::machine::machine;
use guest_kit::{Outcome, cpu, ensure, ensure_equal, println, psci, timer};

use crate::ROUNDS;
use crate::interrupt::SGI;

/// CPU 1 takes the SGI.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// Half of a round trip of an SGI between two CPUs that wait for it by WFI. They acknowledge it with interrupts masked,
/// so that no vector is part of the figure.
///
/// With `-icount` QEMU runs CPUs in turn by one clock. Since none of the two ever spins, it counts what both execute.
pub fn ipi() -> Outcome {
    machine().gic.enable_intid(SGI);
    ensure_equal!(cpu::start(1, answer, 0), psci::SUCCESS, "CPU_ON");
    ensure!(timer::wait_for(1_000_000, || IS_READY.load(Ordering::Acquire)), "CPU 1 does not start");
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let start = timer::now();
        machine().gic.send_sgi(SGI, 1);
        take_sgi();
        least = least.min(timer::now().wrapping_sub(start));
    }
    ensure!(cpu::wait_off(1), "CPU 1 does not turn off");
    println!("BENCH ipi {} ns", timer::nanoseconds(least / 2));
    Ok(())
}

/// CPU 1 sends back what it gets.
fn answer(_: u64) {
    machine().gic.enable_cpu();
    machine().gic.enable_intid(SGI);
    IS_READY.store(true, Ordering::Release);
    for _ in 0..ROUNDS {
        take_sgi();
        machine().gic.send_sgi(SGI, 0);
    }
}

fn take_sgi() {
    let gic = machine().gic;
    loop {
        let acknowledged = gic.acknowledge();
        if gic.intid(acknowledged) == SGI {
            return gic.end(acknowledged);
        }
        cpu::wfi();
    }
}
