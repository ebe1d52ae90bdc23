//! The SBSA generic watchdog (DEN0029 §C), where the tree has one.
//!
//! With the bootarg `bite` it lets the watchdog run out: what follows is for the harness to see.
#![no_std]
#![no_main]

use guest_kit::machine::{Watchdog, machine};
use guest_kit::{Case, Machine, Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, ktap, mmio, println, timer};

guest_kit::entry!(main);

/// Control frame: status, offset, compare value.
const WCS: u64 = 0x000;
const WOR: u64 = 0x008;
const WCV: u64 = 0x010;
/// Both frames: identification.
const IIDR: u64 = 0xfcc;
/// Refresh frame: refresh.
const WRR: u64 = 0x000;
const EN: u32 = 1;
const WS0: u32 = 2;
const WS1: u32 = 4;

const CASES: &[Case] = &[
    ("both_frames_identify_themselves", identification),
    ("registers_read_back", registers),
    ("a_refresh_moves_the_deadline", refresh),
    ("the_first_signal_interrupts", first_signal),
    ("a_refresh_takes_the_first_signal_back", taken_back),
    ("a_disabled_watchdog_never_signals", disabled),
];

fn main(machine: &'static Machine) {
    ktap::run(CASES);
    let Some(dog) = machine.watchdog else { return };
    if machine.has_bootarg("bite") {
        println!("watchdog: not refreshing any more");
        arm(dog, 20_000);
        cpu::mask_irq();
        loop {
            core::hint::spin_loop();
        }
    }
}

fn watchdog() -> Result<Watchdog, Stop> {
    machine().watchdog.ok_or(Stop::Skip("the tree has no watchdog"))
}

fn status(dog: Watchdog) -> u32 {
    mmio::read32(dog.control + WCS) & (EN | WS0 | WS1)
}

/// Turns it on with `microseconds` between signals.
fn arm(dog: Watchdog, microseconds: u64) {
    mmio::write32(dog.control + WOR, timer::ticks(microseconds).min(u64::from(u32::MAX)) as u32);
    mmio::write32(dog.control + WCS, EN);
}

fn off(dog: Watchdog) {
    mmio::write32(dog.control + WCS, 0);
}

fn identification() -> Outcome {
    let dog = watchdog()?;
    let (control, refresh) = (mmio::read32(dog.control + IIDR), mmio::read32(dog.refresh + IIDR));
    ensure_equal!(control, refresh, "W_IIDR of the control frame, and of the refresh frame");
    Ok(())
}

fn registers() -> Outcome {
    let dog = watchdog()?;
    off(dog);
    for value in [0x1234_5678, 0xffff_ffff, 0x10] {
        mmio::write32(dog.control + WOR, value);
        ensure_equal!(mmio::read32(dog.control + WOR), value, "WOR");
    }
    ensure_equal!(status(dog), 0, "WCS when off");
    ensure_equal!(mmio::read32(dog.refresh + WRR), 0, "WRR, which is RAZ");
    Ok(())
}

/// WCV as two words, as a driver for either width would read it.
fn compare(dog: Watchdog) -> u64 {
    u64::from(mmio::read32(dog.control + WCV)) | u64::from(mmio::read32(dog.control + WCV + 4)) << 32
}

fn refresh() -> Outcome {
    let dog = watchdog()?;
    arm(dog, 2_000_000);
    let first = compare(dog);
    timer::delay(1000);
    mmio::write32(dog.refresh + WRR, 1);
    let second = compare(dog);
    let status = status(dog);
    off(dog);
    ensure_equal!(status, EN, "WCS");
    let moved = second.wrapping_sub(first);
    ensure!(moved >= timer::ticks(1000) && moved < timer::ticks(1_000_000), "WCV moved by {} ticks", moved);
    Ok(())
}

/// Runs it until the first signal, with the interrupt taken. The handler refreshes.
fn run_to_first_signal(dog: Watchdog) -> Outcome {
    fn refresh_it(_: u32) {
        if let Some(dog) = machine().watchdog {
            mmio::write32(dog.refresh + WRR, 1);
        }
    }
    let gic = gic::gic();
    gic.enable();
    gic.route(dog.intid, 0);
    gic.enable_intid(dog.intid);
    irq::set_handler(refresh_it);
    irq::forget(0);
    cpu::unmask_irq();
    arm(dog, 200_000);
    let came = irq::wait_for_count(0, 1, 1_000_000);
    let after = status(dog);
    off(dog);
    cpu::mask_irq();
    ensure!(came, "no interrupt");
    ensure_equal!(gic.intid(irq::noted(0, 0)), dog.intid, "INTID taken");
    ensure_equal!(after, EN, "WCS after the refresh");
    Ok(())
}

fn first_signal() -> Outcome {
    run_to_first_signal(watchdog()?)
}

fn taken_back() -> Outcome {
    let dog = watchdog()?;
    gic::gic().enable();
    arm(dog, 200_000);
    let came = timer::wait_for(1_000_000, || status(dog) & WS0 != 0);
    mmio::write32(dog.refresh + WRR, 0);
    let after = status(dog);
    off(dog);
    ensure!(came, "WS0 is never set");
    ensure_equal!(after, EN, "WCS after the refresh");
    Ok(())
}

fn disabled() -> Outcome {
    let dog = watchdog()?;
    arm(dog, 10_000);
    off(dog);
    timer::delay(50_000);
    ensure_equal!(status(dog), 0, "WCS");
    Ok(())
}
