//! Tells when it began to run, and takes 1000 ticks of 1 kHz by the virtual timer, waiting between them.
//!
//! `scale: first_ns=N` is the physical counter at its first line, from the machine's reset. What a VM costs in
//! steady state is seen from outside, where exits are counted.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::timer::Timer;
use guest_kit::{Case, Machine, Outcome, cpu, ensure, gic, irq, ktap, println, timer};

guest_kit::entry!(main);

const TICKS: u64 = 1000;
const PERIOD_US: u64 = 1000;
const CASES: &[Case] = &[("each_tick_comes_once", ticks)];

static SEEN: AtomicU64 = AtomicU64::new(0);

fn main(_: &'static Machine) {
    println!("scale: first_ns={}", timer::nanoseconds(Timer::Physical.now()));
    ktap::run(CASES);
}

/// Arms the next tick relative to this one's time, so that a late one does not shift those after it.
fn tick(_: u32) {
    let timer = Timer::Virtual;
    timer.set_compare(timer.compare().wrapping_add(timer::ticks(PERIOD_US)));
    SEEN.fetch_add(1, Ordering::Relaxed);
}

fn ticks() -> Outcome {
    let gic = gic::gic();
    gic.enable();
    irq::set_handler(tick);
    let start = timer::now();
    Timer::Virtual.arm(PERIOD_US);
    gic.enable_intid(Timer::Virtual.intid());
    cpu::unmask_irq();
    while SEEN.load(Ordering::Relaxed) < TICKS {
        cpu::wfi();
    }
    cpu::mask_irq();
    Timer::Virtual.stop();
    let took = timer::now().wrapping_sub(start);
    ensure!(took >= timer::ticks(TICKS * PERIOD_US), "{} ticks came in {} ns", TICKS, timer::nanoseconds(took));
    Ok(())
}
