//! Looks whether memory is clear, soils all of it, and, if told to, resets and looks again.
//!
//! Without bootargs it looks once and powers off. With `reset` it resets after each look, until a `q`
//! is received; each boot is one KTAP report, and `reset: again` comes before each reset. With `hasty` it does not
//! wait for a `q`.
#![no_std]
#![no_main]

use guest_kit::machine::machine;
use guest_kit::mmu::{self, Ram};
use guest_kit::{Case, Machine, Outcome, Stop, ensure, ktap, memory, println, psci, sysreg, tags, timer, uart};

guest_kit::entry!(main);

const CASES: &[Case] = &[("memory_is_clear", clear), ("tags_are_clear", clear_tags), ("the_timers_are_off", timers)];
/// How long it waits for a `q` before each reset.
const PATIENCE_US: u64 = 50_000;

fn main(machine: &'static Machine) {
    mmu::enable(if has_tags() { Ram::Tagged } else { Ram::WriteBack });
    ktap::run(CASES);
    if !machine.has_bootarg("reset") {
        return;
    }
    machine.free_ram(&mut |start, end| soil(start, end));
    // A pending timer and an active interrupt are among what a reset must leave nothing of.
    sysreg::write!("cntv_cval_el0", 0);
    sysreg::write!("cntv_ctl_el0", 1);
    let patience = if machine.has_bootarg("hasty") { 0 } else { PATIENCE_US };
    let told_to_stop = timer::wait_for(patience, || uart::get() == Some(b'q'));
    if !told_to_stop {
        println!("reset: again");
        uart::drain();
        psci::system_reset();
    }
    println!("reset: stopped");
}

fn has_tags() -> bool {
    sysreg::read!("id_aa64pfr1_el1") >> 8 & 0xf >= 2
}

/// Calls `visit` with what a reset must have cleared. Natively QEMU clears nothing.
fn clear() -> Outcome {
    ktap::needs_hypervisor().or_else(|stop| if machine().has_bootarg("reset") { Err(stop) } else { Ok(()) })?;
    let mut found = None;
    machine().free_ram(&mut |start, end| found = found.or(memory::first_nonzero(start, end)));
    ensure!(found.is_none(), "not clear at {:#x}", found.unwrap_or(0));
    Ok(())
}

fn clear_tags() -> Outcome {
    if !has_tags() {
        return Err(Stop::Skip("no tags"));
    }
    let mut found = None;
    machine().free_ram(&mut |start, end| found = found.or(tags::first_nonzero(start, end)));
    ensure!(found.is_none(), "tags at {:#x}", found.unwrap_or(0));
    Ok(())
}

fn timers() -> Outcome {
    let controls = [timer::Timer::Virtual.control() & 1, timer::Timer::Physical.control() & 1];
    ensure!(controls == [0, 0], "CNTV_CTL.ENABLE, CNTP_CTL.ENABLE: {:?}", controls);
    Ok(())
}

/// Fills with data, and with tags where there are any.
fn soil(start: u64, end: u64) {
    memory::fill(start, end, 0xa5a5_a5a5_a5a5_a5a5);
    if has_tags() {
        tags::fill(start, end, !0);
    }
}
