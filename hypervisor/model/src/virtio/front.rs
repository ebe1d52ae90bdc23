//! The driver's face: the registers of virtio over MMIO, version 2. (Virtual I/O Device 1.2 §4.2.2)
//!
//! Two accesses wait until a backend has acted: a load of DeviceID while there is none, since a device without a backend
//! is not known yet; and the store of 0 to Status, since Linux takes the queues' memory for its own as soon as that is done
//! (`vm_reset`), and does not look whether Status reads 0.

use assay_spec::exit::Width;

use super::{
    Answer, DRIVER_OK, FEATURES_OK, Link, NEEDS_RESET, News, QUEUE_COUNT, Queue, State, VERSION_1, half, set_half,
};

const MAGIC_VALUE: u64 = 0x000;
const VERSION: u64 = 0x004;
const DEVICE_ID: u64 = 0x008;
const VENDOR_ID: u64 = 0x00c;
const DEVICE_FEATURES: u64 = 0x010;
const DEVICE_FEATURES_SEL: u64 = 0x014;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SEL: u64 = 0x024;
const QUEUE_SEL: u64 = 0x030;
const QUEUE_SIZE_MAX: u64 = 0x034;
const QUEUE_SIZE: u64 = 0x038;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const INTERRUPT_ACK: u64 = 0x064;
const STATUS: u64 = 0x070;
const SHM_LEN_LOW: u64 = 0x0b0;
const SHM_BASE_HIGH: u64 = 0x0bc;
const CONFIG_GENERATION: u64 = 0x0fc;
const CONFIG: u64 = 0x100;

/// "virt".
const MAGIC: u32 = 0x7472_6976;
/// "assy": whose the device is. Drivers do not ask.
const VENDOR: u32 = 0x7973_7361;

/// The offsets of a queue's addresses, lower and upper halves.
const AREAS: [u64; 6] = [0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4];

impl Link {
    /// Loads a register, by an offset below 4 KiB. Registers are 32 bits wide: other widths read as zero, but in
    /// configuration space.
    pub fn front_read(&self, offset: u64, width: Width) -> Answer {
        let state = self.state.lock();
        if offset >= CONFIG {
            return Answer::Done(state.config(offset - CONFIG, width), News::default());
        }
        if width != Width::W4 {
            return Answer::Done(0, News::default());
        }
        let value = match offset {
            MAGIC_VALUE => MAGIC,
            VERSION => 2,
            DEVICE_ID if !state.is_served || state.is_resetting => return Answer::Wait(News::default()),
            DEVICE_ID => self.kind as u32,
            VENDOR_ID => VENDOR,
            DEVICE_FEATURES => half(state.device_features, state.device_half),
            QUEUE_SIZE_MAX => state.queue().max,
            QUEUE_READY => state.queue().ready,
            INTERRUPT_STATUS => state.interrupt,
            STATUS => state.status,
            // There is no shared memory: all of them have length and base of all ones. (§4.2.2)
            SHM_LEN_LOW..=SHM_BASE_HIGH => u32::MAX,
            CONFIG_GENERATION => state.generation,
            _ => 0,
        };
        Answer::Done(value.into(), News::default())
    }

    /// Stores to a register. What is no register of 32 bits, or cannot be set, ignores it; so does configuration space,
    /// where no device that is offered has anything to set.
    pub fn front_write(&self, offset: u64, width: Width, value: u64) -> Answer {
        let mut state = self.state.lock();
        let value = (value & 0xffff_ffff) as u32;
        let mut news = News::default();
        match offset {
            _ if width != Width::W4 => {}
            DEVICE_FEATURES_SEL => state.device_half = value,
            DRIVER_FEATURES if state.status & FEATURES_OK == 0 => {
                let which = state.driver_half;
                set_half(&mut state.driver_features, which, value);
            }
            DRIVER_FEATURES_SEL => state.driver_half = value,
            // No larger index is ever there, predicted or not.
            QUEUE_SEL => state.selected = value.min(QUEUE_COUNT),
            QUEUE_SIZE => state.set(|queue| queue.size = value),
            QUEUE_READY => state.set(|queue| queue.ready = value & 1),
            QUEUE_NOTIFY => news.back = state.notify(value),
            INTERRUPT_ACK => {
                state.interrupt &= !value;
                news.front = true;
            }
            STATUS if value & 0xff == 0 => return state.ask_for_reset(),
            STATUS => news.back = state.set_status(value),
            _ => {
                if let Some(area) = AREAS.iter().position(|register| *register == offset) {
                    state.set(|queue| queue.areas[area] = value);
                }
            }
        }
        Answer::Done(0, news)
    }
}

impl State {
    fn queue(&self) -> Queue {
        let index = usize::try_from(self.selected).unwrap_or(usize::MAX);
        self.queues.get(index).copied().unwrap_or_default()
    }

    fn set(&mut self, change: impl FnOnce(&mut Queue)) {
        let index = usize::try_from(self.selected).unwrap_or(usize::MAX);
        if let Some(queue) = self.queues.get_mut(index) {
            change(queue);
        }
    }

    /// Returns whether the backend is to be told of buffers in a queue.
    fn notify(&mut self, queue: u32) -> bool {
        let is_live = self.is_served && self.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK;
        if is_live && queue < QUEUE_COUNT {
            self.events |= 1 << queue;
        }
        is_live
    }

    /// Sets bits of Status: only a reset clears any (§2.1.1), so that what a backend works on is never forgotten without
    /// one. The device takes features if it has them all, and is one that the driver knows by version.
    /// Returns whether the backend is to be told: of queues that are ready.
    fn set_status(&mut self, value: u32) -> bool {
        let mut value = value & 0xff & !NEEDS_RESET | self.status;
        let fits = self.driver_features & !self.device_features == 0 && self.driver_features & VERSION_1 != 0;
        if value & !self.status & FEATURES_OK != 0 && !fits {
            value &= !FEATURES_OK;
        }
        let is_news = self.is_served && value & !self.status & DRIVER_OK != 0;
        self.status = value;
        if is_news {
            self.events |= super::back::READY;
        }
        is_news
    }

    /// A store of 0 to Status, and what is tried again after a wait.
    fn ask_for_reset(&mut self) -> Answer {
        let news = if self.is_resetting { News::default() } else { self.reset() };
        if self.is_resetting { Answer::Wait(news) } else { Answer::Done(0, news) }
    }
}
