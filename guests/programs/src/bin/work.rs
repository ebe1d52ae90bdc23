//! Counts how much work it gets done in a stretch of physical time, and how late its timer is.
//!
//! `from=MS` and `to=MS` are counted from the machine's reset. Each CPU spins between them and prints
//! `work: cpu=I done=N ran=NS`, N in loops, NS without the time that was stolen; with `heartbeat` the first CPU
//! instead waits for a timer each millisecond and prints `work: beats=N latest=NS`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::mmu::{self, Ram};
use guest_kit::timer::Timer;
use guest_kit::{Machine, cpu, gic, mmio, println, psci, sysreg, timer};

guest_kit::entry!(main);

static DONE: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];
static RAN: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];
/// `PV_TIME_ST` (DEN0057).
const PV_TIME_ST: u64 = 0xc500_0021;
/// Beats before this, in microseconds, do not count.
const WARM_UP_US: u64 = 50_000;
/// Loops between two looks at the clock.
const STRETCH: u64 = 2000;

fn main(machine: &'static Machine) {
    mmu::enable(Ram::WriteBack);
    println!("work: ready");
    if machine.has_bootarg("heartbeat") {
        heartbeat();
        return;
    }
    for index in 1..cpu::count() {
        cpu::start(index, spin, index as u64);
    }
    spin(0);
    for index in 1..cpu::count() {
        cpu::wait_off(index);
    }
    for index in 0..cpu::count() {
        let value = |values: &[AtomicU64]| values.get(index).map_or(0, |value| value.load(Ordering::Acquire));
        println!("work: cpu={} done={} ran={}", index, value(&DONE), value(&RAN));
    }
}

/// Ticks of the physical counter that a bootarg in milliseconds means.
fn moment(name: &str) -> u64 {
    let value = machine().bootarg(name).and_then(|text| text.parse().ok());
    timer::ticks(value.unwrap_or(0u64).saturating_mul(1000))
}

fn physical() -> u64 {
    sysreg::read!("cntpct_el0")
}

/// How much time was stolen from this CPU so far, in nanoseconds.
fn stolen() -> u64 {
    let place = psci::hvc(PV_TIME_ST, 0, 0, 0);
    if place as i64 == psci::NOT_SUPPORTED { 0 } else { mmio::read64(place + 8) }
}

fn spin(index: u64) {
    let (from, to) = (moment("from"), moment("to"));
    while physical() < from {
        stretch();
    }
    let (begin, before) = (physical(), stolen());
    let mut done = 0u64;
    while physical() < to {
        stretch();
        done += 1;
    }
    let lasted = timer::nanoseconds(physical().saturating_sub(begin));
    let ran = lasted.saturating_sub(stolen() - before);
    if let (Some(mine), Some(time)) = (DONE.get(index as usize), RAN.get(index as usize)) {
        mine.store(done, Ordering::Release);
        time.store(ran, Ordering::Release);
    }
}

/// Some work.
fn stretch() {
    for _ in 0..STRETCH {
        core::hint::spin_loop();
    }
}

/// One beat a millisecond, by the virtual timer and WFI.
fn heartbeat() {
    let gic = gic::gic();
    gic.enable();
    gic.enable_intid(Timer::Virtual.intid());
    guest_kit::irq::set_handler(|_| Timer::Virtual.stop());
    cpu::unmask_irq();
    let (from, to) = (moment("from"), moment("to"));
    while physical() < from {
        timer::delay(1000);
    }
    let (mut beats, mut latest) = (0u64, 0);
    let mut due = timer::now();
    // It has run all the time so far; the first beats are late for that.
    let steady = due + timer::ticks(WARM_UP_US);
    while physical() < to {
        due += timer::ticks(1000);
        Timer::Virtual.set_compare(due);
        Timer::Virtual.set_control(timer::ENABLE);
        // Masked between the look and the WFI: an interrupt there would be the last.
        cpu::mask_irq();
        while Timer::Virtual.control() & timer::ENABLE != 0 {
            cpu::wfi();
            cpu::unmask_irq();
            cpu::mask_irq();
        }
        cpu::unmask_irq();
        if due >= steady {
            latest = timer::now().saturating_sub(due).max(latest);
        }
        beats += 1;
    }
    println!("work: beats={} latest={}", beats, timer::nanoseconds(latest));
}
