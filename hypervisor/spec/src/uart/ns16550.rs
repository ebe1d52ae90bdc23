//! The 16550 and its descendants, and the BCM2835's mini-UART. Registers are numbered; `reg-shift` spreads them.

use super::{Is, Uart, Write};

const RBR_THR: u16 = 0;
const IER: u16 = 1;
const IIR_FCR: u16 = 2;
const MCR: u16 = 4;
const LSR: u16 = 5;

const LSR_DR: u32 = 1;
const LSR_THRE: u32 = 1 << 5;
/// Received data, with the timeout, and line status, without which the mini-UART's receive interrupt does not come
/// (errata of BCM2835's peripherals, p. 12).
const ERBFI_ELSI: u32 = 1 | 1 << 2;
/// The FIFO on, an interrupt from the first byte on.
const FIFO: u32 = 1;
/// DTR and RTS, and OUT2, which lets the interrupt out.
const READY: u32 = 1 | 1 << 1 | 1 << 3;
/// Not the loop back from transmitter to receiver.
const MCR_KEEP: u32 = 0xef;
/// The FIFO is on, and it is a good one.
const IIR_FIFO: u32 = 3 << 6;
/// The timeout's interrupt.
const IIR_TIMEOUT: u32 = 0xc;

/// The 16550. `THRE` says that its FIFO is empty.
pub const NS16550: Uart = Uart { name: "16550", is_deep: Some(Is(IIR_FCR, IIR_FIFO, IIR_FIFO)), ..MINI_UART };

/// The mini-UART. `THRE` says that a byte fits, and `IIR` always that the FIFO is on.
pub const MINI_UART: Uart = Uart {
    name: "BCM2835 mini-UART",
    receive: RBR_THR,
    transmit: RBR_THR,
    has_byte: Is(LSR, LSR_DR, LSR_DR),
    has_room: Is(LSR, LSR_THRE, LSR_THRE),
    is_deep: None,
    setup: &[Write(IIR_FCR, 0, FIFO), Write(MCR, MCR_KEEP, READY)],
    listen: &[Write(IER, 0, ERBFI_ELSI)],
    mute: &[Write(IER, 0, 0)],
    // Reads of LSR and of the FIFO do it.
    acknowledge: &[],
    stale: Some(Is(IIR_FCR, 0xf, IIR_TIMEOUT)),
    last: LSR,
};
