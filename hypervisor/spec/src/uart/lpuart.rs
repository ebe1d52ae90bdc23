//! NXP's LPUART with registers of 32 bits, as in i.MX8QXP and LS1021A (IMX8DQXPRM, chapter LPUART). On i.MX they begin
//! 0x10 bytes into the region.

use super::{Is, Uart, Write};

const STAT: u16 = 0x04;
const CTRL: u16 = 0x08;
const DATA: u16 = 0x0c;
const WATER: u16 = 0x1c;

const TDRE: u32 = 1 << 23;
const RDRF: u32 = 1 << 21;
/// Parity, framing, noise, overrun, idle. An overrun stops the receiver until it is taken back.
const STAT_FLAGS: u32 = 0x1f << 16;
/// The settings among the flags.
const STAT_KEEP: u32 = 0x3e00_0000;
const RE_TE: u32 = 1 << 18 | 1 << 19;
const RIE: u32 = 1 << 21;
/// All but the enables of interrupts: in 15:14 and 27:20, and of those for idle lines.
const CTRL_KEEP: u32 = !(0xff << 20 | 3 << 14);

/// The LPUART.
pub const LPUART: Uart = Uart {
    name: "LPUART",
    receive: DATA,
    transmit: DATA,
    has_byte: Is(STAT, RDRF, RDRF),
    has_room: Is(STAT, TDRE, TDRE),
    is_deep: None,
    // Watermarks of 0: a byte is enough to read, and the FIFO is empty when there is room. They are written while receiver
    // and transmitter are off.
    setup: &[Write(CTRL, CTRL_KEEP & !RE_TE, 0), Write(WATER, 0, 0), Write(CTRL, CTRL_KEEP, RE_TE)],
    listen: &[Write(CTRL, CTRL_KEEP, RIE)],
    mute: &[Write(CTRL, CTRL_KEEP, 0)],
    acknowledge: &[Write(STAT, STAT_KEEP, STAT_FLAGS)],
    stale: &[],
    last: WATER,
};
