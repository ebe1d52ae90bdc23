//! The Interrupt Translation Service: messages of devices become LPIs, which are EL2's (IHI 0069H §5). Turned off at the
//! boot, set up once for those that are needed, with tables that stay; while guests run no command is given.

use core::ops::Range;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::its::{self, Command, Table, Typer};
use tock_registers::interfaces::{Readable as _, Writeable as _};
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite};

pub use super::its_error::ItsError;
use super::v3::lpis;
use crate::claim::claim;
use crate::device_memory::DeviceMemory;
use crate::frames::Use;
use crate::mmio::{Mmio, Registers, wait_until};

register_structs! {
    /// The control frame (IHI 0069H §12.18).
    Control {
        (0x000 => ctlr: ReadWrite<u32>),
        (0x004 => _reserved0),
        (0x008 => typer: ReadOnly<u64>),
        (0x010 => _reserved1),
        (0x080 => cbaser: ReadWrite<u64>),
        (0x088 => cwriter: ReadWrite<u64>),
        (0x090 => creadr: ReadOnly<u64>),
        (0x098 => _reserved2),
        (0x100 => baser: [ReadWrite<u64>; 8]),
        (0x140 => @END),
    }
}

// SAFETY: registers only. What makes the ITS write to memory are GITS_BASER<n> and the tables of devices, which are
// `DeviceMemory`; this module alone reaches them, and sets GITS_BASER<n> once, while it is off (`Closed::open` takes the one
// claim to the registers with it).
unsafe impl Registers for Control {}

/// An ITS that is off: no message becomes an interrupt, and nothing is written to memory.
pub struct Closed(Mmio<Control>);

/// An ITS that is on.
pub struct Its {
    registers: Mmio<Control>,
    typer: Typer,
    queue: DeviceMemory,
    /// Where the next command goes.
    writer: u64,
    /// Of devices, of collections, then each device's: it writes there for good.
    tables: alloc::vec::Vec<DeviceMemory>,
    /// The devices that have an owner.
    taken: alloc::vec::Vec<u32>,
    /// It has not consumed what it was given last.
    is_behind: bool,
}

fn wait(what: &'static str, is_done: impl Fn() -> bool) -> Result<(), ItsError> {
    if wait_until(is_done) { Ok(()) } else { Err(ItsError::NoAnswer(what)) }
}

fn turn_off(registers: &Control) -> Result<(), ItsError> {
    registers.ctlr.set(registers.ctlr.get() & !its::CTLR_ENABLED);
    wait("GITS_CTLR.Quiescent", || registers.ctlr.get() & its::CTLR_QUIESCENT != 0)
}

impl Closed {
    /// Turns off the ITS whose control frame the caller has mapped as Device, in whatever state firmware left it; before
    /// LPIs of the Redistributors, which it could still send. What it has cached of firmware's tables goes with these.
    ///
    /// # Errors
    /// [`ItsError::BadFrame`], also if somebody has taken it; [`ItsError::NoAnswer`]: it may still write to firmware's
    /// tables.
    pub fn take(control: Region<Pa>) -> Result<Self, ItsError> {
        let bad = ItsError::BadFrame(control);
        let registers: Mmio<Control> = Mmio::new(control).filter(|_| claim(control, Use::Master)).ok_or(bad)?;
        // GITS_CTLR is at 0.
        if !registers.answers(0) {
            return Err(ItsError::NoAnswer("its registers"));
        }
        turn_off(&registers)?;
        // Caches are sure to be empty when both Enabled and Valid have been cleared (GITS_TYPER.INV).
        registers.baser.iter().for_each(|baser| baser.set(0));
        registers.cbaser.set(0);
        Ok(Self(registers))
    }

    /// Turns it on for devices up to `highest`, and LPIs on all CPUs that are up. At the boot; allocates.
    ///
    /// # Errors
    /// Each [`ItsError`]; no message becomes an interrupt then.
    pub fn open(self, highest: u32) -> Result<Its, ItsError> {
        let Self(registers) = self;
        let typer = Typer(registers.typer.get());
        if typer.may_raise_serrors() {
            return Err(ItsError::Serrors);
        }
        if u64::from(highest) >> typer.device_bits() != 0 {
            return Err(ItsError::TooLarge(highest));
        }
        lpis::enable()?;
        let mut tables = alloc::vec::Vec::new();
        for baser in &registers.baser {
            let (kind, entry) = its::table(baser.get());
            let entries = match kind {
                Table::Devices => u64::from(highest) + 1,
                Table::Collections => crate::cpus::count() as u64,
                Table::Other => {
                    baser.set(0);
                    continue;
                }
            };
            tables.push(give_table(baser, entries * entry, highest)?);
        }
        let queue = DeviceMemory::take(its::QUEUE_ALIGN).ok_or(ItsError::NoMemory)?;
        registers.cbaser.set(its::cbaser(queue.region().start));
        if !its::is_shareable(registers.cbaser.get()) {
            return Err(ItsError::NotCoherent);
        }
        registers.cwriter.set(0);
        registers.ctlr.set(its::CTLR_ENABLED);
        let taken = alloc::vec::Vec::new();
        let mut own = Its { registers, typer, queue, writer: 0, tables, taken, is_behind: false };
        let outcome = own.map_collections();
        if outcome.is_err() {
            let _ = turn_off(&own.registers);
        }
        outcome.map(|()| own)
    }
}

impl Its {
    /// Gives each CPU that is up the collection of its number.
    fn map_collections(&mut self) -> Result<(), ItsError> {
        for cpu in 0..crate::cpus::count() {
            if let Some(target) = lpis::target(self.typer, PcpuId(cpu)) {
                let collection = cpu as u16;
                self.run(&[
                    its::map_collection(collection, target),
                    its::reload_collection(collection),
                    its::sync(target),
                ])?;
            }
        }
        Ok(())
    }

    /// Has `events` of `device` become the LPIs from `first` on, at CPU `cpu`. All others of this device, and all devices
    /// that nobody asked for, become nothing. At the boot; allocates.
    ///
    /// # Errors
    /// [`ItsError::Taken`], [`ItsError::TooLarge`], [`ItsError::NoMemory`], [`ItsError::NoAnswer`].
    pub fn map(&mut self, device: u32, events: Range<u32>, first: u32, cpu: PcpuId) -> Result<(), ItsError> {
        if self.taken.contains(&device) {
            return Err(ItsError::Taken(device));
        }
        let bits = u32::BITS - events.end.saturating_sub(1).leading_zeros();
        let lasts = first.checked_add(events.len() as u32).is_some_and(|end| end <= 1 << its::INTID_BITS);
        let target = lpis::target(self.typer, cpu).filter(|_| lasts && bits <= self.typer.event_bits());
        let target = target.ok_or(ItsError::TooLarge(device))?;
        let table = DeviceMemory::take(self.typer.entry_bytes() << bits).ok_or(ItsError::NoMemory)?;
        self.run(&[its::map_device(device, table.region().start, bits)])?;
        self.tables.push(table);
        self.taken.push(device);
        let collection = cpu.0 as u16;
        for (lpi, event) in (first..).zip(events) {
            self.run(&[its::map_event(device, event, lpi, collection)])?;
        }
        self.run(&[its::reload_collection(collection), its::sync(target)])
    }

    /// Gives commands, and waits until they are done. While those before are not, no more are given: they could overtake it
    /// in the queue.
    fn run(&mut self, commands: &[Command]) -> Result<(), ItsError> {
        const CREADR: &str = "GITS_CREADR";
        if self.is_behind && !self.is_consumed() {
            return Err(ItsError::NoAnswer(CREADR));
        }
        for command in commands {
            for (word, value) in (0..).zip(command) {
                self.queue.store(self.writer + 8 * word, *value);
            }
            self.writer = (self.writer + its::COMMAND_BYTES) % PAGE_SIZE;
        }
        self.registers.cwriter.set(self.writer);
        let done = wait(CREADR, || self.is_consumed());
        self.is_behind = done.is_err();
        done
    }

    fn is_consumed(&self) -> bool {
        // Bit 0: stalled.
        self.registers.creadr.get() & 0xf_ffe1 == self.writer
    }
}

/// Gives a register a flat table of `bytes`, in the size of page that it has.
fn give_table(baser: &ReadWrite<u64>, bytes: u64, highest: u32) -> Result<DeviceMemory, ItsError> {
    const LARGEST: u64 = 256 * PAGE_SIZE;
    if bytes > LARGEST {
        return Err(ItsError::TooLarge(highest));
    }
    // 64 KiB: what every size of page is content with.
    let table = DeviceMemory::take(bytes.max(0x1_0000)).ok_or(ItsError::NoMemory)?;
    let pages = bytes.div_ceil(PAGE_SIZE);
    baser.set(its::baser(table.region().start, pages));
    let size = baser.get() >> 8 & 3;
    if size != 0 {
        let page = if size == 1 { 0x4000 } else { 0x1_0000 };
        baser.set(its::baser(table.region().start, bytes.div_ceil(page)) | size << 8);
    }
    if !its::is_shareable(baser.get()) {
        return Err(ItsError::NotCoherent);
    }
    Ok(table)
}
