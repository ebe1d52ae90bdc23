//! The UART of i.MX, from i.MX21 to i.MX8M (IMX8MPRM, chapter UART).

use super::{Is, Uart, Write};

const URXD: u16 = 0x00;
const UTXD: u16 = 0x40;
const UCR1: u16 = 0x80;
const UCR2: u16 = 0x84;
const UCR3: u16 = 0x88;
const UCR4: u16 = 0x8c;
const USR2: u16 = 0x98;
const UTS: u16 = 0xb4;

const USR2_RDR: u32 = 1;
const UTS_TXFULL: u32 = 1 << 4;
const UARTEN: u32 = 1;
/// Out of reset, receiver and transmitter on.
const UCR2_ON: u32 = 1 | 1 << 1 | 1 << 2;
/// Neither the escape's, nor RTS's, nor the aging timer's interrupt.
const UCR2_KEEP: u32 = 0x7fe6;
/// The modem's signals, ADNIMP, inverted transmission.
const UCR3_KEEP: u32 = 0x0782;
const RXDMUXSEL: u32 = 1 << 2;
/// Where CTS is let go; inverted reception.
const UCR4_KEEP: u32 = 0xfe00;
/// An interrupt while a byte is there.
const DREN: u32 = 1;

/// The UART of i.MX.
pub const IMX: Uart = Uart {
    name: "i.MX UART",
    receive: URXD,
    transmit: UTXD,
    has_byte: Is(USR2, USR2_RDR, USR2_RDR),
    has_room: Is(UTS, UTS_TXFULL, 0),
    is_deep: None,
    setup: &[Write(UCR1, 0, UARTEN), Write(UCR2, UCR2_KEEP, UCR2_ON)],
    listen: &[Write(UCR4, UCR4_KEEP, DREN)],
    // In all four: firmware may have left any on.
    mute: &[Write(UCR1, UARTEN, 0), Write(UCR3, UCR3_KEEP, RXDMUXSEL), Write(UCR4, UCR4_KEEP, 0)],
    acknowledge: &[],
    stale: &[],
    last: UTS,
};
