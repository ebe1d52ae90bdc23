//! A virtio device whose driver is in one VM and whose backend is in another.
//!
//! EL2 keeps the registers and carries interrupts; what is in the queues, and moves through them, is the two VMs'. The
//! driver has the registers of virtio over MMIO (`front`), the backend the other face of the same registers
//! (`back`), in BAR 0 of a PCI function. (Virtual I/O Device 1.2 §4.2.2, §4.2.3, §2.1.)

mod back;
mod front;
#[cfg(test)]
mod tests;

use assay_spec::addr::{Ipa, Region};
use assay_spec::exit::Width;

pub use back::config_word;

use spin::relax::Spin;

use crate::lock::{Mutex, VIRTIO};

/// The most queues of a device.
const QUEUE_COUNT: u32 = 4;
const QUEUES: usize = QUEUE_COUNT as usize;
/// Bytes of configuration space.
const CONFIG: usize = 256;

/// Device status bits. (Virtual I/O Device 1.2 §2.1)
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;
/// The feature that every device has. (§6)
const VERSION_1: u64 = 1 << 32;
/// Bits of InterruptStatus: a buffer was used, the configuration has changed. (§4.2.2)
const USED: u32 = 1;
const CHANGED: u32 = 2;

/// What a device is: its number in virtio. (Virtual I/O Device 1.2 §5)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A network card.
    Net = 1,
    /// A disk.
    Block = 2,
    /// A console.
    Console = 3,
}

impl Kind {
    /// Reads the manifest's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "net" => Some(Self::Net),
            "block" => Some(Self::Block),
            "console" => Some(Self::Console),
            _ => None,
        }
    }
}

/// A device, which both VMs have.
pub struct Link {
    /// Its number among those of all VMs, by the manifest.
    pub number: usize,
    /// What it is.
    pub kind: Kind,
    /// The RAM of the VM with the driver: the addresses that may be in its queues.
    pub ram: Region<Ipa>,
    state: Mutex<State, VIRTIO, Spin>,
}

/// Who has to be told of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// The driver's interrupt line may have changed.
    pub front: bool,
    /// What a vCPU of the driver's VM waits for may be there.
    pub wake: bool,
    /// The backend's interrupt line may have changed.
    pub back: bool,
}

/// What an access comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is done, and loads this.
    Done(u64, News),
    /// The backend has to act first: the vCPU waits, and tries again.
    Wait(News),
}

/// One queue, as the driver has set it up.
#[derive(Clone, Copy, Default)]
struct Queue {
    /// The backend's limit of its size, 0 if there is no such queue.
    max: u32,
    size: u32,
    ready: u32,
    /// Of descriptors, the driver's area and the device's area: lower and upper halves.
    areas: [u32; 6],
}

struct State {
    /// There is a backend.
    is_served: bool,
    /// The driver has reset the device, and the backend may still be in its queues.
    is_resetting: bool,
    status: u32,
    device_features: u64,
    driver_features: u64,
    /// Which half of each is selected.
    device_half: u32,
    driver_half: u32,
    selected: u32,
    queues: [Queue; QUEUES],
    interrupt: u32,
    /// What the backend is to hear of.
    events: u32,
    generation: u32,
    config: [u8; CONFIG],
}

impl Link {
    /// Makes a device that no backend serves.
    pub const fn new(number: usize, kind: Kind, ram: Region<Ipa>) -> Self {
        let queue = Queue { max: 0, size: 0, ready: 0, areas: [0; 6] };
        let state = State {
            is_served: false,
            is_resetting: false,
            status: 0,
            device_features: 0,
            driver_features: 0,
            device_half: 0,
            driver_half: 0,
            selected: 0,
            queues: [queue; QUEUES],
            interrupt: 0,
            events: 0,
            generation: 0,
            config: [0; CONFIG],
        };
        Self { number, kind, ram, state: Mutex::new(state) }
    }

    /// The driver's interrupt line.
    pub fn front_level(&self) -> bool {
        self.state.lock().interrupt != 0
    }

    /// The backend's interrupt line, before its function's own mask.
    pub fn back_level(&self) -> bool {
        self.state.lock().events != 0
    }

    /// A life of the driver's VM has ended.
    pub fn end_front(&self) -> News {
        self.state.lock().reset()
    }

    /// A life of the backend's VM has ended.
    pub fn end_back(&self) -> News {
        self.state.lock().leave()
    }
}

impl State {
    /// The device is as at power-on, but for what the backend has set. One that serves queues is told, and they are the
    /// driver's again only once it has answered.
    fn reset(&mut self) -> News {
        let was_live = self.is_served && self.status & DRIVER_OK != 0;
        self.status = 0;
        self.driver_features = 0;
        (self.device_half, self.driver_half, self.selected) = (0, 0, 0);
        for queue in &mut self.queues {
            *queue = Queue { max: queue.max, ..Queue::default() };
        }
        self.interrupt = 0;
        self.events = 0;
        if was_live || self.is_resetting {
            self.is_resetting = true;
            self.events = back::RESET;
        }
        News { front: true, back: true, wake: false }
    }

    /// There is no backend any more: nobody is in the queues.
    fn leave(&mut self) -> News {
        self.is_served = false;
        self.is_resetting = false;
        self.events = 0;
        self.break_();
        News { front: true, back: true, wake: true }
    }

    /// Has a driver that uses the device reset it. (§2.1.2)
    fn break_(&mut self) {
        if self.status & DRIVER_OK != 0 {
            self.status |= NEEDS_RESET;
            self.interrupt |= CHANGED;
        }
    }

    /// Reads configuration space, zero beyond its end.
    fn config(&self, offset: u64, width: Width) -> u64 {
        let bytes = (offset..offset + width.bytes()).rev();
        let byte = |at: u64| usize::try_from(at).ok().and_then(|at| self.config.get(at).copied()).unwrap_or(0);
        bytes.fold(0, |value, at| value << 8 | u64::from(byte(at)))
    }
}

/// Returns the half of a number that is selected: 0 or 1; zero for others.
const fn half(value: u64, which: u32) -> u32 {
    match which {
        0 => (value & 0xffff_ffff) as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

/// Replaces that half.
fn set_half(value: &mut u64, which: u32, new: u32) {
    match which {
        0 => *value = *value >> 32 << 32 | u64::from(new),
        1 => *value = u64::from(new) << 32 | *value & 0xffff_ffff,
        _ => {}
    }
}
