//! The doorbell: its registers, and its interrupt.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, mmio, timer};

use crate::region::{self, PATIENCE_US};

const ID: u64 = 0x00;
const PEERS: u64 = 0x04;
const RING: u64 = 0x08;
const RUNG: u64 = 0x0c;

/// The doorbell's registers, for the handler.
static BASE: AtomicU64 = AtomicU64::new(0);
/// How often it has interrupted.
static TIMES: AtomicU64 = AtomicU64::new(0);
/// Whom the handler has answered, a bit each.
static HEARD: AtomicU64 = AtomicU64::new(0);
/// Whether the handler answers.
static ANSWERS: AtomicU64 = AtomicU64::new(1);

/// A doorbell that was found.
#[derive(Clone, Copy)]
pub struct Bell {
    /// Its registers.
    pub base: u64,
    intid: u32,
}

/// Returns the doorbell.
pub fn find() -> Result<Bell, Stop> {
    let node = region::doorbell();
    let found = node.and_then(|node| Some((node.reg(0)?.0, node.intid(0)?)));
    match found {
        Some((base, intid)) => Ok(Bell { base, intid }),
        None => Err(Stop::Fail(Text::new(format_args!("no doorbell")))),
    }
}

fn handle(_: u32) {
    let base = BASE.load(Ordering::Relaxed);
    if ANSWERS.load(Ordering::Relaxed) != 0 {
        // First say that more may come, then look into the memory.
        let rung = mmio::read32(base + RUNG);
        mmio::write32(base + RUNG, rung);
        HEARD.fetch_or(rung.into(), Ordering::Relaxed);
    }
    TIMES.fetch_add(1, Ordering::Relaxed);
}

/// Returns whom the handler has answered, a bit each.
pub fn heard() -> u32 {
    HEARD.load(Ordering::Relaxed) as u32
}

impl Bell {
    /// Lets it interrupt this CPU; `answers`: the handler clears who has rung.
    pub fn listen(self, answers: bool) {
        cpu::mask_irq();
        let gic = gic::gic();
        gic.enable();
        BASE.store(self.base, Ordering::Relaxed);
        TIMES.store(0, Ordering::Relaxed);
        ANSWERS.store(answers.into(), Ordering::Relaxed);
        irq::set_handler(handle);
        gic.set_priority(self.intid, 0xa0);
        gic.set_edge(self.intid, true);
        gic.route(self.intid, 0);
        gic.enable_intid(self.intid);
        // What was rung before is not waited for.
        self.answer();
        cpu::unmask_irq();
    }

    /// Returns how often it has interrupted since [`Bell::listen`].
    pub fn times(self) -> u64 {
        TIMES.load(Ordering::Relaxed)
    }

    /// Clears who has rung; returns who it was.
    pub fn answer(self) -> u32 {
        let rung = mmio::read32(self.base + RUNG);
        mmio::write32(self.base + RUNG, rung);
        rung
    }

    /// Returns who has rung.
    pub fn rung(self) -> u32 {
        mmio::read32(self.base + RUNG)
    }

    /// Rings number `to`.
    pub fn ring(self, to: u32) {
        mmio::write32(self.base + RING, to);
    }

    /// Returns this VM's number.
    pub fn id(self) -> u32 {
        mmio::read32(self.base + ID)
    }

    /// Returns whom a ring would reach, a bit each.
    pub fn peers(self) -> u32 {
        mmio::read32(self.base + PEERS)
    }

    /// Returns the number of the peer of the tree's place `n`.
    pub fn number(self, n: usize) -> Result<u32, Stop> {
        let number = region::doorbell().and_then(|node| node.cell("assay,peers", n));
        number.ok_or_else(|| Stop::Fail(Text::new(format_args!("no peer {}", n))))
    }

    /// Waits until that peer runs, and returns its number.
    pub fn peer(self, n: usize) -> Result<u32, Stop> {
        let number = self.number(n)?;
        let runs = timer::wait_for(PATIENCE_US, || self.peers() & 1 << number != 0);
        ensure!(runs, "peer {} never runs: {:#x}", number, self.peers());
        Ok(number)
    }

    /// Waits for an interrupt after those that are `known`, in WFI. Returns how many there were by then.
    pub fn wait(self, known: u64) -> Result<u64, Stop> {
        let start = timer::now();
        // The virtual timer ends a WFI for which no ring comes.
        timer::Timer::Virtual.arm(PATIENCE_US);
        gic::gic().enable_intid(timer::Timer::Virtual.intid());
        loop {
            cpu::mask_irq();
            let times = self.times();
            if times == known {
                cpu::wfi();
            }
            cpu::unmask_irq();
            if times != known {
                timer::Timer::Virtual.stop();
                return Ok(times);
            }
            if timer::now().wrapping_sub(start) >= timer::ticks(PATIENCE_US) {
                timer::Timer::Virtual.stop();
                return Err(Stop::Fail(Text::new(format_args!("nobody rings after {} times", known))));
            }
        }
    }
}

pub fn registers() -> Outcome {
    let bell = find()?;
    let node = region::doorbell();
    let told = node.and_then(|node| node.u32("assay,id")).unwrap_or(!0);
    ensure_equal!(u64::from(bell.id()), u64::from(told), "ID");
    ensure_equal!(u64::from(mmio::read32(bell.base + RING)), 0, "RING");
    ensure!(bell.peers() & 1 << bell.id() == 0, "its own peer");
    for offset in [0x10, 0x800, 0xffc] {
        ensure_equal!(u64::from(mmio::read32(bell.base + offset)), 0, "what is not there");
        mmio::write32(bell.base + offset, !0);
    }
    ensure_equal!(u64::from(mmio::read8(bell.base)), 0, "ID by a byte");
    mmio::write32(bell.base + ID, 77);
    ensure_equal!(u64::from(bell.id()), u64::from(told), "ID after a store");
    ensure!(mmio::probe_read(bell.base + 0x1000, 4).is_err(), "something is behind the page");
    Ok(())
}
