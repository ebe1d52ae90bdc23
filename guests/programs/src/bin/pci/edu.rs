//! QEMU's `edu` (docs/specs/edu.rst): registers in BAR 0, INTx, and a DMA engine.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, mmio, psci, timer};

use crate::host;

const ID: u64 = 0x00;
const INVERT: u64 = 0x04;
const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const INTERRUPTS: u64 = 0x24;
pub const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const DMA_SOURCE: u64 = 0x80;
const DMA_TARGET: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
/// Status of the configuration space: INTx is asserted.
const ASSERTED: u32 = 1 << 19;
const SECOND_US: u64 = 1_000_000;
const WAKE: u32 = 1;

fn read(offset: u64) -> u32 {
    mmio::read32(host::bar(0) + offset)
}

fn write(offset: u64, value: u32) {
    mmio::write32(host::bar(0) + offset, value);
}

/// Clears all that is raised.
pub fn acknowledge_all() {
    write(ACKNOWLEDGE, read(INTERRUPTS));
}

pub fn identified() -> Outcome {
    ensure_equal!(host::read(0), 0x11e8_1234, "vendor and device");
    ensure_equal!(read(ID), 0x0100_00ed, "the identification register");
    ensure_equal!(host::read(0x3c) >> 8 & 0xff, 1, "interrupt pin");
    Ok(())
}

pub fn works() -> Outcome {
    write(INVERT, 0x1234_5678);
    ensure_equal!(read(INVERT), !0x1234_5678, "the inverting register");
    write(FACTORIAL, 10);
    let done = timer::wait_for(SECOND_US, || read(STATUS) & 1 == 0);
    ensure!(done, "it computes for ever");
    ensure_equal!(read(FACTORIAL), 3_628_800, "10!");
    Ok(())
}

/// How often the handler still leaves the line high.
static LEAVE: AtomicU64 = AtomicU64::new(0);
/// How often it has cleared what was raised.
static CLEARED: AtomicU64 = AtomicU64::new(0);

fn acknowledge(intid: u32) {
    if intid == WAKE {
        return;
    }
    let left = LEAVE.load(Ordering::Acquire);
    if left == 0 {
        acknowledge_all();
        CLEARED.fetch_add(1, Ordering::AcqRel);
    } else {
        LEAVE.store(left - 1, Ordering::Release);
    }
}

fn prepare() -> Result<u32, Stop> {
    let intid = host::intid()?;
    host::command(host::MEMORY_SPACE, host::INTX_DISABLE);
    irq::listen(intid, acknowledge);
    Ok(intid)
}

fn close(intid: u32) {
    irq::ignore(intid);
    acknowledge_all();
}

pub fn calm() -> Outcome {
    // The device itself may still want something: that is not EL2's. It is cleared before anything is let through.
    acknowledge_all();
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
    for n in 1..=20u32 {
        write(RAISE, n);
        ensure!(irq::wait_for_count(0, n.into(), SECOND_US), "interrupt {} is lost", n);
        ensure_equal!(read(INTERRUPTS), 0, "what is raised after the handler");
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
    write(RAISE, 1);
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
    host::command(host::INTX_DISABLE, 0);
    write(RAISE, 1);
    timer::delay(10_000);
    let (before, status) = (irq::count(0), host::read(0x04) & ASSERTED);
    host::command(0, host::INTX_DISABLE);
    let came = irq::wait_for_count(0, 1, SECOND_US);
    close(intid);
    ensure_equal!(before, 0, "interrupts while disabled");
    ensure_equal!(status, ASSERTED, "Interrupt Status");
    ensure!(came, "no interrupt once it is enabled");
    // The same by the interrupt controller.
    let intid = prepare()?;
    gic::gic().disable_intid(intid);
    write(RAISE, 1);
    timer::delay(10_000);
    let before = irq::count(0);
    gic::gic().enable_intid(intid);
    let came = irq::wait_for_count(0, 1, SECOND_US);
    close(intid);
    ensure_equal!(before, 0, "interrupts while disabled in the GIC");
    ensure!(came, "no interrupt once it is enabled in the GIC");
    Ok(())
}

static DONE: AtomicU64 = AtomicU64::new(0);
static READY: AtomicU64 = AtomicU64::new(0);

fn wait(_: u64) {
    let gic = gic::gic();
    gic.enable_cpu();
    gic.set_priority(WAKE, 0xa0);
    gic.enable_intid(WAKE);
    READY.store(1, Ordering::Release);
    while DONE.load(Ordering::Acquire) == 0 {
        cpu::wfi();
        cpu::unmask_irq();
        cpu::mask_irq();
    }
}

pub fn routed() -> Outcome {
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    let intid = prepare()?;
    let gic = gic::gic();
    DONE.store(0, Ordering::Release);
    READY.store(0, Ordering::Release);
    irq::forget(1);
    ensure_equal!(cpu::start(1, wait, 0), psci::SUCCESS, "CPU_ON");
    let ready = timer::wait_for(SECOND_US, || READY.load(Ordering::Acquire) != 0);
    ensure!(ready, "CPU 1 does not start");
    let mut lost = 0;
    // There and back, so that each CPU has had it before the other gets it.
    for n in 0..20usize {
        let to = n % 2;
        gic.route(intid, to);
        let (before, cleared) = (irq::count(to), CLEARED.load(Ordering::Acquire));
        write(RAISE, 1);
        // It is counted before the handler clears it, and what is raised in between is cleared with it.
        let came = irq::wait_for_count(to, before + 1, SECOND_US);
        let done = timer::wait_for(SECOND_US, || CLEARED.load(Ordering::Acquire) != cleared);
        if !(came && done) {
            lost += 1;
        }
    }
    let (here, there) = (irq::count(0), irq::count(1));
    DONE.store(1, Ordering::Release);
    gic.send_sgi(WAKE, 1);
    let off = cpu::wait_off(1);
    close(intid);
    ensure!(off, "CPU 1 does not turn off");
    ensure_equal!(lost, 0, "interrupts lost");
    ensure_equal!(here, 10, "interrupts on CPU 0");
    // The last one there may be the SGI that ends it.
    ensure!((10..=11).contains(&there), "{} interrupts on CPU 1", there);
    Ok(())
}

/// Has the device write to all of RAM's addresses that a machine of 1 GiB may have, which nobody must notice.
pub fn start_dma() {
    let mut target = 0x4000_0000u64;
    while target < 0x8000_0000 {
        mmio::write64(host::bar(0) + DMA_SOURCE, 0x4_0000);
        mmio::write64(host::bar(0) + DMA_TARGET, target);
        mmio::write64(host::bar(0) + DMA_COUNT, 0x1000);
        mmio::write64(host::bar(0) + DMA_COMMAND, 0b11);
        let done = timer::wait_for(SECOND_US, || read(DMA_COMMAND) & 1 == 0);
        if !done {
            return;
        }
        target += 0x1000_0000;
    }
}

/// What the device copies from and to.
#[repr(align(4096))]
struct Buffer(UnsafeCell<[u64; 512]>);
// SAFETY: one CPU uses it at a time, and the device while that waits.
unsafe impl Sync for Buffer {}
static SOURCE: Buffer = Buffer(UnsafeCell::new([0; 512]));
static TARGET: Buffer = Buffer(UnsafeCell::new([0; 512]));

impl Buffer {
    fn address(&self) -> u64 {
        self.0.get() as u64
    }
    fn word(&self, index: u64) -> u64 {
        mmio::read64(self.address() + 8 * (index & 511))
    }
    fn set(&self, index: u64, value: u64) {
        mmio::write64(self.address() + 8 * (index & 511), value);
    }
}

/// Where the device's own buffer is, for its DMA engine.
const OWN: u64 = 0x4_0000;

/// Has the device copy 4 KiB between memory and its buffer.
fn start_copy(memory: u64, to_memory: bool) {
    let (source, target) = if to_memory { (OWN, memory) } else { (memory, OWN) };
    mmio::write64(host::bar(0) + DMA_SOURCE, source);
    mmio::write64(host::bar(0) + DMA_TARGET, target);
    mmio::write64(host::bar(0) + DMA_COUNT, 0x1000);
    mmio::write64(host::bar(0) + DMA_COMMAND, 1 | u64::from(to_memory) << 1);
}

/// Copies 4 KiB between memory and the device's buffer. Returns whether the engine came to an end.
fn copy(memory: u64, to_memory: bool) -> bool {
    start_copy(memory, to_memory);
    timer::wait_for(SECOND_US, || read(DMA_COMMAND) & 1 == 0)
}

/// What the device reads and writes is this VM's memory, at this VM's addresses.
pub fn dma_reaches_own_memory() -> Outcome {
    host::command(host::MEMORY_SPACE | host::BUS_MASTER, 0);
    for index in 0..512 {
        SOURCE.set(index, index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        TARGET.set(index, 0);
    }
    ensure!(copy(SOURCE.address(), false), "the device reads for ever");
    ensure!(copy(TARGET.address(), true), "the device writes for ever");
    for index in 0..512 {
        ensure_equal!(TARGET.word(index), SOURCE.word(index), "a word that the device copied");
    }
    Ok(())
}

/// Without Bus Master the device accesses nothing.
pub fn no_dma_without_bus_master() -> Outcome {
    host::command(0, host::BUS_MASTER);
    TARGET.set(0, 0x1234);
    let _ = copy(TARGET.address(), true);
    let word = TARGET.word(0);
    host::command(host::BUS_MASTER, 0);
    ensure_equal!(word, 0x1234, "a word of a device that may not write");
    Ok(())
}

/// What the device reads and writes is the accelerator's memory, where this VM has it: as bootargs say, `region=ADDRESS`.
pub fn dma_reaches_the_region() -> Outcome {
    let text = machine().bootarg("region").and_then(|text| text.strip_prefix("0x"));
    let region = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    let region = region.ok_or_else(|| host::fail("no region=0x… in bootargs"))?;
    host::command(host::MEMORY_SPACE | host::BUS_MASTER, 0);
    // The first page and one far behind it: other blocks of the tables.
    for page in [region, region + 0x30_1000] {
        for index in 0..512 {
            mmio::write64(page + 8 * index, page ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            TARGET.set(index, 0);
        }
        ensure!(copy(page, false) && copy(TARGET.address(), true), "the device copies for ever");
        for index in 0..512 {
            ensure_equal!(TARGET.word(index), mmio::read64(page + 8 * index), "a word out of the region");
            SOURCE.set(index, !TARGET.word(index));
        }
        ensure!(copy(SOURCE.address(), false) && copy(page, true), "the device copies for ever");
        for index in 0..512 {
            ensure_equal!(mmio::read64(page + 8 * index), SOURCE.word(index), "a word into the region");
        }
    }
    Ok(())
}

/// Addresses at which this VM has no memory, the registers of its devices among them: the device reads nothing new there.
pub fn dma_reaches_nothing_else() -> Outcome {
    for index in 0..512 {
        SOURCE.set(index, !index);
    }
    for address in [host::bar(0), 0, 0x0800_0000, 0x0808_0000, 0x0900_0000, 0x3f00_0000, 0x8000_0000, 0xff_ffff_f000] {
        ensure!(copy(SOURCE.address(), false), "the device reads for ever");
        let _ = copy(address, true);
        let _ = copy(address, false);
        ensure!(copy(TARGET.address(), true), "the device writes for ever");
        let word = TARGET.word(1);
        ensure!(word == !1 || word == 0 || word == u64::MAX, "the device read {:#x} at {:#x}", word, address);
    }
    Ok(())
}

/// What the tree reserves is not reached by the device either, and the pages beside it are.
pub fn dma_reaches_no_reserved_page() -> Outcome {
    host::command(host::MEMORY_SPACE | host::BUS_MASTER, 0);
    for (page, size) in machine().tree.reservations() {
        for beside in [page - size, page + size] {
            for index in 0..512 {
                mmio::write64(beside + 8 * index, beside ^ index);
                TARGET.set(index, 0);
            }
            ensure!(copy(beside, false), "the device reads for ever");
            let _ = copy(page, true);
            let _ = copy(page, false);
            ensure!(copy(TARGET.address(), true), "the device writes for ever");
            let word = TARGET.word(1);
            ensure!(word == beside ^ 1 || word == 0 || word == u64::MAX, "the device read {:#x} at {:#x}", word, page);
            ensure!(copy(SOURCE.address(), false) && copy(beside, true), "the device copies for ever");
            ensure_equal!(mmio::read64(beside + 8), SOURCE.word(1), "a word beside the page");
        }
    }
    Ok(())
}

/// Where devices of this VM send messages, and the first interrupt that one is: the tree's frame beside the GIC.
const SETSPI: u64 = 0x0802_0040;
pub const FIRST_MESSAGE: u32 = 64;

/// Points MSI at an interrupt, and turns it on.
pub fn point_messages(data: u32) -> Result<(), Stop> {
    let at = host::capability(0x05).ok_or_else(|| host::fail("no MSI capability"))?;
    let word = host::read(at);
    let is_wide = word >> 23 & 1 == 1;
    host::write(at + 4, SETSPI as u32);
    if is_wide {
        host::write(at + 8, 0);
    }
    host::write(at + if is_wide { 12 } else { 8 }, data);
    host::write(at, word & 0xff8f_ffff | 1 << 16);
    ensure_equal!(host::read(at) >> 16 & 1, 1, "MSI Enable");
    ensure_equal!(u64::from(host::read(at + 4)), SETSPI, "the message's address");
    Ok(())
}

/// Each message is one interrupt, and what is no message of this VM's is none.
pub fn messages() -> Outcome {
    if machine().tree.compatible("arm,gic-v2m-frame").is_none() {
        return Err(Stop::Skip("no frame for messages in the tree"));
    }
    let gic = gic::gic();
    host::command(host::MEMORY_SPACE | host::BUS_MASTER | host::INTX_DISABLE, 0);
    gic.enable();
    let intid = FIRST_MESSAGE + 3;
    gic.set_edge(intid, true);
    gic.route(intid, 0);
    gic.set_priority(intid, 0xa0);
    irq::set_handler(acknowledge);
    irq::forget(0);
    gic.enable_intid(intid);
    cpu::unmask_irq();
    point_messages(intid)?;
    for n in 1..=20u32 {
        write(RAISE, 1);
        ensure!(irq::wait_for_count(0, n.into(), SECOND_US), "message {} is lost", n);
    }
    let taken = gic.intid(irq::noted(0, 0));
    // The VM's own UART and timer, another's numbers, LPIs' numbers.
    for bogus in [0, 27, 33, 63, 96, 1023, 8192, 0xffff] {
        point_messages(bogus)?;
        write(RAISE, 1);
        timer::delay(1000);
        write(ACKNOWLEDGE, 1);
    }
    let count = irq::count(0);
    // A storm: as many as the device can send.
    point_messages(intid)?;
    for _ in 0..2000 {
        mmio::write32(host::bar(0) + RAISE, 1);
        mmio::write32(host::bar(0) + ACKNOWLEDGE, 1);
    }
    timer::delay(10_000);
    let storm = irq::count(0);
    gic.disable_intid(intid);
    cpu::mask_irq();
    irq::clear_handler();
    ensure_equal!(taken, intid, "INTID");
    ensure_equal!(count, 20, "interrupts");
    ensure!(storm > count, "no interrupt in a storm");
    Ok(())
}

/// What is in [`LOADED`] when a life begins.
const AS_LOADED: u64 = 0x6c6f_6164_6564;
static LOADED: Buffer = Buffer(UnsafeCell::new([AS_LOADED; 512]));

/// What an earlier life had the device write has had time to arrive, and has not.
pub fn page_is_as_it_was_loaded() -> Outcome {
    timer::delay(300_000);
    for index in 0..512 {
        ensure_equal!(LOADED.word(index), AS_LOADED, "a word of this life");
    }
    Ok(())
}

/// Leaves the device about to write to [`LOADED`]: it takes a tenth of a second.
pub fn leave_writing() {
    host::command(host::MEMORY_SPACE | host::BUS_MASTER, 0);
    start_copy(LOADED.address(), true);
}

/// Has the device write to all that a machine may have beyond this VM's own memory.
pub fn dma_everywhere() -> Outcome {
    host::command(host::MEMORY_SPACE | host::BUS_MASTER, 0);
    for address in (0x4400_0000..0x8000_0000).step_by(0x100_0000).chain((0..0x4000_0000).step_by(0x400_0000)) {
        ensure!(copy(address, true), "the device writes for ever");
    }
    Ok(())
}

/// Leaves the interrupt asserted.
pub fn leave_asserted() {
    host::command(host::MEMORY_SPACE, host::INTX_DISABLE);
    write(RAISE, 1);
}
