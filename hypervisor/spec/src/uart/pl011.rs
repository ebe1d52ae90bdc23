//! Arm's PL011 (DDI 0183G), and what the Server Base System Architecture keeps of it (DEN0029 §B).

use super::{Is, Uart, Write};

const DR: u16 = 0x00;
const FR: u16 = 0x18;
const LCR_H: u16 = 0x2c;
const CR: u16 = 0x30;
const IFLS: u16 = 0x34;
const IMSC: u16 = 0x38;
const ICR: u16 = 0x44;

const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FEN: u32 = 1 << 4;
const WLEN_8: u32 = 3 << 5;
const ENABLE: u32 = 1 | 1 << 8 | 1 << 9;
/// The receive FIFO is half full; the other field of the register is the transmit FIFO's.
const RX_HALF: u32 = 2 << 3;
/// Receive, and receive timeout.
const RX_RT: u32 = 1 << 4 | RT;
const RT: u32 = 1 << 6;
/// Turning the FIFO on may empty it and leave the interrupt up (QEMU).
const DROPPED: Write = Write(ICR, 0, RX_RT);

/// The generic UART: no more registers than these, and firmware has enabled it.
pub const SBSA: Uart = Uart {
    name: "SBSA UART",
    receive: DR,
    transmit: DR,
    has_byte: Is(FR, FR_RXFE, 0),
    has_room: Is(FR, FR_TXFF, 0),
    is_deep: None,
    setup: &[DROPPED],
    listen: &[Write(IMSC, 0, RX_RT)],
    mute: &[Write(IMSC, 0, 0)],
    // Not the receive interrupt: reading takes that back, and bytes that have just come would never be told of if
    // whoever reads stops before the last one.
    acknowledge: &[Write(ICR, 0, RT)],
    stale: &[],
    last: ICR,
};

/// The PL011.
pub const PL011: Uart = Uart {
    name: "PL011",
    setup: &[Write(LCR_H, 0xff, FEN | WLEN_8), Write(IFLS, 7, RX_HALF), Write(CR, 0xffff, ENABLE), DROPPED],
    ..SBSA
};
