//! A function that a guest sees on its emulated host bridge: configuration space through a filter.
//!
//! BARs are hard-wired to where stage 2 has the memory: they can be sized, and whatever else is written, the address
//! stays. Of the capabilities Vendor-Specific ones are there, to be read, and MSI and MSI-X where an SMMU checks what they
//! write and an ITS makes interrupts of it; the others change what EL2 relies on. Bus Master reads as written; unless an SMMU checks what the
//! function accesses, it goes nowhere. What is not listed in [`GuestFunction::read`] reads as zero, and ignores writes.

use super::header::{BAR0, BUS_MASTER, CLASS, COMMAND, HEADER_TYPE, ID, INTERRUPT, INTX_DISABLE, MEMORY_SPACE};
use super::{Bar, ConfigSpace, Function};

/// Subsystem and subsystem vendor ID.
const SUBSYSTEM: u16 = 0x2c;
/// The first capability.
const CAPABILITIES: u16 = 0x34;
/// Status, in the upper half of [`COMMAND`]: INTx is asserted; there is a list of capabilities.
const INTERRUPT_STATUS: u32 = 1 << 19;
const CAPABILITY_LIST: u32 = 1 << 20;
/// Command: Parity Error Response and SERR# Enable, which do nothing here.
const ERROR_BITS: u32 = 1 << 6 | 1 << 8;
/// The capability ID "Vendor-Specific", whose third byte is its length.
const VENDOR_SPECIFIC: u32 = 0x09;
/// MSI and MSI-X, whose Message Control is in the upper half of their first word.
const MSI: u32 = 0x05;
const MSI_X: u32 = 0x11;
const MESSAGE_CONTROL: u32 = 0xffff_0000;
/// Where the header ends and capabilities begin.
const HEADER_END: u16 = 0x40;
/// Where the conventional configuration space ends.
const END: u16 = 0x100;

/// Returns where the guest finds its function `index`: 00:01.0 is the first, since 00:00.0 is often taken for the host
/// bridge.
pub const fn guest_function(index: u8) -> Function {
    Function::new(0, index.wrapping_add(1), 0)
}

/// Returns which of the guest's functions may be there.
pub fn guest_index(function: Function) -> Option<usize> {
    let index = function.device().checked_sub(1)?;
    (guest_function(index) == function).then_some(usize::from(index))
}

/// A BAR as the guest has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestBar {
    /// The real one.
    pub bar: Bar,
    /// The guest address that is in it, a multiple of `size`; below 4 GiB if the BAR is of 32 bits.
    pub address: u64,
    /// The size that it asks for in bytes, a power of two from 16.
    pub size: u64,
}

/// What a function is wired to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wired {
    /// It has INTA.
    pub has_interrupt: bool,
    /// It may make accesses of its own: an SMMU checks them.
    pub has_dma: bool,
    /// It may send messages: an ITS makes interrupts of them.
    pub has_messages: bool,
}

/// A guest's view of a function.
#[derive(Clone, Debug)]
pub struct GuestFunction {
    /// What each BAR register holds, and which of its bits can be set.
    bars: [(u32, u32); 6],
    /// The BAR registers to which all ones were written last, a bit each.
    sized: u8,
    /// A bit for each word from 0x40 on that is a shown capability's.
    shown: u64,
    /// A bit for each word that the guest writes to the function itself; and for each of which that is Message Control.
    through: u64,
    control: u64,
    /// The first shown capability, 0 if there is none.
    first: u8,
    /// For each word that begins a shown capability, where the next one is.
    next: [u8; 64],
    /// Interrupt pin, 0 without an interrupt.
    pin: u8,
    /// Interrupt line.
    line: u8,
    /// Whether the function may make accesses of its own.
    has_dma: bool,
    command: u32,
}

impl GuestFunction {
    /// Looks at a function's capabilities and makes the guest's view of it, with `bars` and what it is `wired` to.
    pub fn new(config: &mut dyn ConfigSpace, function: Function, bars: &[GuestBar], wired: Wired) -> Self {
        let Wired { has_interrupt, has_dma, has_messages } = wired;
        let mut guest = Self {
            bars: [(0, 0); 6],
            sized: 0,
            shown: 0,
            through: 0,
            control: 0,
            first: 0,
            next: [0; 64],
            pin: u8::from(has_interrupt),
            line: 0,
            has_dma,
            command: 0,
        };
        for bar in bars {
            guest.wire(bar);
        }
        guest.list(config, function, has_messages);
        guest
    }

    fn wire(&mut self, bar: &GuestBar) {
        let Some((wide, prefetchable)) = bar.bar.memory() else {
            return;
        };
        let mask = !bar.size.wrapping_sub(1) & !0xf;
        let flags = u32::from(wide) << 2 | u32::from(prefetchable) << 3;
        let mut registers = self.bars.iter_mut().skip(usize::from(bar.bar.index));
        if let Some(lower) = registers.next() {
            *lower = (low(bar.address) | flags, low(mask) | flags);
        }
        if let Some(upper) = registers.next().filter(|_| wide) {
            *upper = (low(bar.address >> 32), low(mask >> 32));
        }
    }

    /// Links the capabilities that are shown, in their order.
    fn list(&mut self, config: &mut dyn ConfigSpace, function: Function, has_messages: bool) {
        if config.read(function, COMMAND) & CAPABILITY_LIST == 0 {
            return;
        }
        let mut at = config.read(function, CAPABILITIES) & 0xfc;
        let mut last: Option<u8> = None;
        // A list has at most one capability for each word: a circle ends.
        for _ in HEADER_END / 4..END / 4 {
            let Some(offset) = u8::try_from(at).ok().filter(|at| u16::from(*at) >= HEADER_END) else {
                return;
            };
            let word = config.read(function, u16::from(offset));
            let seen = self.shown >> (offset / 4) & 1 == 1;
            let words = match word & 0xff {
                VENDOR_SPECIFIC => ((word >> 16 & 0xff) as u16).div_ceil(4).max(1),
                // Address and data; with 64 bits of address one more, with a mask for each vector two (PCI 3.0 §6.8.1).
                MSI if has_messages => 3 + (word >> 23 & 1) as u16 + 2 * (word >> 24 & 1) as u16,
                MSI_X if has_messages => 3,
                _ => 0,
            };
            if words != 0 && !seen {
                let end = (u16::from(offset) + 4 * words).min(END);
                let bits = (u16::from(offset)..end).step_by(4).fold(0, |bits, at| bits | 1 << ((at / 4) & 63));
                let first = 1 << (offset / 4);
                self.shown |= bits;
                if word & 0xff != VENDOR_SPECIFIC {
                    self.control |= first;
                }
                if word & 0xff == MSI {
                    self.through |= bits & !first;
                }
                match last {
                    None => self.first = offset,
                    Some(last) => self.next[usize::from(last / 4)] = offset,
                }
                last = Some(offset);
            }
            at = word >> 8 & 0xfc;
        }
    }

    /// Brings it back to power-on.
    pub fn reset(&mut self) {
        self.sized = 0;
        self.line = 0;
        self.command = 0;
    }

    /// Returns what EL2 writes into the function's Command register: it answers in memory space, whatever the guest says;
    /// INTx is the guest's to disable, and with DMA Bus Master to enable.
    pub const fn physical_command(&self) -> u32 {
        let guests = if self.has_dma { INTX_DISABLE | BUS_MASTER } else { INTX_DISABLE };
        MEMORY_SPACE | self.command & guests
    }

    /// Tells whether the guest lets it assert INTx.
    pub const fn has_intx_enabled(&self) -> bool {
        self.command & INTX_DISABLE == 0
    }

    /// Reads the word at `offset`, a multiple of 4; `real` reads the function's own.
    pub fn read(&self, offset: u16, real: impl FnOnce(u16) -> u32) -> u32 {
        match offset {
            ID | CLASS | SUBSYSTEM => real(offset),
            COMMAND => {
                let list = if self.first == 0 { 0 } else { CAPABILITY_LIST };
                self.command | list | real(offset) & INTERRUPT_STATUS
            }
            // An endpoint alone on its device.
            HEADER_TYPE => 0,
            BAR0..0x28 => self.bar(offset),
            CAPABILITIES => u32::from(self.first),
            INTERRUPT => u32::from(self.line) | u32::from(self.pin) << 8,
            HEADER_END..END if self.shown >> ((offset / 4) & 63) & 1 == 1 => self.capability(offset, real(offset)),
            _ => 0,
        }
    }

    fn bar(&self, offset: u16) -> u32 {
        let index = (offset - BAR0) / 4;
        let (value, mask) = self.bars[usize::from(index)];
        if self.sized >> index & 1 == 1 { mask } else { value }
    }

    /// The word that begins a capability leads to the next one that is shown.
    fn capability(&self, offset: u16, word: u32) -> u32 {
        let next = self.next[usize::from(offset / 4)];
        let begins = u16::from(self.first) == offset || self.next.iter().any(|link| u16::from(*link) == offset);
        if begins { word & !0xff00 | u32::from(next) << 8 } else { word }
    }

    /// Returns the bits of a word that the guest writes to the function itself.
    pub const fn through(&self, offset: u16) -> u32 {
        let bit = 1 << ((offset / 4) & 63);
        if offset >= END {
            0
        } else if self.control & bit != 0 {
            MESSAGE_CONTROL
        } else if self.through & bit != 0 {
            u32::MAX
        } else {
            0
        }
    }

    /// Writes the bits `mask` of the word at `offset`. Returns whether [`Self::physical_command`] may have changed.
    pub fn write(&mut self, offset: u16, value: u32, mask: u32) -> bool {
        match offset {
            COMMAND => {
                // Status, in the upper half, shows nothing that could be cleared.
                let settable = (MEMORY_SPACE | BUS_MASTER | INTX_DISABLE | ERROR_BITS) & mask;
                self.command = self.command & !settable | value & settable;
                true
            }
            BAR0..0x28 => {
                let bit = 1 << ((offset - BAR0) / 4);
                self.sized &= !bit;
                if value & mask == u32::MAX {
                    self.sized |= bit;
                }
                false
            }
            INTERRUPT => {
                let line = u32::from(self.line) & !mask | value & mask;
                self.line = (line & 0xff) as u8;
                false
            }
            _ => false,
        }
    }
}

const fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}
