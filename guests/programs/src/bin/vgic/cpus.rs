//! Interrupts from one CPU to another.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::gic::{self, Version};
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, irq, psci, sysreg, timer};

use crate::fresh;

const CALL: u32 = 1;
const ANSWER: u32 = 2;
const SPI: u32 = 45;
const SECOND_US: u64 = 1_000_000;

static LEAVE: AtomicU64 = AtomicU64::new(0);
/// How many CPUs have their interface on.
static READY: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];

/// What the other CPUs do: wait for interrupts until told to leave.
fn wait(_: u64) {
    let (gic, index) = (gic::gic(), cpu::index());
    gic.enable_cpu();
    for intid in [0, CALL, ANSWER] {
        gic.set_priority(intid, 0xa0);
        gic.enable_intid(intid);
    }
    READY[index].store(1, Ordering::Release);
    while LEAVE.load(Ordering::Acquire) == 0 {
        // Masked from the look at the flag to the wait: SGI 0 is what ends it.
        cpu::wfi();
        cpu::unmask_irq();
        cpu::mask_irq();
    }
}

/// Runs `test` with every CPU waiting, and ends them.
fn with_others(test: fn(usize) -> Outcome) -> Outcome {
    let count = cpu::count();
    if count < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    let gic = fresh();
    LEAVE.store(0, Ordering::Release);
    for (index, ready) in READY.iter().enumerate().take(count).skip(1) {
        ready.store(0, Ordering::Relaxed);
        irq::forget(index);
        let answer = cpu::start(index, wait, 0);
        ensure!(answer == psci::SUCCESS, "CPU_ON of CPU {}: {}", index, answer);
        let is_ready = timer::wait_for(SECOND_US, || ready.load(Ordering::Acquire) != 0);
        ensure!(is_ready, "CPU {} does not start", index);
    }
    let outcome = test(count);
    irq::clear_handler();
    LEAVE.store(1, Ordering::Release);
    for index in 1..count {
        gic.send_sgi(0, index);
    }
    cpu::mask_irq();
    for index in 1..count {
        ensure!(cpu::wait_off(index), "CPU {} does not turn off", index);
    }
    outcome
}

pub fn to_each() -> Outcome {
    with_others(|count| {
        for index in 1..count {
            gic::gic().send_sgi(CALL, index);
            ensure!(irq::wait_for_count(index, 1, SECOND_US), "CPU {} takes nothing", index);
            let taken = irq::noted(index, 0);
            ensure_equal!(gic::gic().intid(taken), CALL, "INTID taken");
            // GICv2 says who sent it (IHI0048B §4.4.4, GICC_IAR.CPUID).
            ensure_equal!(taken >> 10 & 7, 0, "sender");
        }
        timer::delay(200);
        let taken = (1..count).map(irq::count).sum::<u64>();
        ensure_equal!(taken, count as u64 - 1, "interrupts taken by all");
        Ok(())
    })
}

pub fn broadcast() -> Outcome {
    with_others(|count| {
        let gic = gic::gic();
        gic.enable_intid(CALL);
        match gic.version {
            // IRM = 1: all but self.
            Version::V3 => sysreg::write!("icc_sgi1r_el1", u64::from(CALL) << 24 | 1 << 40),
            // TargetListFilter = 1: all but self.
            Version::V2 => guest_kit::mmio::write32(gic.distributor + gic::SGIR, 1 << 24 | CALL),
        }
        for index in 1..count {
            ensure!(irq::wait_for_count(index, 1, SECOND_US), "CPU {} takes nothing", index);
        }
        guest_kit::cpu::unmask_irq();
        timer::delay(200);
        guest_kit::cpu::mask_irq();
        ensure_equal!(irq::count(0), 0, "interrupts that the sender takes");
        Ok(())
    })
}

pub fn ping_pong() -> Outcome {
    fn answer(intid: u32) {
        if cpu::index() == 1 && intid == CALL {
            gic::gic().send_sgi(ANSWER, 0);
        }
    }
    with_others(|_| {
        gic::gic().enable_intid(ANSWER);
        irq::set_handler(answer);
        cpu::unmask_irq();
        for round in 1..=500 {
            gic::gic().send_sgi(CALL, 1);
            ensure!(irq::wait_for_count(0, round, SECOND_US), "no answer in round {}", round);
        }
        ensure_equal!(irq::count(1), 500, "interrupts that CPU 1 took");
        Ok(())
    })
}

pub fn routed() -> Outcome {
    with_others(|count| {
        let gic = gic::gic();
        gic.enable_intid(SPI);
        cpu::unmask_irq();
        for index in (0..count).rev() {
            irq::forget(index);
            gic.route(SPI, index);
            gic.write_bit(gic::ISPENDR, SPI);
            ensure!(irq::wait_for_count(index, 1, SECOND_US), "CPU {} takes nothing", index);
            ensure_equal!(gic.intid(irq::noted(index, 0)), SPI, "INTID taken");
        }
        Ok(())
    })
}
