//! The physical console: a PL011 (Arm DDI 0183G), polled for output, by interrupt for input.
//!
//! Baud rate and line settings are firmware's: only the enables, the FIFO and the interrupt masks are set here.

use assay_spec::addr::{Pa, Region};
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

use crate::lock::Mutex;
use crate::mmio::{Mmio, Registers};

register_bitfields! {u32,
    Fr [ Rxfe OFFSET(4) NUMBITS(1) [], Txff OFFSET(5) NUMBITS(1) [] ],
    LcrH [ Fen OFFSET(4) NUMBITS(1) [], Wlen OFFSET(5) NUMBITS(2) [ Eight = 3 ] ],
    Cr [ Uarten OFFSET(0) NUMBITS(1) [], Txe OFFSET(8) NUMBITS(1) [], Rxe OFFSET(9) NUMBITS(1) [] ],
    Ifls [ Tx OFFSET(0) NUMBITS(3) [], Rx OFFSET(3) NUMBITS(3) [ Half = 2 ] ],
    Int [ Rx OFFSET(4) NUMBITS(1) [], RxTimeout OFFSET(6) NUMBITS(1) [] ]
}

register_structs! {
    Pl011 {
        (0x000 => dr: ReadWrite<u32>),
        (0x004 => _reserved0),
        (0x018 => fr: ReadOnly<u32, Fr::Register>),
        (0x01c => _reserved1),
        (0x02c => lcr_h: ReadWrite<u32, LcrH::Register>),
        (0x030 => cr: ReadWrite<u32, Cr::Register>),
        (0x034 => ifls: ReadWrite<u32, Ifls::Register>),
        (0x038 => imsc: ReadWrite<u32, Int::Register>),
        (0x03c => _reserved2),
        (0x044 => icr: WriteOnly<u32, Int::Register>),
        (0x048 => @END),
    }
}

// SAFETY: registers only; a PL011 is polled here, it does no DMA.
unsafe impl Registers for Pl011 {}

static CONSOLE: Mutex<Option<Mmio<Pl011>>> = Mutex::new(None);

/// More than any PL011's receive FIFO holds.
const FIFO_BYTES: usize = 64;

/// Takes a PL011 as console.
///
/// # Errors
/// Returns the region if they overlap the image or are too small: the caller mapped something else.
pub fn init(region: Region<Pa>) -> Result<(), Region<Pa>> {
    let registers: Mmio<Pl011> = Mmio::new(region).ok_or(region)?;
    registers.lcr_h.modify(LcrH::Fen::SET + LcrH::Wlen::Eight);
    registers.ifls.modify(Ifls::Rx::Half);
    registers.cr.modify(Cr::Uarten::SET + Cr::Txe::SET + Cr::Rxe::SET);
    // What came before is dropped, its interrupt first: turning the FIFO on may have emptied it and left the
    // interrupt up (QEMU), which no later read would take back.
    registers.icr.write(Int::Rx::SET + Int::RxTimeout::SET);
    for _ in 0..FIFO_BYTES {
        if registers.fr.is_set(Fr::Rxfe) {
            break;
        }
        let _ = registers.dr.get();
    }
    *CONSOLE.lock() = Some(registers);
    Ok(())
}

/// Sends as many bytes as the FIFO takes now, and returns how many. Without a console all are dropped.
pub fn write(bytes: &[u8]) -> usize {
    let console = CONSOLE.lock();
    let Some(registers) = console.as_ref() else { return bytes.len() };
    let send = |byte: &u8| {
        let has_room = !registers.fr.is_set(Fr::Txff);
        if has_room {
            registers.dr.set(u32::from(*byte));
        }
        has_room
    };
    bytes.iter().take_while(|byte| send(byte)).count()
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

/// Returns the next byte received, if any.
pub fn read() -> Option<u8> {
    let console = CONSOLE.lock();
    let registers = console.as_ref()?;
    (!registers.fr.is_set(Fr::Rxfe)).then(|| (registers.dr.get() & 0xff) as u8)
}

/// Turns the receive interrupts on, or off while nobody can take more input: the FIFO then fills, and
/// flow control holds the sender back.
pub fn listen(on: bool) {
    if let Some(console) = CONSOLE.lock().as_ref() {
        if on {
            console.imsc.write(Int::Rx::SET + Int::RxTimeout::SET);
        } else {
            console.imsc.set(0);
        }
    }
}
