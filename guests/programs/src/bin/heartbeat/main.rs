//! A pulse of 1 kHz by the virtual timer, and how late the latest beat was.
//!
//! Without bootargs it looks whether beats come and powers off. With `beat` it goes on and obeys what it receives:
//! `r` prints a report, `c` forgets the latest beat, `q` prints a report and ends. `every=N` prints a report each
//! N beats as well. A report is `heartbeat: beats=N late_ns=N period_ns=1000000`. With `sum` it works between beats,
//! and a report goes on with `rounds=N wrong=N`, and with the beats that are missing: `lost=N`.
#![no_std]
#![no_main]

mod sum;

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::timer::Timer;
use guest_kit::{Case, Machine, Outcome, cpu, ensure, gic, irq, ktap, println, timer, uart};

guest_kit::entry!(main);

const PERIOD_US: u64 = 1000;
const CASES: &[Case] = &[("no_beat_is_lost", beats)];

static BEATS: AtomicU64 = AtomicU64::new(0);
/// The latest beat, in ticks after its time.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// When the pulse began.
static BEGUN: AtomicU64 = AtomicU64::new(0);

fn main(machine: &'static Machine) {
    begin();
    ktap::run(CASES);
    let every = machine.bootarg("every").map_or(0, number);
    let mut told = BEATS.load(Ordering::Relaxed);
    let mut on = machine.has_bootarg("beat");
    let mut work = machine.has_bootarg("sum").then(sum::Work::default);
    if on {
        println!("heartbeat: goes on");
    }
    while on {
        match &mut work {
            Some(work) => work.round(),
            None => cpu::wfi(),
        }
        match uart::get() {
            Some(b'r') => report(work.as_ref()),
            Some(b'c') => LATEST.store(0, Ordering::Relaxed),
            Some(b'q') => {
                report(work.as_ref());
                on = false;
            }
            _ => {}
        }
        if every != 0 && BEATS.load(Ordering::Relaxed).wrapping_sub(told) >= every {
            told = told.wrapping_add(every);
            report(work.as_ref());
        }
    }
    cpu::mask_irq();
    Timer::Virtual.stop();
}

fn begin() {
    let gic = gic::gic();
    gic.enable();
    irq::set_handler(beat);
    let pulse = Timer::Virtual;
    BEGUN.store(timer::now(), Ordering::Relaxed);
    pulse.arm(PERIOD_US);
    gic.enable_intid(pulse.intid());
    cpu::unmask_irq();
}

/// Each beat's time follows from the last one's, not from when that was handled: lateness shows.
fn beat(_: u32) {
    let pulse = Timer::Virtual;
    let due = pulse.compare();
    let late = pulse.now().wrapping_sub(due);
    LATEST.fetch_max(late, Ordering::Relaxed);
    BEATS.fetch_add(1, Ordering::Relaxed);
    pulse.set_compare(due.wrapping_add(timer::ticks(PERIOD_US)));
}

fn report(work: Option<&sum::Work>) {
    let beats = BEATS.load(Ordering::Relaxed);
    let late_ns = timer::nanoseconds(LATEST.load(Ordering::Relaxed));
    let period_ns = PERIOD_US * 1000;
    let head = format_args!("heartbeat: beats={beats} late_ns={late_ns} period_ns={period_ns}");
    match work {
        None => println!("{}", head),
        Some(work) => {
            // One may be due just now.
            let passed = timer::now().wrapping_sub(BEGUN.load(Ordering::Relaxed));
            let due = passed / timer::ticks(PERIOD_US).max(1);
            let lost = due.saturating_sub(beats + 1);
            println!("{} rounds={} wrong={} lost={}", head, work.rounds, work.wrong, lost);
        }
    }
}

fn number(text: &str) -> u64 {
    text.bytes().fold(0, |sum, digit| sum * 10 + u64::from(digit.wrapping_sub(b'0').min(9)))
}

fn beats() -> Outcome {
    let first = BEATS.load(Ordering::Relaxed);
    let came = timer::wait_for(10_000_000, || BEATS.load(Ordering::Relaxed).wrapping_sub(first) >= 50);
    ensure!(came, "50 beats did not come in 10 s");
    // Beats that were held up come one after the other, but none comes before its time.
    let beats = BEATS.load(Ordering::Relaxed);
    let took = timer::now().wrapping_sub(BEGUN.load(Ordering::Relaxed));
    ensure!(took >= beats * timer::ticks(PERIOD_US), "{} beats came in {} ticks: too soon", beats, took);
    Ok(())
}
