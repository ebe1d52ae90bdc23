//! Every register of EL1 and EL0 that can be written reads as at reset when a CPU begins, whatever was left in it.
//!
//! Each CPU is swept: a register that takes a value must have begun with the documented one, and keeps another. CPU 1
//! is turned on again and again in a life. With `reset` the guest resets after each report, `sweep: again` before, until
//! a `q` is received.
#![no_std]
#![no_main]

mod raw;

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::code::{self, Encoding};
use guest_kit::text::Text;
use guest_kit::{Case, Machine, Outcome, cpu, ensure, ktap, println, psci, sysreg, timer, uart};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("what_exceptions_write_begins_clear", exceptions),
    ("every_register_begins_as_documented", || result(sweep())),
    ("so_it_does_before_another_cpu_has_run_anything", raw::first_instructions),
    ("so_it_does_on_another_cpu", other_cpu),
    ("so_it_does_on_a_cpu_that_was_turned_off", other_cpu),
    ("so_it_does_before_that_cpu_has_run_anything_again", raw::first_instructions),
];

/// ESR_EL1, FAR_EL1, ELR_EL1 and SPSR_EL1, before the first exception.
static FIRST: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

fn main(machine: &'static Machine) {
    let first =
        [sysreg::read!("esr_el1"), sysreg::read!("far_el1"), sysreg::read!("elr_el1"), sysreg::read!("spsr_el1")];
    FIRST.iter().zip(first).for_each(|(slot, value)| slot.store(value, Ordering::Relaxed));
    ktap::run(CASES);
    if !machine.has_bootarg("reset") {
        return;
    }
    let told_to_stop = timer::wait_for(50_000, || uart::get() == Some(b'q'));
    if !told_to_stop {
        println!("sweep: again");
        uart::drain();
        raw::soil_and_call(psci::SYSTEM_RESET);
    }
    println!("sweep: stopped");
}

fn exceptions() -> Outcome {
    ktap::needs_hypervisor()?;
    let [esr, far, elr, spsr] = [0, 1, 2, 3].map(|place: usize| FIRST[place].load(Ordering::Relaxed));
    ensure!(esr | far | elr | spsr == 0, "ESR {:#x}, FAR {:#x}, ELR {:#x}, SPSR {:#x}", esr, far, elr, spsr);
    Ok(())
}

/// What is left in a register, and its complement.
const PATTERN: u64 = 0xa5a5_a5a5_a5a5_a5a5;
/// FPEN and ZEN of CPACR_EL1, so that FP and SVE do not trap.
const ACCESS: u64 = 0x33_0000;

/// What a sweep does not touch.
fn is_left_alone(name: Encoding) -> bool {
    match name {
        // PSTATE by other names.
        Encoding(3, _, 4, 2 | 3, _) => true,
        // SCTLR_EL1, VBAR_EL1 and TPIDR_EL1, which the kit needs, and what exceptions write: `raw` looks at those.
        Encoding(3, 0, 1, 0, 0) | Encoding(3, 0, 12, 0, 0) | Encoding(3, 0, 13, 0, 4) => true,
        Encoding(3, 0, 4, 0, 0 | 1) | Encoding(3, 0, 5, 2, 0) | Encoding(3, 0, 6, 0, 0) => true,
        // CNTV_TVAL_EL0 and CNTP_TVAL_EL0 run.
        Encoding(3, 3, 14, 2 | 3, 0) => true,
        // DBGCLAIMCLR_EL1 shows what was written to DBGCLAIMSET_EL1.
        Encoding(2, 0, 7, 9, 6) => true,
        // The performance monitors, whose registers show each other: the guest `pmu` looks at those.
        Encoding(3, _, 9, 12..=14, _) | Encoding(3, 3, 14, 8..=15, _) => true,
        _ => false,
    }
}

/// Sweeps this CPU. Returns what began otherwise than it should, and with what.
fn sweep() -> Option<(Encoding, u64)> {
    let (mut wrong, mut taken) = (None, 0);
    let claims = sysreg::read!("dbgclaimclr_el1") & 0xff;
    if claims != 0 {
        wrong = Some((Encoding(2, 0, 7, 9, 6), claims));
    }
    // EL1's and EL0's are op1 0 to 3.
    for n in 0..1 << 14 {
        let name = Encoding(2 + (n >> 13 & 1), n >> 11 & 3, n >> 7 & 15, n >> 3 & 15, n & 7);
        let Ok(first) = code::read(name) else { continue };
        if is_left_alone(name) || code::run(name.write(), !PATTERN).is_err() {
            continue;
        }
        let one = code::read(name).unwrap_or(first);
        let _ = code::run(name.write(), PATTERN);
        let other = code::read(name).unwrap_or(first);
        // What does not change with what is written is there to be read only.
        let writable = one ^ other;
        taken += u64::from(writable != 0);
        let mut documented = 0;
        if matches!(name, Encoding(3, 0, 12, 8, 3) | Encoding(3, 0, 12, 12, 3)) {
            // ICC_BPR0_EL1 and ICC_BPR1_EL1 begin with the least that there is.
            let _ = code::run(name.write(), 0);
            documented = code::read(name).unwrap_or(0);
            let _ = code::run(name.write(), PATTERN);
        }
        if name == Encoding(3, 0, 1, 0, 2) {
            let _ = code::run(name.write(), ACCESS);
        }
        if (first ^ documented) & writable != 0 {
            wrong = wrong.or(Some((name, first)));
        }
    }
    sysreg::write!("dbgclaimset_el1", PATTERN & 0xff);
    println!("# {} registers take a value", taken);
    wrong
}

/// What a sweep of another CPU came to: whether anything was wrong, its encoding, its value.
static WRONG: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn other_cpu() -> Outcome {
    if cpu::count() < 2 {
        return Err(guest_kit::Stop::Skip("one CPU"));
    }
    ensure!(cpu::start(1, sweep_and_tell, 0) == psci::SUCCESS, "CPU_ON");
    // This CPU must leave the other the code buffer.
    let is_done = timer::wait_for(60_000_000, || cpu::is_done(1));
    ensure!(is_done && cpu::wait_off(1), "CPU 1 is not done");
    let [any, at, value] = [0, 1, 2].map(|place: usize| WRONG[place].load(Ordering::Acquire));
    let part = |shift: u32| (at >> shift & 0xff) as u32;
    result((any != 0).then(|| (Encoding(part(32), part(24), part(16), part(8), part(0)), value)))
}

fn sweep_and_tell(_: u64) {
    let wrong = sweep();
    let (name, value) = wrong.unwrap_or((Encoding(0, 0, 0, 0, 0), 0));
    let at = [name.0, name.1, name.2, name.3, name.4].iter().fold(0, |at, part| at << 8 | u64::from(*part));
    let told = [u64::from(wrong.is_some()), at, value];
    WRONG.iter().zip(told).for_each(|(slot, value)| slot.store(value, Ordering::Release));
}

fn result(wrong: Option<(Encoding, u64)>) -> Outcome {
    ktap::needs_hypervisor()?;
    match wrong {
        Some((name, value)) => Err(guest_kit::Stop::Fail(Text::new(format_args!("{:?} began as {:#x}", name, value)))),
        None => Ok(()),
    }
}
