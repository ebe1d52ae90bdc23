//! CPUs that are turned on and off, wait and wake.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::timer::{self, Timer};
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, ktap, psci, sysreg};

use crate::nobody;

pub fn already_on() -> Outcome {
    let answer = psci::cpu_on(machine().cpus()[0], cpu::secondary_entry(), 0);
    ensure_equal!(answer, psci::ALREADY_ON, "CPU_ON of this CPU");
    Ok(())
}

pub fn bad_target() -> Outcome {
    for mpidr in nobody() {
        let answer = psci::cpu_on(mpidr, cpu::secondary_entry(), 0);
        ensure!(answer == psci::INVALID_PARAMETERS, "CPU_ON({:#x}) = {}", mpidr, answer);
    }
    Ok(())
}

pub fn bad_entry() -> Outcome {
    ktap::needs_hypervisor()?;
    let Some(&target) = machine().cpus().get(1) else {
        return Err(Stop::Skip("one CPU only"));
    };
    for entry in [0x0800_0000, machine().ram_end(), !0xfff, 1 << 52] {
        let answer = psci::cpu_on(target, entry, 0);
        let refused = [psci::INVALID_ADDRESS, psci::INVALID_PARAMETERS].contains(&answer);
        ensure!(refused, "CPU_ON at {:#x} = {}", entry, answer);
        ensure_equal!(psci::affinity_info(target, 0), psci::AFFINITY_OFF, "state after the refusal");
    }
    Ok(())
}

static SEEN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

fn note(argument: u64) {
    SEEN[1].store(sysreg::read!("mpidr_el1") & 0xff_00ff_ffff, Ordering::Relaxed);
    SEEN[2].store(sysreg::read!("currentel") >> 2, Ordering::Relaxed);
    SEEN[3].store(sysreg::read!("daif"), Ordering::Relaxed);
    SEEN[0].store(argument, Ordering::Release);
}

pub fn on_off_on() -> Outcome {
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    for round in 0..3u64 {
        for index in 1..cpu::count() {
            let answer = cpu::start(index, note, 0x1000 + round);
            ensure!(answer == psci::SUCCESS, "CPU_ON of CPU {} in round {}: {}", index, round, answer);
            ensure!(cpu::wait_off(index), "CPU {} does not turn off", index);
            ensure!(cpu::is_done(index), "CPU {} did nothing", index);
            ensure_equal!(SEEN[0].load(Ordering::Acquire), 0x1000 + round, "what it was told");
            ensure_equal!(SEEN[1].load(Ordering::Relaxed), machine().cpus()[index], "its MPIDR");
        }
    }
    Ok(())
}

/// DEN0022 §6.4: x0 is the context, and asynchronous exceptions are masked.
pub fn context() -> Outcome {
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    ensure_equal!(cpu::start(1, note, 0xfeed_f00d_dead_beef), psci::SUCCESS, "CPU_ON");
    ensure!(cpu::wait_off(1), "CPU 1 does not turn off");
    ensure_equal!(SEEN[0].load(Ordering::Acquire), 0xfeed_f00d_dead_beef, "what it was told");
    ensure_equal!(SEEN[2].load(Ordering::Relaxed), 1, "exception level");
    // The kit has unmasked SError; interrupts, debug and FIQ are as they were.
    ensure_equal!(SEEN[3].load(Ordering::Relaxed) & 0x2c0, 0x2c0, "DAIF");
    Ok(())
}

pub fn race() -> Outcome {
    // QEMU's own PSCI turns it on twice.
    ktap::needs_hypervisor()?;
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    static GO: AtomicU64 = AtomicU64::new(0);
    fn stay(_: u64) {
        timer::wait_for(1_000_000, || GO.load(Ordering::Acquire) == 2);
    }
    fn compete(_: u64) {
        timer::wait_for(1_000_000, || GO.load(Ordering::Acquire) == 1);
        ANSWER.store(cpu::start(2, stay, 0) as u64, Ordering::Release);
    }
    if cpu::count() < 3 {
        return Err(Stop::Skip("fewer than three CPUs"));
    }
    for round in 0..20 {
        GO.store(0, Ordering::Release);
        ensure_equal!(cpu::start(1, compete, 0), psci::SUCCESS, "CPU_ON of CPU 1");
        timer::delay(200);
        GO.store(1, Ordering::Release);
        let mine = cpu::start(2, stay, 0);
        ensure!(cpu::wait_off(1), "CPU 1 does not turn off");
        let other = ANSWER.load(Ordering::Acquire) as i64;
        GO.store(2, Ordering::Release);
        ensure!(cpu::wait_off(2), "CPU 2 does not turn off");
        let late = [psci::ALREADY_ON, psci::ON_PENDING];
        let once = mine == 0 && late.contains(&other) || other == 0 && late.contains(&mine);
        ensure!(once, "round {}: {} and {}", round, mine, other);
    }
    Ok(())
}

pub fn suspend() -> Outcome {
    fn stop(_: u32) {
        Timer::Virtual.stop();
    }
    let gic = gic::gic();
    gic.enable_intid(Timer::Virtual.intid());
    irq::set_handler(stop);
    for _ in 0..10 {
        irq::forget(0);
        let start = timer::now();
        Timer::Virtual.arm(500);
        // Standby: power state 0; interrupts masked, the wake-up event wakes all the same.
        let answer = psci::call(psci::CPU_SUSPEND, 0, cpu::secondary_entry(), 0);
        let slept = timer::now().wrapping_sub(start);
        cpu::unmask_irq();
        let taken = irq::wait_for_count(0, 1, 100_000);
        cpu::mask_irq();
        ensure_equal!(answer, psci::SUCCESS, "CPU_SUSPEND");
        ensure!(slept >= timer::ticks(500), "it returned after {} ns", timer::nanoseconds(slept));
        ensure!(taken, "the interrupt that woke it does not come");
    }
    irq::clear_handler();
    Ok(())
}

pub fn suspend_bad() -> Outcome {
    ktap::needs_hypervisor()?;
    // Bits that power_state does not have: INVALID_PARAMETERS, or standby, which returns at once here
    // because an interrupt is pending.
    let gic = gic::gic();
    gic.enable_intid(3);
    gic.send_sgi(3, 0);
    let answer = psci::call(psci::CPU_SUSPEND, 0xffff_ffff, cpu::secondary_entry(), 0);
    cpu::unmask_irq();
    timer::delay(100);
    cpu::mask_irq();
    gic.disable_intid(3);
    ensure!([psci::SUCCESS, psci::INVALID_PARAMETERS].contains(&answer), "CPU_SUSPEND: {}", answer);
    Ok(())
}

pub fn reset2() -> Outcome {
    ktap::needs_hypervisor()?;
    if psci::features(psci::SYSTEM_RESET2) < 0 {
        return Err(Stop::Skip("SYSTEM_RESET2 is not there"));
    }
    let answer = psci::call(psci::SYSTEM_RESET2, 0x7, 0, 0);
    ensure_equal!(answer, psci::INVALID_PARAMETERS, "SYSTEM_RESET2 of a reserved type");
    Ok(())
}
