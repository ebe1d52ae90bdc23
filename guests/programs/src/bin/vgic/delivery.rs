//! One interrupt at a time: when it comes, how often, and in which state it is meanwhile.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::gic::{self, Version};
use guest_kit::timer::Timer;
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, irq, mmio, sysreg};

use crate::{fresh, open};

const SPI: u32 = 40;
/// What the handlers of this file leave for their case.
static NOTE: AtomicU64 = AtomicU64::new(0);

/// Takes interrupts for a while and expects exactly these, in this order.
fn expect(expected: &[u32]) -> Outcome {
    open(300);
    ensure_equal!(irq::count(0), expected.len() as u64, "interrupts taken");
    for (n, &intid) in expected.iter().enumerate() {
        ensure_equal!(gic::gic().intid(irq::noted(0, n as u64)), intid, "INTID taken");
    }
    irq::forget(0);
    Ok(())
}

pub fn sgi_self() -> Outcome {
    let gic = fresh();
    gic.enable_intid(3);
    gic.send_sgi(3, 0);
    expect(&[3])
}

pub fn every_sgi() -> Outcome {
    let gic = fresh();
    for intid in 0..16 {
        gic.enable_intid(intid);
        gic.send_sgi(intid, 0);
        expect(&[intid])?;
    }
    Ok(())
}

pub fn spi() -> Outcome {
    let gic = fresh();
    gic.enable_intid(SPI);
    gic.write_bit(gic::ISPENDR, SPI);
    ensure!(gic.read_bit(gic::ISPENDR, SPI), "not pending");
    expect(&[SPI])?;
    ensure!(!gic.read_bit(gic::ISPENDR, SPI), "still pending");
    Ok(())
}

pub fn disabled() -> Outcome {
    let gic = fresh();
    gic.write_bit(gic::ISPENDR, SPI);
    expect(&[])?;
    ensure!(gic.read_bit(gic::ISPENDR, SPI), "no longer pending");
    gic.enable_intid(SPI);
    expect(&[SPI])
}

pub fn cleared() -> Outcome {
    let gic = fresh();
    gic.enable_intid(SPI);
    gic.write_bit(gic::ISPENDR, SPI);
    gic.write_bit(gic::ICPENDR, SPI);
    ensure!(!gic.read_bit(gic::ISPENDR, SPI), "still pending");
    expect(&[])?;
    // Enabled and pending once, then disabled again before it can be taken.
    gic.write_bit(gic::ISPENDR, SPI);
    gic.disable_intid(SPI);
    expect(&[])
}

pub fn active() -> Outcome {
    fn note(intid: u32) {
        let gic = gic::gic();
        let bits = [gic::ISACTIVER, gic::ISPENDR, gic::ICACTIVER].map(|r| u64::from(gic.read_bit(r, intid)));
        NOTE.store(bits[0] | bits[1] << 1 | bits[2] << 2, Ordering::Relaxed);
    }
    let gic = fresh();
    for intid in [SPI, 27] {
        irq::set_handler(note);
        gic.enable_intid(intid);
        gic.write_bit(gic::ISPENDR, intid);
        expect(&[intid])?;
        ensure_equal!(NOTE.load(Ordering::Relaxed), 0b101, "ISACTIVER, ISPENDR, ICACTIVER in the handler");
        ensure!(!gic.read_bit(gic::ISACTIVER, intid), "INTID {} is active after its end", intid);
    }
    Ok(())
}

pub fn set_active() -> Outcome {
    let gic = fresh();
    gic.enable_intid(SPI);
    gic.write_bit(gic::ISACTIVER, SPI);
    ensure!(gic.read_bit(gic::ISACTIVER, SPI), "not active");
    gic.write_bit(gic::ISPENDR, SPI);
    expect(&[])?;
    gic.write_bit(gic::ICACTIVER, SPI);
    ensure!(!gic.read_bit(gic::ISACTIVER, SPI), "still active");
    expect(&[SPI])
}

pub fn running_priority() -> Outcome {
    fn note(_: u32) {
        NOTE.store(u64::from(gic::gic().running_priority()), Ordering::Relaxed);
    }
    let gic = fresh();
    gic.enable_intid(SPI);
    gic.set_priority(SPI, 0x48);
    irq::set_handler(note);
    gic.write_bit(gic::ISPENDR, SPI);
    expect(&[SPI])?;
    ensure_equal!(NOTE.load(Ordering::Relaxed), 0x48, "running priority in the handler");
    ensure!(gic.running_priority() >= 0xf8, "running priority {:#x} when idle", gic.running_priority());
    Ok(())
}

pub fn priority_mask() -> Outcome {
    let gic = fresh();
    gic.enable_intid(SPI);
    gic.set_priority(SPI, 0x90);
    gic.set_mask(0x80);
    gic.write_bit(gic::ISPENDR, SPI);
    let held_back = expect(&[]);
    gic.set_mask(0xff);
    held_back?;
    ensure_equal!(gic.highest_pending(), SPI, "highest pending interrupt");
    expect(&[SPI])
}

pub fn distributor_off() -> Outcome {
    let gic = fresh();
    let control = mmio::read32(gic.distributor + gic::CTLR);
    mmio::write32(gic.distributor + gic::CTLR, control & !3);
    cpu::dsb();
    gic.enable_intid(SPI);
    gic.write_bit(gic::ISPENDR, SPI);
    let held_back = expect(&[]);
    mmio::write32(gic.distributor + gic::CTLR, control);
    held_back?;
    expect(&[SPI])
}

/// ICC_CTLR_EL1.EOImode = 1: `ICC_EOIR1_EL1` drops the priority only (IHI0069H §4.1).
pub fn split_end() -> Outcome {
    let gic = fresh();
    if gic.version == Version::V2 {
        return Err(Stop::Skip("the mode bit depends on the security state on a GICv2"));
    }
    gic.enable_intid(SPI);
    sysreg::write!("icc_ctlr_el1", 2);
    gic.write_bit(gic::ISPENDR, SPI);
    open(200);
    let (taken, active) = (irq::count(0), gic.read_bit(gic::ISACTIVER, SPI));
    irq::forget(0);
    // Another may come in between, the priority being dropped.
    gic.enable_intid(5);
    gic.send_sgi(5, 0);
    open(200);
    let other = irq::count(0);
    sysreg::write!("icc_dir_el1", u64::from(SPI));
    sysreg::write!("icc_dir_el1", 5);
    let after = gic.read_bit(gic::ISACTIVER, SPI);
    sysreg::write!("icc_ctlr_el1", 0);
    ensure_equal!(taken, 1, "interrupts taken");
    ensure!(active, "not active after the priority drop");
    ensure_equal!(other, 1, "SGIs taken while it was active");
    ensure!(!after, "still active after ICC_DIR_EL1");
    Ok(())
}

pub fn level_again() -> Outcome {
    fn stop_at_third(_: u32) {
        if irq::count(0) >= 3 {
            Timer::Virtual.stop();
        }
    }
    let gic = fresh();
    gic.enable_intid(Timer::Virtual.intid());
    irq::set_handler(stop_at_third);
    Timer::Virtual.arm(10);
    cpu::unmask_irq();
    irq::wait_for_count(0, 3, 1_000_000);
    open(300);
    Timer::Virtual.stop();
    ensure_equal!(irq::count(0), 3, "interrupts taken until the timer was stopped");
    Ok(())
}

pub fn level_pending() -> Outcome {
    fn stop(_: u32) {
        Timer::Virtual.stop();
    }
    let gic = fresh();
    let intid = Timer::Virtual.intid();
    gic.enable_intid(intid);
    irq::set_handler(stop);
    Timer::Virtual.arm(1);
    let pending = guest_kit::timer::wait_for(1_000_000, || gic.read_bit(gic::ISPENDR, intid));
    expect(&[intid])?;
    ensure!(pending, "the line is high and the interrupt not pending");
    ensure!(!gic.read_bit(gic::ISPENDR, intid), "the line is low and the interrupt pending");
    Ok(())
}
