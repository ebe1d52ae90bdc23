//! Much of the same in a row, and waits of every kind.

use core::arch::asm;

use guest_kit::machine::machine;
use guest_kit::mmio::probe_write;
use guest_kit::timer::{self, Timer};
use guest_kit::{Outcome, cpu, ensure, gic, irq, psci};

use crate::sane;

pub fn aborts() -> Outcome {
    let address = machine().ram_end();
    for _ in 0..50_000 {
        ensure!(probe_write(address, 0, 8).is_err(), "a store beyond RAM is taken");
    }
    Ok(())
}

pub fn calls() -> Outcome {
    for _ in 0..100_000 {
        psci::call(psci::VERSION, 0, 0, 0);
    }
    Ok(())
}

pub fn maintenance() -> Outcome {
    for _ in 0..2_000 {
        maintain();
    }
    Ok(())
}

pub fn maintain() {
    // SAFETY: the MMU is off; what is cleaned stays.
    unsafe { asm!("tlbi vmalle1is", "tlbi vmalle1", "dsb ish", "ic ialluis", "dsb ish", "isb") };
    // By set and way, level 1, set 0, way 0 (DDI0487 C5.3): trapped or made harmless below.
    // SAFETY: cleans and invalidates.
    unsafe { asm!("dc cisw, {0}", "dc csw, {0}", "dsb sy", in(reg) 0u64) };
}

pub fn interrupts() -> Outcome {
    let gic = gic::gic();
    gic.enable();
    // A wild store may have left it any priority: the lowest never gets through the mask.
    gic.set_priority(2, 0);
    gic.enable_intid(2);
    irq::forget(0);
    cpu::unmask_irq();
    for _ in 0..20_000 {
        gic.send_sgi(2, 0);
    }
    cpu::mask_irq();
    ensure!(irq::count(0) > 0, "none arrives");
    sane()
}

pub fn pending_wait() -> Outcome {
    let gic = gic::gic();
    gic.enable();
    gic.enable_intid(2);
    gic.send_sgi(2, 0);
    for _ in 0..1000 {
        cpu::wfi();
    }
    irq::forget(0);
    cpu::unmask_irq();
    let came = irq::wait_for_count(0, 1, 1_000_000);
    cpu::mask_irq();
    ensure!(came, "the pending interrupt is lost");
    Ok(())
}

pub fn long_wait() -> Outcome {
    let gic = gic::gic();
    gic.enable();
    gic.enable_intid(Timer::Virtual.intid());
    Timer::Virtual.arm(300_000);
    while timer::now() < Timer::Virtual.compare() {
        cpu::wfi();
    }
    Timer::Virtual.stop();
    Ok(())
}

pub fn event() -> Outcome {
    for _ in 0..1000 {
        // SAFETY: SEV sets the event that WFE then finds.
        unsafe { asm!("sev") };
        cpu::wfe();
    }
    Ok(())
}
