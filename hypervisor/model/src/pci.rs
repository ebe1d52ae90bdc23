//! A PCI function as a guest sees it, and the words to speak of functions with.
//!
//! How functions are found, sized and placed is `assay_plan::pci`'s. (PCI Local Bus Specification 3.0 chapter 6; PCI
//! Express Base Specification 4.0 §7.2.2 for ECAM.)

use core::fmt;

mod bar;
mod guest;
pub mod header;

pub use bar::{Bar, Space};
pub use guest::{GuestBar, GuestFunction, Wired, guest_function, guest_index};
/// A function's requester ID: bus in bits 15:8, device in 7:3, function in 2:0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Function(pub u16);

impl Function {
    /// The function `function` (0 to 7) of device `device` (0 to 31) on bus `bus`.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self((bus as u16) << 8 | (device as u16 & 0x1f) << 3 | function as u16 & 7)
    }
    /// Returns its bus.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }
    /// Returns its device number, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3 & 0x1f) as u8
    }
    /// Returns its function number, 0 to 7.
    pub const fn function(self) -> u8 {
        (self.0 & 7) as u8
    }
}

impl fmt::Display for Function {
    /// As Linux writes it: `BB:DD.F` in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device, function) = (self.bus(), self.device(), self.function());
        write!(f, "{bus:02x}:{device:02x}.{function}")
    }
}

/// The configuration space of one segment.
pub trait ConfigSpace {
    /// Reads the word at `offset`, a multiple of 4 below 4096. All ones where nothing answers.
    fn read(&mut self, function: Function, offset: u16) -> u32;
    /// Writes the word at `offset`, a multiple of 4 below 4096. Nothing happens where nothing answers.
    fn write(&mut self, function: Function, offset: u16, value: u32);
}
