//! The PL011 as console (DDI0183G §3.2): polled output, and what tests need for the rest.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{mmio, this_cpu};

/// Data register.
pub const DR: u64 = 0x00;
/// Flag register.
pub const FR: u64 = 0x18;
/// Line control.
pub const LCR_H: u64 = 0x2c;
/// Control.
pub const CR: u64 = 0x30;
/// Interrupt FIFO level select.
pub const IFLS: u64 = 0x34;
/// Interrupt mask set/clear.
pub const IMSC: u64 = 0x38;
/// Raw interrupt status.
pub const RIS: u64 = 0x3c;
/// Masked interrupt status.
pub const MIS: u64 = 0x40;
/// Interrupt clear.
pub const ICR: u64 = 0x44;
/// DMA control.
pub const DMACR: u64 = 0x48;
/// FR: the receive FIFO is empty.
pub const FR_RXFE: u32 = 1 << 4;
/// FR: the transmit FIFO is full.
pub const FR_TXFF: u32 = 1 << 5;
/// FR: the transmit FIFO is empty.
pub const FR_TXFE: u32 = 1 << 7;
/// The receive interrupt.
pub const RX: u32 = 1 << 4;
/// The transmit interrupt.
pub const TX: u32 = 1 << 5;
/// The receive timeout interrupt.
pub const RT: u32 = 1 << 6;

static BASE: AtomicU64 = AtomicU64::new(0);

/// Turns the UART at `base` on: FIFOs, 8 bits, no interrupts.
pub(crate) fn prepare(base: u64) {
    BASE.store(base, Ordering::Relaxed);
    restore();
}

/// Sets the registers to what the kit works with, whatever was written to them: FIFOs, 8 bits, no interrupts, no DMA.
pub fn restore() {
    write(IMSC, 0);
    write(ICR, 0x7ff);
    write(DMACR, 0);
    write(LCR_H, 0x70);
    write(CR, 0x301);
}

/// Reads the register at `offset`.
pub fn read(offset: u64) -> u32 {
    mmio::read32(BASE.load(Ordering::Relaxed) + offset)
}

/// Writes the register at `offset`.
pub fn write(offset: u64, value: u32) {
    mmio::write32(BASE.load(Ordering::Relaxed) + offset, value);
}

/// Sends a byte, waiting for room.
pub fn put(byte: u8) {
    while read(FR) & FR_TXFF != 0 {
        core::hint::spin_loop();
    }
    write(DR, u32::from(byte));
}

/// Takes a byte if one has arrived.
pub fn get() -> Option<u8> {
    (read(FR) & FR_RXFE == 0).then(|| read(DR) as u8)
}

/// Waits until all that was written has left.
pub fn drain() {
    while read(FR) & FR_TXFE == 0 {
        core::hint::spin_loop();
    }
    this_cpu::dsb();
}

struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

/// Prints; used by the macros.
pub fn print(arguments: fmt::Arguments<'_>) {
    // The console never fails.
    let _ = fmt::write(&mut Console, arguments);
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($words:tt)*) => { $crate::uart::print(format_args!($($words)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::uart::print(format_args!("\n")) };
    ($words:literal $($rest:tt)*) => { $crate::uart::print(format_args!(concat!($words, "\n") $($rest)*)) };
}
