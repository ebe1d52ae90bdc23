//! Serving one device: its driver's life, and its queues.

use std::os::fd::BorrowedFd;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT as _, QueueT as _};
use vm_memory::GuestMemoryMmap;

use crate::face::{
    BREAK, CONFIG, CONTROL, DEVICE_FEATURES, DRIVER_FEATURES, EVENTS, INTERRUPT, LET_GO, QUEUES, READY, RESET,
    Registers, SERVE,
};

/// The driver's RAM.
pub type Memory = GuestMemoryMmap;

/// The most entries of a queue.
const SIZE: u16 = 256;
/// Features of all devices. (Virtual I/O Device 1.2 §6)
const INDIRECT: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
/// Bytes of a queue's registers.
const STRIDE: u64 = 0x40;

/// The driver has broken the device's rules; in words.
#[derive(Debug)]
pub struct Broken(pub String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a device does.
pub trait Device {
    /// Its features, but for those of all devices.
    fn features(&self) -> u64;
    /// Those of them that a driver must take.
    fn required(&self) -> u64 {
        0
    }
    /// Its configuration space.
    fn config(&self) -> Vec<u8>;
    /// How many queues it has.
    fn queues(&self) -> usize;

    /// Handles what the driver has put into a queue. Returns how many bytes it has written into it; `None` if it is for
    /// input, and there is none.
    ///
    /// # Errors
    /// The driver has broken the rules.
    fn handle(
        &mut self,
        queue: usize,
        chain: &DescriptorChain<&Memory>,
        memory: &Memory,
    ) -> Result<Option<u32>, Broken>;

    /// Where input comes from, for the device's queue 0.
    fn input(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A device, and the queues that its driver has set up.
pub struct Server<R, D> {
    /// The device's registers.
    pub registers: R,
    /// What it does.
    pub device: D,
    memory: Memory,
    queues: Vec<Option<Queue>>,
    /// The driver has left room for input.
    wants_input: bool,
}

impl<R: Registers, D: Device> Server<R, D> {
    /// Begins to serve the device of a driver with this RAM.
    pub fn start(registers: R, device: D, memory: Memory) -> Self {
        let features = device.features() | INDIRECT | EVENT_IDX | VERSION_1;
        let [low, high] = halves(features);
        registers.store(DEVICE_FEATURES, low);
        registers.store(DEVICE_FEATURES + 4, high);
        for (word, offset) in device.config().chunks(4).zip((CONFIG..).step_by(4)) {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            registers.store(offset, u32::from_le_bytes(bytes));
        }
        for queue in 0..device.queues() {
            registers.store(QUEUES + queue as u64 * STRIDE, SIZE.into());
        }
        registers.store(CONTROL, SERVE);
        Self { registers, device, memory, queues: Vec::new(), wants_input: false }
    }

    /// Handles what has happened since the last call. What is wrong with the driver is returned too, in words; its device
    /// is broken until it resets it.
    pub fn look(&mut self) -> Option<String> {
        let events = self.registers.load(EVENTS);
        if events & RESET != 0 {
            self.queues.clear();
            self.wants_input = false;
            self.registers.store(CONTROL, LET_GO);
        }
        let kicked = if events & READY != 0 { self.set_up() } else { Ok(events) };
        let result = kicked.and_then(|kicked| self.kicked(kicked));
        self.report(result)
    }

    /// Handles input.
    pub fn feed(&mut self) -> Option<String> {
        let result = self.process(0);
        self.report(result)
    }

    /// Where input comes from that the driver has room for.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.device.input().filter(|_| self.wants_input)
    }

    fn report(&mut self, result: Result<(), Broken>) -> Option<String> {
        let Broken(what) = result.err()?;
        self.queues.clear();
        self.wants_input = false;
        self.registers.store(CONTROL, BREAK);
        Some(what)
    }

    /// Takes the queues as the driver has set them up. Returns all of them, a bit each.
    fn set_up(&mut self) -> Result<u32, Broken> {
        let features = self.registers.load_wide(DRIVER_FEATURES);
        self.queues.clear();
        let missing = self.device.required() & !features;
        if missing != 0 {
            return Err(Broken(format!("the driver lacks the features {missing:#x}")));
        }
        for index in 0..self.device.queues() {
            let queue = self.queue(QUEUES + index as u64 * STRIDE, features)?;
            self.queues.push(queue);
        }
        Ok((1 << self.queues.len()) - 1)
    }

    /// Reads a queue's registers.
    fn queue(&self, at: u64, features: u64) -> Result<Option<Queue>, Broken> {
        let word = |offset| self.registers.load(at + offset);
        if word(8) == 0 {
            return Ok(None);
        }
        let mut queue = Queue::new(SIZE)?;
        let size = u16::try_from(word(4)).ok().filter(|size| size.is_power_of_two() && *size <= SIZE);
        queue.set_size(size.ok_or_else(|| Broken("a queue's size is no power of two up to 256".into()))?);
        queue.set_desc_table_address(Some(word(0x10)), Some(word(0x14)));
        queue.set_avail_ring_address(Some(word(0x18)), Some(word(0x1c)));
        queue.set_used_ring_address(Some(word(0x20)), Some(word(0x24)));
        queue.set_event_idx(features & EVENT_IDX != 0);
        queue.set_ready(true);
        if queue.is_valid(&self.memory) { Ok(Some(queue)) } else { Err(Broken("a queue is not in RAM".into())) }
    }

    fn kicked(&mut self, kicked: u32) -> Result<(), Broken> {
        (0..self.queues.len()).filter(|queue| kicked >> queue & 1 == 1).try_for_each(|queue| self.process(queue))
    }

    /// Handles what is in a queue.
    fn process(&mut self, index: usize) -> Result<(), Broken> {
        let Self { registers, device, memory, queues, wants_input } = self;
        let Some(Some(queue)) = queues.get_mut(index) else { return Ok(()) };
        let memory = &*memory;
        let mut waits = false;
        while !waits {
            queue.disable_notification(memory)?;
            while let Some(chain) = queue.iter(memory)?.next() {
                match device.handle(index, &chain, memory)? {
                    Some(written) => queue.add_used(memory, chain.head_index(), written)?,
                    None => {
                        queue.go_to_previous_position();
                        waits = true;
                        break;
                    }
                }
            }
            // There may be more by now.
            if waits || !queue.enable_notification(memory)? {
                break;
            }
        }
        if index == 0 {
            *wants_input = waits;
        }
        if queue.needs_notification(memory)? {
            registers.store(INTERRUPT, 1);
        }
        Ok(())
    }
}

fn halves(value: u64) -> [u32; 2] {
    let bytes = value.to_le_bytes();
    [0, 4].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}
