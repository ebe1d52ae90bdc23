//! Cadence's UART, as in Zynq UltraScale+ (UG1087, module UART).

use super::{Is, Uart, Write};

const CR: u16 = 0x00;
const IER: u16 = 0x08;
const IDR: u16 = 0x0c;
const ISR: u16 = 0x14;
const RXTOUT: u16 = 0x1c;
const RXWM: u16 = 0x20;
const SR: u16 = 0x2c;
const FIFO: u16 = 0x30;

const SR_RXEMPTY: u32 = 1 << 1;
const SR_TXFULL: u32 = 1 << 4;
/// The receiver's trigger level is reached; its timeout.
const RTRIG_TOUT: u32 = 1 | 1 << 8;
/// Receiver and transmitter enabled and not disabled, the timeout's counter restarted.
const CR_ENABLE: u32 = 1 << 2 | 1 << 4 | 1 << 6;
/// No reset, no disable, no break.
const CR_KEEP: u32 = !(0x3 | 1 << 3 | 1 << 5 | 1 << 7) & 0x1ff;
/// Half of the FIFO's 64 bytes.
const HALF: u32 = 32;
/// In units of four bits' time.
const TIMEOUT: u32 = 10;

/// Cadence's UART.
pub const CADENCE: Uart = Uart {
    name: "Cadence UART",
    receive: FIFO,
    transmit: FIFO,
    has_byte: Is(SR, SR_RXEMPTY, 0),
    has_room: Is(SR, SR_TXFULL, 0),
    is_deep: None,
    setup: &[Write(RXWM, 0, HALF), Write(RXTOUT, 0, TIMEOUT), Write(CR, CR_KEEP, CR_ENABLE)],
    listen: &[Write(IER, 0, RTRIG_TOUT)],
    mute: &[Write(IDR, 0, 0x3fff)],
    acknowledge: &[Write(ISR, 0, RTRIG_TOUT)],
    stale: &[],
    last: FIFO,
};
