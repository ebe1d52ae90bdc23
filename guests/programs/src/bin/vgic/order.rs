//! Many interrupts at once: more than any machine has List Registers for (16 at most).

use guest_kit::gic::{self, Gic};
use guest_kit::{Outcome, cpu, ensure, ensure_equal, irq, timer};

use crate::{fresh, open};

const SGIS: u32 = 16;
const SPIS: u32 = 14;
const MANY: u32 = SGIS + SPIS;

/// Returns the `n`-th of the interrupts used here: all SGIs, then SPIs.
fn intid(n: u32) -> u32 {
    if n < SGIS { n } else { 36 + n - SGIS }
}

/// Makes it pending while interrupts are masked.
fn pend(gic: Gic, intid: u32) {
    if intid < 16 {
        gic.send_sgi(intid, 0);
    } else {
        gic.write_bit(gic::ISPENDR, intid);
    }
}

pub fn by_priority() -> Outcome {
    let gic = fresh();
    // 11 and 30 have no common factor: a permutation of 0..30, in steps that five bits tell apart.
    let priority = |n: u32| (n * 11 % MANY * 8) as u8;
    for n in 0..MANY {
        gic.set_priority(intid(n), priority(n));
        gic.enable_intid(intid(n));
        pend(gic, intid(n));
    }
    open(5000);
    ensure_equal!(irq::count(0), u64::from(MANY), "interrupts taken");
    for place in 0..MANY {
        let taken = gic.intid(irq::noted(0, u64::from(place)));
        let expected = (0..MANY).find(|&n| u32::from(priority(n)) == place * 8).map_or(0, intid);
        ensure!(taken == expected, "place {}: INTID {}, expected {}", place, taken, expected);
    }
    Ok(())
}

pub fn one_priority() -> Outcome {
    let gic = fresh();
    for n in 0..MANY {
        gic.enable_intid(intid(n));
        pend(gic, intid(n));
    }
    open(5000);
    ensure_equal!(irq::count(0), u64::from(MANY), "interrupts taken");
    for n in 0..MANY {
        let times = (0..u64::from(MANY)).filter(|&place| gic.intid(irq::noted(0, place)) == intid(n)).count();
        ensure!(times == 1, "INTID {} was taken {} times", intid(n), times);
    }
    Ok(())
}

pub fn rounds() -> Outcome {
    let gic = fresh();
    for n in 0..MANY {
        gic.enable_intid(intid(n));
        gic.set_priority(intid(n), (n % 4 * 0x20 + 0x40) as u8);
    }
    cpu::unmask_irq();
    for round in 0..50u32 {
        // Changing subsets, pended while interrupts are being taken.
        let expected = (0..MANY).filter(|n| round >> (n % 5) & 1 == n & 1).inspect(|&n| pend(gic, intid(n))).count();
        let all = irq::wait_for_count(0, expected as u64, 100_000);
        timer::delay(20);
        let count = irq::count(0);
        irq::forget(0);
        if !all || count != expected as u64 {
            cpu::mask_irq();
            ensure!(false, "round {}: {} of {} taken", round, count, expected);
        }
    }
    cpu::mask_irq();
    Ok(())
}

pub fn preemption() -> Outcome {
    /// In the handler of the lower one: pends the higher and takes interrupts.
    fn nest(intid: u32) {
        if intid == 40 {
            gic::gic().write_bit(gic::ISPENDR, 41);
            gic::gic().write_bit(gic::ISPENDR, 42);
            open(300);
        }
    }
    let gic = fresh();
    for (intid, priority) in [(40, 0x80), (41, 0x40), (42, 0xc0)] {
        gic.set_priority(intid, priority);
        gic.enable_intid(intid);
    }
    irq::set_handler(nest);
    gic.write_bit(gic::ISPENDR, 40);
    open(2000);
    irq::clear_handler();
    ensure_equal!(irq::count(0), 3, "interrupts taken");
    let taken = [0, 1, 2].map(|n| gic.intid(irq::noted(0, n)));
    ensure!(
        taken == [40, 41, 42],
        "taken {}, {}, {}: not 40, then 41 within it, then 42",
        taken[0],
        taken[1],
        taken[2]
    );
    Ok(())
}
