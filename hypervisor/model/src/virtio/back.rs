//! The backend's face: the registers in BAR 0 of its PCI function. `docs/virtio.md` has the table.

use assay_spec::exit::Width;

use super::{CHANGED, DRIVER_OK, Link, News, QUEUE_COUNT, QUEUES, State, USED, half, set_half};
use crate::pci::header::{CLASS, COMMAND, ID};

const MAGIC: u64 = 0x00;
const VERSION: u64 = 0x04;
const KIND: u64 = 0x08;
const EVENTS: u64 = 0x0c;
const STATUS: u64 = 0x10;
const CONTROL: u64 = 0x14;
const INTERRUPT: u64 = 0x18;
const QUEUES_REGISTER: u64 = 0x1c;
const RAM: u64 = 0x20;
const DEVICE_FEATURES: u64 = 0x30;
const DRIVER_FEATURES: u64 = 0x38;
const CONFIG: u64 = 0x100;
const CONFIG_END: u64 = 0x200;
const QUEUES_END: u64 = 0x300;

/// "asyv".
const MAGIC_VALUE: u32 = 0x7679_7361;

/// Bits of EVENTS above those of the queues: the driver has set the device up; it has reset it.
pub(super) const READY: u32 = 1 << 8;
pub(super) const RESET: u32 = 1 << 9;

/// What is stored to CONTROL: there is no backend; there is one; it is in no queue any more; the driver has broken the
/// device's rules, and must reset it.
const LEAVE: u32 = 0;
const SERVE: u32 = 1;
const LET_GO: u32 = 2;
const BREAK: u32 = 3;

/// Vendor 0x1234 is given to nobody, and used for devices without one; base class 0xff fits no other class.
const FACE_ID: u32 = 0xa55a_1234;
const FACE_CLASS: u32 = 0xff00_0001;
/// Status, in the upper half of [`COMMAND`]: INTx is asserted.
const INTERRUPT_STATUS: u32 = 1 << 19;

/// Returns a word of the function's own configuration space, if its line is as said.
pub const fn config_word(offset: u16, level: bool) -> u32 {
    match offset {
        ID => FACE_ID,
        CLASS => FACE_CLASS,
        COMMAND if level => INTERRUPT_STATUS,
        _ => 0,
    }
}

impl Link {
    /// Loads a register, by an offset below 4 KiB. Registers are 32 bits wide: other widths read as zero. A load of EVENTS
    /// takes them.
    pub fn back_read(&self, offset: u64, width: Width) -> (u64, News) {
        let mut state = self.state.lock();
        let mut news = News::default();
        let value = match offset {
            _ if width != Width::W4 => 0,
            MAGIC => MAGIC_VALUE,
            VERSION => 1,
            KIND => self.kind as u32,
            EVENTS => {
                news.back = true;
                core::mem::take(&mut state.events)
            }
            STATUS => state.status,
            CONTROL => u32::from(state.is_served) | u32::from(state.is_resetting) << 1,
            INTERRUPT => state.interrupt,
            QUEUES_REGISTER => QUEUE_COUNT,
            RAM | 0x24 => half(self.ram.start.0, index(offset - RAM)),
            0x28 | 0x2c => half(self.ram.size, index(offset - 0x28)),
            DEVICE_FEATURES | 0x34 => half(state.device_features, index(offset - DEVICE_FEATURES)),
            DRIVER_FEATURES | 0x3c => half(state.driver_features, index(offset - DRIVER_FEATURES)),
            CONFIG..CONFIG_END => return (state.config(offset - CONFIG, width), news),
            CONFIG_END..QUEUES_END => state.queue_word(offset - CONFIG_END),
            _ => 0,
        };
        (value.into(), news)
    }

    /// Stores to a register. What is no register of 32 bits, or cannot be set, ignores it.
    pub fn back_write(&self, offset: u64, width: Width, value: u64) -> News {
        let mut state = self.state.lock();
        let value = (value & 0xffff_ffff) as u32;
        match offset {
            _ if width != Width::W4 => {}
            CONTROL => return state.control(value),
            INTERRUPT if state.status & DRIVER_OK != 0 => {
                state.interrupt |= value & (USED | CHANGED);
                return News { front: true, ..News::default() };
            }
            DEVICE_FEATURES | 0x34 => set_half(&mut state.device_features, index(offset - DEVICE_FEATURES), value),
            CONFIG..CONFIG_END => state.set_config(offset - CONFIG, value),
            CONFIG_END..QUEUES_END if offset & 0x3f == 0 => {
                let queue = usize::try_from((offset - CONFIG_END) >> 6).unwrap_or(QUEUES);
                if let Some(queue) = state.queues.get_mut(queue) {
                    queue.max = value;
                }
            }
            _ => {}
        }
        News::default()
    }
}

impl State {
    /// A word of the table of queues, of 64 bytes each.
    fn queue_word(&self, offset: u64) -> u32 {
        let Some(queue) = usize::try_from(offset >> 6).ok().and_then(|index| self.queues.get(index)) else {
            return 0;
        };
        match offset & 0x3f {
            0x00 => queue.max,
            0x04 => queue.size,
            0x08 => queue.ready,
            at @ 0x10..0x28 if at & 3 == 0 => queue.areas[((at - 0x10) >> 2) as usize],
            _ => 0,
        }
    }

    fn set_config(&mut self, offset: u64, value: u32) {
        let start = usize::try_from(offset & !3).unwrap_or(usize::MAX);
        if let Some(word) = self.config.get_mut(start..start.saturating_add(4)) {
            word.copy_from_slice(&value.to_le_bytes());
            self.generation = self.generation.wrapping_add(1);
        }
    }

    fn control(&mut self, value: u32) -> News {
        let all = News { front: true, wake: true, back: true };
        match value {
            LEAVE => self.leave(),
            SERVE => {
                // What an earlier one had taken out of the queues is gone.
                let news = self.leave();
                self.is_served = true;
                news
            }
            LET_GO => {
                self.is_resetting = false;
                all
            }
            BREAK => {
                self.break_();
                all
            }
            _ => News::default(),
        }
    }
}

const fn index(offset: u64) -> u32 {
    (offset >> 2 & 1) as u32
}
