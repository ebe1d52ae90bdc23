//! Registers that live in the CPU: they begin clear, and each vCPU keeps its own, whoever else runs on the CPU.
//!
//! `seed=N` makes this VM's values differ from another's, `rounds=N` says how long it looks. With `shared` the
//! hypervisor must tell how much time was stolen, without it must not. With `reset` it resets after each report,
//! `context: again` before, until a `q` is received.
#![no_std]
#![no_main]

mod float;
mod registers;
mod stolen;

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::mmu::{self, Ram};
use guest_kit::text::Text;
use guest_kit::timer::Timer;
use guest_kit::{Case, Machine, Outcome, cpu, ensure, gic, ktap, println, psci, sysreg, timer, uart};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("system_registers_begin_clear", registers::clear),
    ("vector_registers_begin_clear", float::clear),
    ("every_register_keeps_its_value_on_every_cpu", keep),
    ("stolen_time_is_told_where_cpus_are_shared", stolen::told),
    ("stolen_time_can_only_be_read", stolen::read_only),
];

/// Rounds of [`look`], a busy one of 6 ms and a wait of 1 ms each.
const ROUNDS: u64 = 40;

fn main(machine: &'static Machine) {
    mmu::enable(if registers::has_tags() { Ram::Tagged } else { Ram::WriteBack });
    float::enable();
    let gic = gic::gic();
    gic.enable();
    gic.enable_intid(Timer::Virtual.intid());
    guest_kit::irq::set_handler(|_| Timer::Virtual.stop());
    cpu::unmask_irq();
    ktap::run(CASES);
    if !machine.has_bootarg("reset") {
        return;
    }
    let told_to_stop = timer::wait_for(50_000, || uart::get() == Some(b'q'));
    if !told_to_stop {
        println!("context: again");
        uart::drain();
        psci::system_reset();
    }
    println!("context: stopped");
}

fn number(name: &str, default: u64) -> u64 {
    let value = machine().bootarg(name).and_then(|text| text.parse().ok());
    value.unwrap_or(default)
}

/// What each CPU found wrong: 0 nothing, else a register's number plus one, and how often it looked.
static WRONG: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];

fn keep() -> Outcome {
    let seed = number("seed", 1) << 8;
    for index in 1..cpu::count() {
        ensure!(cpu::start(index, other, seed) == psci::SUCCESS, "CPU_ON {}", index);
    }
    let mine = look(0, seed);
    for index in 1..cpu::count() {
        // The CPUs may have more to do than this.
        let done = timer::wait_for(60_000_000, || cpu::is_done(index)) && cpu::wait_off(index);
        ensure!(done, "CPU {} is not done", index);
    }
    ensure!(mine == 0, "CPU 0: {}", name(mine).as_str());
    for (index, wrong) in WRONG.iter().enumerate() {
        let wrong = wrong.load(Ordering::Acquire);
        ensure!(wrong == 0, "CPU {}: {}", index, name(wrong).as_str());
    }
    Ok(())
}

fn other(seed: u64) {
    let index = cpu::index();
    float::enable();
    let gic = gic::gic();
    gic.enable_cpu();
    gic.enable_intid(Timer::Virtual.intid());
    cpu::unmask_irq();
    let wrong = look(index, seed + index as u64);
    cpu::mask_irq();
    if let Some(slot) = WRONG.get(index) {
        slot.store(wrong, Ordering::Release);
    }
}

/// Fills all registers of this CPU and looks at them, again and again. Returns 0 or what was wrong.
fn look(index: usize, seed: u64) -> u64 {
    for round in 0..number("rounds", ROUNDS) {
        let seed = seed + (round << 16);
        let expected = registers::fill(seed);
        float::fill(index, seed);
        timer::delay(6_000);
        Timer::Virtual.arm(1_000);
        wait_for_timer();
        if let Some(wrong) = registers::differs(&expected) {
            return 1 + wrong as u64;
        }
        if let Some(wrong) = float::differs(index, seed) {
            return 1000 + wrong as u64;
        }
    }
    registers::restore();
    0
}

/// Waits until the interrupt's handler has stopped the timer. Masked between the look and the WFI: an interrupt
/// there would be the last.
fn wait_for_timer() {
    loop {
        cpu::mask_irq();
        if Timer::Virtual.control() & timer::ENABLE == 0 {
            cpu::unmask_irq();
            return;
        }
        cpu::wfi();
        cpu::unmask_irq();
    }
}

fn name(wrong: u64) -> Text {
    match wrong.checked_sub(1) {
        None => Text::new(format_args!("nothing")),
        Some(index) if wrong < 1000 => Text::new(format_args!("{} has changed", registers::name(index as usize))),
        Some(_) => Text::new(format_args!("vector or predicate byte {} has changed", wrong - 1000)),
    }
}

/// Reads an ID register field of four bits.
fn field(value: u64, shift: u32) -> u64 {
    value >> shift & 0xf
}

/// Tells whether SVE is there.
fn has_sve() -> bool {
    field(sysreg::read!("id_aa64pfr0_el1"), 32) != 0
}
