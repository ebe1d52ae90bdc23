//! The virtual and the physical timer: registers, level, deadlines kept in WFI and while spinning.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::timer::{self, ENABLE, IMASK, ISTATUS, Timer};
use guest_kit::{Case, Machine, Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, ktap, psci, sysreg};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("the_counter_never_goes_back", counter),
    ("virtual_and_physical_counter_run_together", counters),
    ("virtual_registers_read_back", || registers(Timer::Virtual)),
    ("physical_registers_read_back", || registers(Timer::Physical)),
    ("virtual_status_follows_the_deadline", || status(Timer::Virtual)),
    ("physical_status_follows_the_deadline", || status(Timer::Physical)),
    ("virtual_timer_interrupts_a_spinning_cpu", || spinning(Timer::Virtual)),
    ("physical_timer_interrupts_a_spinning_cpu", || spinning(Timer::Physical)),
    ("virtual_timer_wakes_wfi", || waiting(Timer::Virtual)),
    ("physical_timer_wakes_wfi", || waiting(Timer::Physical)),
    ("virtual_interrupt_comes_again_while_the_line_is_high", || level(Timer::Virtual)),
    ("physical_interrupt_comes_again_while_the_line_is_high", || level(Timer::Physical)),
    ("a_masked_virtual_timer_is_silent", || masked(Timer::Virtual)),
    ("a_masked_physical_timer_is_silent", || masked(Timer::Physical)),
    ("a_virtual_deadline_in_the_past_comes_at_once", || past(Timer::Virtual)),
    ("a_physical_deadline_in_the_past_comes_at_once", || past(Timer::Physical)),
    ("a_virtual_deadline_beyond_reach_never_comes", || never(Timer::Virtual)),
    ("a_physical_deadline_beyond_reach_never_comes", || never(Timer::Physical)),
    ("a_virtual_line_that_falls_is_pending_no_more", || falls(Timer::Virtual)),
    ("a_physical_line_that_falls_is_pending_no_more", || falls(Timer::Physical)),
    ("virtual_ticks_are_not_lost", || ticks(Timer::Virtual)),
    ("physical_ticks_are_not_lost", || ticks(Timer::Physical)),
    ("both_timers_at_once_each_interrupt", both),
    ("every_cpu_has_its_own_timers", every_cpu),
];

fn main(_: &'static Machine) {
    ktap::run(CASES);
}

/// Everything off, `timer`'s interrupt enabled, nothing taken yet.
fn fresh(timer: Timer) {
    cpu::mask_irq();
    Timer::Virtual.stop();
    Timer::Physical.stop();
    let gic = gic::gic();
    gic.enable();
    irq::set_handler(stop);
    irq::forget(cpu::index());
    gic.enable_intid(timer.intid());
}

/// Turns off the timer that interrupted.
fn stop(intid: u32) {
    for timer in [Timer::Virtual, Timer::Physical] {
        if timer.intid() == intid {
            timer.stop();
        }
    }
}

fn counter() -> Outcome {
    let mut before = timer::now();
    for _ in 0..20_000 {
        let now = timer::now();
        ensure!(now >= before, "{:#x} after {:#x}", now, before);
        before = now;
    }
    ensure!(timer::frequency() >= 1_000_000, "CNTFRQ_EL0 is {} Hz", timer::frequency());
    Ok(())
}

fn counters() -> Outcome {
    // The least of many: between the two reads of one difference the CPU may have been away.
    let difference = || {
        let pairs = (0..100).map(|_| {
            let virtual_count = Timer::Virtual.now();
            Timer::Physical.now().wrapping_sub(virtual_count)
        });
        pairs.min().unwrap_or(0)
    };
    let first = difference();
    timer::delay(20_000);
    let drift = difference().wrapping_sub(first) as i64;
    ensure!(drift.unsigned_abs() < timer::ticks(2_000), "they drift by {} ticks in 20 ms", drift);
    Ok(())
}

fn registers(timer: Timer) -> Outcome {
    fresh(timer);
    for value in [0, 1, 0x1234_5678_9abc_def0, u64::MAX] {
        timer.set_compare(value);
        ensure_equal!(timer.compare(), value, "CVAL");
    }
    timer.set_control(IMASK);
    ensure_equal!(timer.control() & (ENABLE | IMASK), IMASK, "CTL");
    timer.set_compare(u64::MAX >> 1);
    timer.set_control(ENABLE | IMASK | 0xff00);
    ensure_equal!(timer.control(), ENABLE | IMASK, "CTL with reserved bits and far deadline");
    timer.set_control(0);
    let second = timer::frequency() as i32;
    timer.set_value(second);
    let compare = timer.compare().wrapping_sub(timer.now());
    ensure!(compare <= second as u64 && compare > second as u64 / 2, "CVAL after TVAL is {} ticks off", compare);
    ensure!((second / 2..=second).contains(&timer.value()), "TVAL reads {}", timer.value());
    timer.set_value(-1000);
    ensure!(timer.value() <= -1000, "TVAL reads {} after the deadline", timer.value());
    Ok(())
}

fn status(timer: Timer) -> Outcome {
    fresh(timer);
    timer.set_compare(timer.now() + timer::ticks(5000));
    timer.set_control(ENABLE | IMASK);
    let (early, at) = (timer.control(), timer.now());
    if at < timer.compare() {
        ensure_equal!(early & ISTATUS, 0, "ISTATUS before the deadline");
    }
    let met = timer::wait_for(1_000_000, || timer.control() & ISTATUS != 0);
    ensure!(met, "ISTATUS is never set");
    ensure!(timer.now() >= timer.compare(), "ISTATUS is set before the deadline");
    timer.set_compare(u64::MAX);
    ensure_equal!(timer.control(), ENABLE | IMASK, "CTL after the deadline is moved away");
    timer.stop();
    Ok(())
}

/// Expects exactly one interrupt of this timer, not before `deadline`.
fn one(timer: Timer, deadline: u64) -> Outcome {
    let here = cpu::index();
    ensure!(irq::wait_for_count(here, 1, 1_000_000), "no interrupt within a second");
    ensure!(timer.now() >= deadline, "it came before the deadline");
    timer::delay(100);
    ensure_equal!(irq::count(here), 1, "interrupts taken");
    ensure_equal!(gic::gic().intid(irq::noted(here, 0)), timer.intid(), "INTID taken");
    Ok(())
}

fn spinning(timer: Timer) -> Outcome {
    for _ in 0..20 {
        fresh(timer);
        cpu::unmask_irq();
        timer.arm(200);
        let outcome = one(timer, timer.compare());
        cpu::mask_irq();
        outcome?;
    }
    Ok(())
}

fn waiting(timer: Timer) -> Outcome {
    for _ in 0..20 {
        fresh(timer);
        timer.arm(1000);
        // Masked: WFI wakes for it all the same, and it cannot come before.
        cpu::wfi();
        while timer.now() < timer.compare() {
            cpu::wfi();
        }
        ensure!(timer.control() & ISTATUS != 0, "WFI ends and the timer has not fired");
        cpu::unmask_irq();
        let outcome = one(timer, timer.compare());
        cpu::mask_irq();
        outcome?;
    }
    Ok(())
}

fn level(timer: Timer) -> Outcome {
    fn stop_at_fifth(intid: u32) {
        if irq::count(cpu::index()) >= 5 {
            stop(intid);
        }
    }
    fresh(timer);
    irq::set_handler(stop_at_fifth);
    timer.arm(50);
    cpu::unmask_irq();
    irq::wait_for_count(0, 5, 1_000_000);
    timer::delay(500);
    cpu::mask_irq();
    timer.stop();
    ensure_equal!(irq::count(0), 5, "interrupts until the timer was stopped");
    Ok(())
}

fn masked(timer: Timer) -> Outcome {
    fresh(timer);
    timer.set_compare(timer.now());
    timer.set_control(ENABLE | IMASK);
    cpu::unmask_irq();
    timer::delay(500);
    let early = irq::count(0);
    timer.set_control(ENABLE);
    let outcome = one(timer, 0);
    cpu::mask_irq();
    ensure_equal!(early, 0, "interrupts while IMASK is set");
    outcome
}

/// While its interrupt is disabled, the timer comes due and is turned off again.
fn falls(timer: Timer) -> Outcome {
    fresh(timer);
    let (gic, intid) = (gic::gic(), timer.intid());
    gic.disable_intid(intid);
    timer.set_compare(timer.now());
    timer.set_control(ENABLE);
    let rises = timer::wait_for(100_000, || gic.read_bit(gic::ISPENDR, intid));
    timer.stop();
    let falls = timer::wait_for(100_000, || !gic.read_bit(gic::ISPENDR, intid));
    cpu::unmask_irq();
    gic.enable_intid(intid);
    timer::delay(500);
    let taken = irq::count(0);
    cpu::mask_irq();
    ensure!(rises, "it is not pending while the line is high");
    ensure!(falls, "it stays pending after the line has fallen");
    ensure_equal!(taken, 0, "interrupts of a line that is low");
    Ok(())
}

fn past(timer: Timer) -> Outcome {
    fresh(timer);
    cpu::unmask_irq();
    timer.set_compare(0);
    timer.set_control(ENABLE);
    let outcome = one(timer, 0);
    cpu::mask_irq();
    outcome
}

fn never(timer: Timer) -> Outcome {
    fresh(timer);
    cpu::unmask_irq();
    timer.set_compare(u64::MAX);
    timer.set_control(ENABLE);
    timer::delay(2000);
    cpu::mask_irq();
    timer.stop();
    ensure_equal!(irq::count(0), 0, "interrupts taken");
    Ok(())
}

static PERIOD: AtomicU64 = AtomicU64::new(0);

fn ticks(timer: Timer) -> Outcome {
    const TICKS: u64 = 100;
    fn next(intid: u32) {
        for timer in [Timer::Virtual, Timer::Physical] {
            if timer.intid() == intid {
                timer.set_compare(timer.compare() + PERIOD.load(Ordering::Relaxed));
                if irq::count(0) >= TICKS {
                    timer.stop();
                }
            }
        }
    }
    fresh(timer);
    PERIOD.store(timer::ticks(500), Ordering::Relaxed);
    irq::set_handler(next);
    let start = timer.now();
    timer.arm(500);
    cpu::unmask_irq();
    let all = irq::wait_for_count(0, TICKS, 5_000_000);
    let took = timer.now().wrapping_sub(start);
    timer::delay(1000);
    cpu::mask_irq();
    timer.stop();
    ensure!(all, "{} of {} ticks", irq::count(0), TICKS);
    ensure_equal!(irq::count(0), TICKS, "ticks");
    ensure!(took >= TICKS * timer::ticks(500), "100 ticks of 500 us took {} ns", timer::nanoseconds(took));
    Ok(())
}

fn both() -> Outcome {
    fresh(Timer::Virtual);
    gic::gic().enable_intid(Timer::Physical.intid());
    Timer::Virtual.arm(500);
    Timer::Physical.arm(300);
    cpu::unmask_irq();
    let all = irq::wait_for_count(0, 2, 1_000_000);
    timer::delay(100);
    cpu::mask_irq();
    ensure!(all, "{} interrupts of 2", irq::count(0));
    let mut taken = [0, 1].map(|n| gic::gic().intid(irq::noted(0, n)));
    taken.sort_unstable();
    ensure_equal!(taken[0], Timer::Virtual.intid(), "first INTID");
    ensure_equal!(taken[1], Timer::Physical.intid(), "second INTID");
    Ok(())
}

fn every_cpu() -> Outcome {
    static FAILED: AtomicU64 = AtomicU64::new(0);
    fn tick(_: u64) {
        let gic = gic::gic();
        gic.enable_cpu();
        for timer in [Timer::Virtual, Timer::Physical] {
            irq::forget(cpu::index());
            gic.enable_intid(timer.intid());
            timer.arm(300);
            cpu::unmask_irq();
            if one(timer, timer.compare()).is_err() {
                FAILED.store(1 + cpu::index() as u64, Ordering::Release);
            }
            cpu::mask_irq();
            timer.stop();
            gic.disable_intid(timer.intid());
        }
        // A timer that is left on must not disturb whoever gets the CPU next.
        sysreg::write!("cntv_cval_el0", 0);
        Timer::Virtual.set_control(ENABLE);
    }
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    fresh(Timer::Virtual);
    // Twice: a CPU that comes back finds its timers working.
    for _ in 0..2 {
        for index in 1..cpu::count() {
            ensure_equal!(cpu::start(index, tick, 0), psci::SUCCESS, "CPU_ON");
        }
        for index in 1..cpu::count() {
            ensure!(cpu::wait_off(index), "CPU {} does not end", index);
        }
        let failed = FAILED.load(Ordering::Acquire);
        ensure!(failed == 0, "CPU {}: a timer does not interrupt once", failed.wrapping_sub(1));
    }
    Ok(())
}
