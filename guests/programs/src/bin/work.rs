//! Counts how much work it gets done in a stretch of physical time, and how late its timer is.
//!
//! `from=MS` and `to=MS` are counted from the machine's reset. Each CPU spins between them and prints
//! `work: cpu=I done=N`, N in loops; with `heartbeat` the first CPU instead waits for a timer each millisecond
//! and prints `work: beats=N latest=NS`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::mmu::{self, Ram};
use guest_kit::timer::Timer;
use guest_kit::{Machine, cpu, gic, println, sysreg, timer};

guest_kit::entry!(main);

static DONE: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];

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
    for (index, done) in DONE.iter().enumerate().take(cpu::count()) {
        println!("work: cpu={} done={}", index, done.load(Ordering::Acquire));
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

fn spin(index: u64) {
    let (from, to) = (moment("from"), moment("to"));
    let mut done = 0u64;
    loop {
        let now = physical();
        if now >= to {
            break;
        }
        if now >= from {
            done += 1;
        }
    }
    if let Some(slot) = DONE.get(index as usize) {
        slot.store(done, Ordering::Release);
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
    while physical() < to {
        due += timer::ticks(1000);
        Timer::Virtual.set_compare(due);
        Timer::Virtual.set_control(timer::ENABLE);
        while Timer::Virtual.control() & timer::ENABLE != 0 {
            cpu::wfi();
        }
        latest = timer::now().saturating_sub(due).max(latest);
        beats += 1;
    }
    println!(
        "work: beats={} latest={}",
        beats,
        timer::nanoseconds(latest)
    );
}
