//! The performance monitors of a VM with `pmu = true`: clear at first, they count, and an overflow interrupts, on each CPU.
//!
//! With `reset` it leaves them counting, full and with an interrupt pending, and resets, `pmu: again` before, until a
//! `q` is received.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::{Case, Machine, Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, ktap, println, psci, sysreg};
use guest_kit::{timer, uart};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("it_is_reported", reported),
    ("it_begins_clear", clear),
    ("the_cycle_counter_counts_when_told_to", cycles),
    ("an_event_counter_counts_what_it_is_told_to", events),
    ("an_overflow_interrupts_each_time", overflow),
    ("so_it_does_on_another_cpu", other_cpu),
];

/// PMCR_EL0.E.
const ENABLE: u64 = 1;
/// The first event counter, and the cycle counter, in PMCNTENSET_EL0 and the like.
const FIRST: u64 = 1;
const CYCLES: u64 = 1 << 31;
/// The interrupt, as the guest's tree has it.
const INTID: u32 = 23;

fn main(machine: &'static Machine) {
    gic::gic().enable();
    irq::set_handler(|_| sysreg::write!("pmovsclr_el0", !0));
    ktap::run(CASES);
    if !machine.has_bootarg("reset") {
        return;
    }
    soil();
    let told_to_stop = timer::wait_for(50_000, || uart::get() == Some(b'q'));
    if !told_to_stop {
        println!("pmu: again");
        uart::drain();
        psci::system_reset();
    }
    println!("pmu: stopped");
}

fn reported() -> Outcome {
    let version = sysreg::read!("id_aa64dfr0_el1") >> 8 & 0xf;
    ensure!(version != 0 && version != 0xf, "PMUVer is {}", version);
    ensure!(counters() > 0, "there is no event counter");
    println!("# version {}, {} event counters", version, counters());
    Ok(())
}

fn counters() -> u64 {
    sysreg::read!("pmcr_el0") >> 11 & 0x1f
}

/// Chooses the counter that PMXEVTYPER_EL0 and PMXEVCNTR_EL0 stand for.
fn select(counter: u64) {
    sysreg::write!("pmselr_el0", counter);
}

fn clear() -> Outcome {
    if machine_is_native() {
        return Err(Stop::Skip("the counters' first values are UNKNOWN"));
    }
    ensure_equal!(sysreg::read!("pmcr_el0") & 0x7f & !(1 << 6), 0, "PMCR_EL0");
    ensure_equal!(sysreg::read!("pmcntenset_el0"), 0, "PMCNTENSET_EL0");
    ensure_equal!(sysreg::read!("pmintenset_el1"), 0, "PMINTENSET_EL1");
    ensure_equal!(sysreg::read!("pmovsset_el0"), 0, "PMOVSSET_EL0");
    ensure_equal!(sysreg::read!("pmuserenr_el0"), 0, "PMUSERENR_EL0");
    ensure_equal!(sysreg::read!("pmselr_el0"), 0, "PMSELR_EL0");
    ensure_equal!(sysreg::read!("pmccntr_el0"), 0, "PMCCNTR_EL0");
    ensure_equal!(sysreg::read!("pmccfiltr_el0"), 0, "PMCCFILTR_EL0");
    for counter in 0..counters() {
        select(counter);
        let found = (sysreg::read!("pmxevtyper_el0"), sysreg::read!("pmxevcntr_el0"));
        ensure!(found == (0, 0), "counter {}: type and value {:?}", counter, found);
    }
    Ok(())
}

fn machine_is_native() -> bool {
    guest_kit::machine::machine().is_native()
}

fn cycles() -> Outcome {
    sysreg::write!("pmcntenset_el0", CYCLES);
    sysreg::write!("pmcr_el0", ENABLE);
    let first = sysreg::read!("pmccntr_el0");
    timer::delay(1_000);
    let second = sysreg::read!("pmccntr_el0");
    sysreg::write!("pmcr_el0", 0);
    let (third, fourth) = (sysreg::read!("pmccntr_el0"), sysreg::read!("pmccntr_el0"));
    ensure!(second > first, "from {} to {} in a millisecond", first, second);
    ensure!(third >= second && third == fourth, "stopped at {}, and then {}", third, fourth);
    sysreg::write!("pmcntenclr_el0", CYCLES);
    Ok(())
}

/// Has the first event counter count what software says (SW_INCR), from `value`.
fn count_from(value: u64) {
    select(0);
    sysreg::write!("pmxevtyper_el0", 0);
    sysreg::write!("pmxevcntr_el0", value);
    sysreg::write!("pmcntenset_el0", FIRST);
    sysreg::write!("pmcr_el0", ENABLE);
}

fn events() -> Outcome {
    count_from(5);
    for _ in 0..3 {
        sysreg::write!("pmswinc_el0", FIRST);
    }
    ensure_equal!(sysreg::read!("pmxevcntr_el0"), 8, "the counter");
    ensure_equal!(sysreg::read!("pmovsset_el0"), 0, "PMOVSSET_EL0");
    sysreg::write!("pmcr_el0", 0);
    Ok(())
}

fn overflow() -> Outcome {
    gic::gic().enable_intid(INTID);
    irq::forget(cpu::index());
    cpu::unmask_irq();
    sysreg::write!("pmintenset_el1", FIRST);
    for time in 1..=3 {
        count_from(0xffff_ffff);
        sysreg::write!("pmswinc_el0", FIRST);
        let came = irq::wait_for_count(cpu::index(), time, 1_000_000);
        ensure!(came, "overflow {} did not interrupt", time);
        ensure_equal!(sysreg::read!("pmovsset_el0"), 0, "PMOVSSET_EL0 after the interrupt");
    }
    // It is gone, and does not come again by itself.
    timer::delay(2_000);
    ensure!(!irq::wait_for_count(cpu::index(), 4, 1_000), "an interrupt without an overflow");
    cpu::mask_irq();
    sysreg::write!("pmintenclr_el1", FIRST);
    sysreg::write!("pmcr_el0", 0);
    Ok(())
}

/// What another CPU found: 0 nothing yet, 1 all well, 2 a failure.
static OTHER: AtomicU64 = AtomicU64::new(0);

fn other_cpu() -> Outcome {
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU"));
    }
    // Twice: what it left when it was turned off must not be there when it is turned on again.
    for time in 1..=2 {
        OTHER.store(0, Ordering::Release);
        ensure!(cpu::start(1, look, 0) == psci::SUCCESS, "CPU_ON");
        ensure!(cpu::wait_off(1), "CPU 1 is not done");
        ensure!(OTHER.load(Ordering::Acquire) == 1, "time {}: not so on CPU 1", time);
    }
    Ok(())
}

fn look(_: u64) {
    gic::gic().enable_cpu();
    let all = [clear, cycles, events, overflow].iter().all(|case| match case() {
        Ok(()) | Err(Stop::Skip(_)) => true,
        Err(Stop::Fail(what)) => {
            println!("# CPU 1: {}", what.as_str());
            false
        }
    });
    soil();
    OTHER.store(if all { 1 } else { 2 }, Ordering::Release);
}

/// Leaves everything counting and full, with overflows that interrupt.
fn soil() {
    for counter in 0..counters() {
        select(counter);
        sysreg::write!("pmxevtyper_el0", 0);
        sysreg::write!("pmxevcntr_el0", 0xffff_ffff);
    }
    sysreg::write!("pmccfiltr_el0", 1 << 27);
    sysreg::write!("pmuserenr_el0", 0xf);
    sysreg::write!("pmintenset_el1", !0);
    sysreg::write!("pmcntenset_el0", !0);
    sysreg::write!("pmcr_el0", ENABLE);
    sysreg::write!("pmswinc_el0", !CYCLES);
}
