//! The physical console: polled for output, by interrupt for input. What each kind of UART wants is `spec::uart`'s.

use assay_spec::addr::{BLOCK_2M, Pa, Region};
use assay_spec::uart::{Layout, Wired};
use tock_registers::UIntLike;
use tock_registers::interfaces::{Readable as _, Writeable as _};
use tock_registers::registers::ReadWrite;

use crate::lock::Mutex;
use crate::mmio::{Mmio, Registers};

// SAFETY: registers only; no UART that is known here writes to memory by itself.
unsafe impl<T: UIntLike + 'static> Registers for [ReadWrite<T>] {}

/// The registers, by the width that they are accessed with.
enum Access {
    Bytes(Mmio<[ReadWrite<u8>]>),
    Words(Mmio<[ReadWrite<u32>]>),
}

struct Block {
    access: Access,
    layout: Layout,
}

impl Block {
    fn swapped(&self, value: u32) -> u32 {
        if self.layout.big_endian { value.swap_bytes() } else { value }
    }
}

/// `init` has seen that all registers are there: what is not would read as 0.
impl assay_spec::uart::Registers for Block {
    fn get(&self, register: u16) -> u32 {
        let place = self.layout.place(register);
        match &self.access {
            Access::Bytes(all) => all.get(place).map_or(0, |one| one.get().into()),
            Access::Words(all) => all.get(place / 4).map_or(0, |one| self.swapped(one.get())),
        }
    }

    fn set(&self, register: u16, value: u32) {
        let place = self.layout.place(register);
        match &self.access {
            Access::Bytes(all) => all.get(place).into_iter().for_each(|one| one.set(value as u8)),
            Access::Words(all) => all.get(place / 4).into_iter().for_each(|one| one.set(self.swapped(value))),
        }
    }
}

struct Console {
    wired: Wired,
    block: Block,
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

/// Takes a UART as console.
///
/// # Errors
/// Returns the region if it overlaps the image or is too small, or the registers are not all in the 2 MiB block that
/// it begins in: the early map has just that (`Boot::map_device`).
pub fn init(region: Region<Pa>, wired: Wired) -> Result<(), Region<Pa>> {
    let bytes = wired.bytes();
    if region.size < bytes || region.start.0 % BLOCK_2M + bytes > BLOCK_2M {
        return Err(region);
    }
    let access = match wired.layout.width {
        1 => Access::Bytes(Mmio::array(region, bytes as usize).ok_or(region)?),
        _ => Access::Words(Mmio::array(region, bytes as usize / 4).ok_or(region)?),
    };
    let block = Block { access, layout: wired.layout };
    wired.uart.take(&block);
    *CONSOLE.lock() = Some(Console { wired, block });
    Ok(())
}

/// Tells whether there is a console.
pub fn is_taken() -> bool {
    CONSOLE.lock().is_some()
}

/// Sends as many bytes as the FIFO takes now, and returns how many. Without a console all are dropped.
pub fn write(bytes: &[u8]) -> usize {
    let console = CONSOLE.lock();
    console.as_ref().map_or(bytes.len(), |console| console.wired.uart.send(bytes, &console.block))
}

/// Polls of a full FIFO before the rest is given up: far longer than the slowest line takes.
const PATIENCE: u32 = 1_000_000;

/// Sends bytes although another CPU, or this one, may hold the console: for the last words only.
pub fn write_in_panic(bytes: &[u8]) {
    if (0..PATIENCE).all(|_| CONSOLE.is_locked()) {
        // SAFETY: whoever holds the lock has been stopped, or is this CPU before its panic: the UART's registers
        // stay valid either way, and garbled output is the worst that can come of it.
        unsafe { CONSOLE.force_unlock() };
    }
    let (mut sent, mut left) = (0, PATIENCE);
    while sent < bytes.len() && left != 0 {
        sent += write(&bytes[sent..]);
        left -= 1;
    }
}

/// Returns the next byte received, if any; if none, no interrupt of the UART's stays up.
pub fn read() -> Option<u8> {
    let console = CONSOLE.lock();
    console.as_ref().and_then(|console| console.wired.uart.receive(&console.block))
}

/// Turns the receive interrupts on, or off while nobody can take more input: the FIFO then fills, and
/// flow control holds the sender back.
pub fn listen(on: bool) {
    if let Some(console) = CONSOLE.lock().as_ref() {
        console.wired.uart.listen(on, &console.block);
    }
}
