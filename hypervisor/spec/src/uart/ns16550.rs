//! The 16550 and its descendants: plain, DesignWare's, TI's, XScale's, and the BCM2835's mini-UART. Registers are numbered; `reg-shift` spreads them.

use super::{Is, Stale, Uart, Write};

const RBR_THR: u16 = 0;
const IER: u16 = 1;
const IIR_FCR: u16 = 2;
const MCR: u16 = 4;
const LSR: u16 = 5;
/// DesignWare's status (DW_apb_uart databook, USR).
const USR: u16 = 0x1f;
/// TI's (SPRUIM2, chapter UART): enhanced features, and the length of the timeout, low and high byte.
const EFR2: u16 = 0x23;
const TO_L: u16 = 0x26;
const TO_H: u16 = 0x27;

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
/// The timeout's interrupt, of a FIFO that is empty by now: a read of the FIFO takes it back.
const TIMEOUT: Stale = Stale(Is(IIR_FCR, 0xf, 0xc), &[], RBR_THR, &[]);
/// DesignWare's busy detect, of a write to LCR while a byte was on the line: only a read of USR takes it back.
const BUSY: Stale = Stale(Is(IIR_FCR, 0xf, 7), &[], USR, &[]);
/// TI's timeout may come without a byte, and stays until it counts from anew (erratum i2310).
const TI_TIMEOUT: Stale = Stale(
    Is(IIR_FCR, 0xf, 0xc),
    &[Write(TO_H, 0, 0xff), Write(TO_L, 0, 0xff), Write(EFR2, !PERIODIC, PERIODIC)],
    IIR_FCR,
    &[Write(EFR2, !PERIODIC, 0), Write(TO_H, 0, 0), Write(TO_L, 0, 0)],
);
/// The timeout comes again and again, be the FIFO empty or not.
const PERIODIC: u32 = 1 << 6;
/// XScale's unit enable, among the interrupts' enables, and the enable of the timeout, which others have with the
/// received data's.
const UUE: u32 = 1 << 6;
const RTOIE: u32 = 1 << 4;

/// The 16550. `THRE` says that its FIFO is empty.
pub const NS16550: Uart = Uart { name: "16550", is_deep: Some(Is(IIR_FCR, IIR_FIFO, IIR_FIFO)), ..MINI_UART };

/// DesignWare's, where its status register is within reach.
pub const DW: Uart = Uart { stale: &[TIMEOUT, BUSY], last: USR, ..NS16550 };

/// That of TI's AM64 and AM65.
pub const TI: Uart = Uart { stale: &[TI_TIMEOUT], last: TO_H, ..NS16550 };

/// XScale's and MMP's.
pub const PXA: Uart =
    Uart { listen: &[Write(IER, 0, UUE | RTOIE | ERBFI_ELSI)], mute: &[Write(IER, 0, UUE)], ..NS16550 };

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
    stale: &[TIMEOUT],
    last: LSR,
};
