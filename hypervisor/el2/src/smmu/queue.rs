//! The command queue and the event queue: rings whose indices count through twice (IHI 0070G.b §3.5.1).

use assay_spec::addr::PAGE_SIZE;
use assay_spec::smmu::command::{self, Command};
use assay_spec::smmu::event::{self, Event};
use assay_spec::smmu::{Features, GERROR_CMDQ, OVERFLOW};
use tock_registers::interfaces::{Readable as _, Writeable as _};

use super::registers::{Block, wait};
use super::{SmmuError, take_memory};
use crate::device_memory::DeviceMemory;
use crate::sysreg::dsb_sy;

/// A ring of 2^`bits` entries of `entry` bytes.
struct Ring {
    memory: DeviceMemory,
    bits: u8,
    entry: u64,
}

impl Ring {
    /// Makes one of a page, or shorter if the SMMU wants that.
    fn new(entry: u64, most_bits: u8, features: Features) -> Result<Self, SmmuError> {
        let bits = ((PAGE_SIZE / entry).ilog2() as u8).min(most_bits);
        Ok(Self { memory: take_memory(PAGE_SIZE, features)?, bits, entry })
    }

    /// The bits of an index: the place, and one that toggles with each round.
    fn mask(&self) -> u32 {
        (2 << self.bits) - 1
    }

    fn next(&self, index: u32) -> u32 {
        index.wrapping_add(1) & self.mask()
    }

    fn offset(&self, index: u32) -> u64 {
        u64::from(index & (self.mask() >> 1)) * self.entry
    }
}

/// Makes both queues.
pub(super) fn make(features: Features) -> Result<(Commands, Events), SmmuError> {
    let (commands, events) = features.queue_bits;
    let commands = Ring::new(command::BYTES, commands, features)?;
    let events = Ring::new(event::BYTES, events, features)?;
    Ok((Commands { ring: commands, producer: 0, is_behind: false }, Events { ring: events, consumer: 0 }))
}

/// The command queue.
pub(super) struct Commands {
    ring: Ring,
    producer: u32,
    /// The SMMU has not consumed what it was given last.
    is_behind: bool,
}

impl Commands {
    /// Returns its memory and the bits of its indices.
    pub(super) fn place(&self) -> (&DeviceMemory, u8) {
        (&self.ring.memory, self.ring.bits)
    }

    /// Gives these commands, fewer than the 7 that each queue has room for, and waits until they are complete. While those
    /// before are not, no more are given: they could overtake the SMMU in the ring.
    pub(super) fn run(&mut self, registers: &Block, commands: &[Command]) -> Result<(), SmmuError> {
        if self.is_behind && !self.is_consumed(registers) {
            return Err(SmmuError::NoAnswer("SMMU_CMDQ_CONS"));
        }
        for command in commands.iter().chain([&command::SYNC]) {
            let offset = self.ring.offset(self.producer);
            self.ring.memory.store(offset, command[0]);
            self.ring.memory.store(offset + 8, command[1]);
            self.producer = self.ring.next(self.producer);
        }
        registers.cmdq_prod.set(self.producer);
        let is_stopped = || (registers.gerror.get() ^ registers.gerrorn.get()) & GERROR_CMDQ != 0;
        let outcome = wait("SMMU_CMDQ_CONS", || self.is_consumed(registers) || is_stopped());
        // A command that it does not understand it does not consume.
        self.is_behind = !self.is_consumed(registers);
        if is_stopped() { Err(SmmuError::NoAnswer("SMMU_GERROR.CMDQ_ERR")) } else { outcome }
    }

    fn is_consumed(&self, registers: &Block) -> bool {
        registers.cmdq_cons.get() & self.ring.mask() == self.producer
    }
}

/// The event queue.
pub(super) struct Events {
    ring: Ring,
    consumer: u32,
}

impl Events {
    /// Returns its memory and the bits of its indices.
    pub(super) fn place(&self) -> (&DeviceMemory, u8) {
        (&self.ring.memory, self.ring.bits)
    }

    /// Takes an event, and tells whether some were lost.
    pub(super) fn take(&mut self, registers: &Block) -> Option<(Event, bool)> {
        let producer = registers.eventq_prod.get();
        if producer & self.ring.mask() == self.consumer {
            return None;
        }
        let lost = (producer ^ registers.eventq_cons.get()) & OVERFLOW != 0;
        // The entry is read after the index that says that it is there.
        dsb_sy();
        let offset = self.ring.offset(self.consumer);
        let word = |index: u64| self.ring.memory.load(offset + 8 * index);
        let event = Event::of([word(0), word(1), word(2), word(3)]);
        self.consumer = self.ring.next(self.consumer);
        // The entry has been read before it is the SMMU's again.
        dsb_sy();
        registers.eventq_cons.set(producer & OVERFLOW | self.consumer);
        Some((event, lost))
    }
}
