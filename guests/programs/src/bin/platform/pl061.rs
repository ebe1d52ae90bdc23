//! Arm's GPIO controller (DDI 0190B), of whose pins QEMU's `virt` drives none: as inputs they are low.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, gic, irq, mmio, timer};

/// GPIODATA, where address bits 9:2 say which pins are meant.
const ALL_PINS: u64 = 0x3fc;
const DIRECTION: u64 = 0x400;
const LEVEL_SENSE: u64 = 0x404;
const EVENT: u64 = 0x40c;
const ENABLE: u64 = 0x410;
const MASKED_STATUS: u64 = 0x418;
const IDENTIFICATION: u64 = 0xfe0;
const SECOND_US: u64 = 1_000_000;

fn node() -> Result<guest_kit::fdt::Node, Stop> {
    there(machine().tree.compatible("arm,pl061"), "PL061")
}

fn there<T>(found: Option<T>, what: &str) -> Result<T, Stop> {
    found.ok_or_else(|| Stop::Fail(Text::new(format_args!("the tree has no {what}"))))
}

fn base() -> u64 {
    node().ok().and_then(|node| node.reg(0)).map_or(0, |(address, _)| address)
}

fn read(offset: u64) -> u32 {
    mmio::read32(base() + offset)
}

fn write(offset: u64, value: u32) {
    mmio::write32(base() + offset, value);
}

/// The interrupts that are enabled.
pub fn enabled() -> u32 {
    read(ENABLE)
}

pub fn described() -> Outcome {
    let node = node()?;
    let (address, size) = there(node.reg(0), "registers of it")?;
    ensure!((0x0c00_0000..0x1000_0000).contains(&address), "its registers are at {:#x}", address);
    ensure_equal!(size, 0x1000, "bytes of registers");
    ensure!(node.intid(0).is_some_and(|intid| intid >= 96), "its interrupt is another");
    ensure!(node.property("gpio-controller").is_some(), "its own properties are not there");
    ensure!(node.property("phandle").is_none(), "its phandle is the machine's");
    ensure!(node.u32("clocks").is_some(), "it has no clock");
    Ok(())
}

pub fn identified() -> Outcome {
    for (offset, wanted) in [(0, 0x61), (4, 0x10)] {
        ensure_equal!(read(IDENTIFICATION + offset), wanted, "peripheral identification");
    }
    Ok(())
}

pub fn works() -> Outcome {
    write(DIRECTION, 0xff);
    write(ALL_PINS, 0x5a);
    let (all, some) = (read(ALL_PINS), read(0xf0 << 2));
    write(DIRECTION, 0);
    ensure_equal!(all, 0x5a, "pins as outputs");
    ensure_equal!(some, 0x50, "half of them");
    Ok(())
}

pub fn alone() -> Outcome {
    for address in [base() - 0x1000, base() + 0x1000] {
        ensure!(mmio::probe_read(address, 4).is_err(), "something answers at {:#x}", address);
    }
    Ok(())
}

/// How often the handler still leaves the line high.
static LEAVE: AtomicU64 = AtomicU64::new(0);

fn handle(_: u32) {
    let left = LEAVE.load(Ordering::Acquire);
    if left == 0 {
        write(ENABLE, 0);
    } else {
        LEAVE.store(left - 1, Ordering::Release);
    }
}

/// Pin 0 is low, and that is what the device waits for: to enable its interrupt is to raise it.
fn raise() {
    write(ENABLE, 1);
}

fn prepare() -> Result<u32, Stop> {
    let intid = there(node()?.intid(0), "interrupt of it")?;
    write(ENABLE, 0);
    write(LEVEL_SENSE, 1);
    write(EVENT, 0);
    irq::listen(intid, handle);
    Ok(intid)
}

fn close(intid: u32) {
    irq::ignore(intid);
    write(ENABLE, 0);
}

pub fn calm() -> Outcome {
    let intid = prepare()?;
    timer::delay(10_000);
    let count = irq::count(0);
    close(intid);
    // One may have been on its way since the VM started.
    ensure!(count <= 1, "{} interrupts, and nobody raised one", count);
    Ok(())
}

pub fn interrupts() -> Outcome {
    let intid = prepare()?;
    for n in 1..=20 {
        raise();
        ensure!(irq::wait_for_count(0, n, SECOND_US), "interrupt {} is lost", n);
        ensure!(timer::wait_for(SECOND_US, || read(MASKED_STATUS) == 0), "it is raised after the handler");
    }
    timer::delay(10_000);
    let (count, taken) = (irq::count(0), gic::gic().intid(irq::noted(0, 0)));
    close(intid);
    ensure_equal!(count, 20, "interrupts");
    ensure_equal!(taken, intid, "INTID");
    Ok(())
}

pub fn level() -> Outcome {
    let intid = prepare()?;
    LEAVE.store(5, Ordering::Release);
    raise();
    let came = irq::wait_for_count(0, 6, SECOND_US);
    timer::delay(10_000);
    let count = irq::count(0);
    close(intid);
    ensure!(came, "{} interrupts of 6", count);
    ensure_equal!(count, 6, "interrupts");
    Ok(())
}

pub fn disabled() -> Outcome {
    let intid = prepare()?;
    gic::gic().disable_intid(intid);
    raise();
    timer::delay(10_000);
    let before = irq::count(0);
    gic::gic().enable_intid(intid);
    let came = irq::wait_for_count(0, 1, SECOND_US);
    close(intid);
    ensure_equal!(before, 0, "interrupts while disabled in the GIC");
    ensure!(came, "no interrupt once it is enabled in the GIC");
    Ok(())
}

/// Leaves the line high for the next life.
pub fn leave_asserted() {
    write(LEVEL_SENSE, 1);
    write(EVENT, 0);
    raise();
}
