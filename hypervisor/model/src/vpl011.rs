//! A PL011 UART as a guest sees it (ARM DDI 0183G, revision r1p5): registers, receive FIFO, interrupt line.
//!
//! No hardware and no clock: a byte that the guest sends comes back from [`Vpl011::write`] at once, and
//! the caller hands in what the terminal sends with [`Vpl011::receive`]. Three things follow.
//!
//! - The transmit FIFO is always empty, so a driver never waits, and each byte sent is one crossing of the
//!   transmit trigger level (§2.8.3): `TXRIS` rises with it and not before the first one.
//! - The receive timeout (32 bit periods without a byte, §2.8.4) is over at once: `RTRIS` rises with
//!   any byte received. A driver loses nothing by it; it only hears of short input earlier.
//! - Behind the 32-byte receive FIFO lies a ring for pasted text. A guest sees no more than the FIFO;
//!   when the ring is full, `receive` says so and the caller holds the real UART back. So nothing is ever
//!   overrun, and a byte received before the guest enables the UART waits for it.
//!
//! Bytes are sent and received whether or not `UARTCR` enables that: small programs written on QEMU's
//! model, which does the same, often do not write `UARTCR`.

use assay_spec::exit::Width;

#[cfg(test)]
mod tests;

/// Bytes that wait for the guest at most, the architected FIFO included. A power of two.
pub const RING_BYTES: usize = 1024;
/// Depth of the receive FIFO in r1p5 (earlier revisions have 16; Linux derives it from `UARTPeriphID2`).
const FIFO_BYTES: usize = 32;

/// Offsets of the registers (§3.2, table 3-1).
mod offset {
    pub(super) const DR: u64 = 0x000;
    pub(super) const RSR_ECR: u64 = 0x004;
    pub(super) const FR: u64 = 0x018;
    pub(super) const ILPR: u64 = 0x020;
    pub(super) const IBRD: u64 = 0x024;
    pub(super) const FBRD: u64 = 0x028;
    pub(super) const LCR_H: u64 = 0x02c;
    pub(super) const CR: u64 = 0x030;
    pub(super) const IFLS: u64 = 0x034;
    pub(super) const IMSC: u64 = 0x038;
    pub(super) const RIS: u64 = 0x03c;
    pub(super) const MIS: u64 = 0x040;
    pub(super) const ICR: u64 = 0x044;
    pub(super) const DMACR: u64 = 0x048;
    pub(super) const PERIPH_ID0: u64 = 0xfe0;
}

/// `UARTFR` (§3.3.3).
mod fr {
    /// CTS, DSR and DCD: a terminal is always there, so a driver that waits for carrier gets it.
    pub(super) const MODEM: u8 = 0b111;
    pub(super) const RXFE: u8 = 1 << 4;
    pub(super) const RXFF: u8 = 1 << 6;
    pub(super) const TXFE: u8 = 1 << 7;
}

/// `UARTRIS`, `UARTIMSC`, `UARTMIS`, `UARTICR` (§3.3.10 to §3.3.13).
mod int {
    pub(super) const RX: u16 = 1 << 4;
    pub(super) const TX: u16 = 1 << 5;
    pub(super) const RT: u16 = 1 << 6;
    pub(super) const OE: u16 = 1 << 10;
    pub(super) const ALL: u16 = 0x7ff;
}

const LCR_H_FEN: u8 = 1 << 4;
const CR_LBE: u16 = 1 << 7;
/// Bits of `UARTCR` that exist (§3.3.8): 6 to 3 are reserved.
const CR_BITS: u16 = 0xff87;
/// `UARTCR` after reset: transmit and receive enabled, the UART itself not.
const CR_RESET: u16 = 0x300;
/// `UARTIFLS` after reset: both trigger levels at half.
const IFLS_RESET: u8 = 0b010_010;
/// `UARTPeriphID0` to `3` and `UARTPCellID0` to `3` (§3.3.15, §3.3.16): part 0x011, designer Arm, r1p5.
const ID: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// One VM's PL011.
pub struct Vpl011 {
    /// `UARTFR`, kept ready: it is what drivers read most.
    flags: u8,
    lcr_h: u8,
    ifls: u8,
    fbrd: u8,
    ilpr: u8,
    dmacr: u8,
    cr: u16,
    ibrd: u16,
    imsc: u16,
    ris: u16,
    /// Index of the oldest byte in `ring`, below [`RING_BYTES`].
    head: usize,
    /// Bytes waiting, at most [`RING_BYTES`].
    waiting: usize,
    ring: [u8; RING_BYTES],
}

impl Default for Vpl011 {
    fn default() -> Self {
        Self::new()
    }
}

impl Vpl011 {
    /// Makes a UART in its reset state, with nothing received.
    pub const fn new() -> Self {
        Self {
            flags: fr::MODEM | fr::RXFE | fr::TXFE,
            lcr_h: 0,
            ifls: IFLS_RESET,
            fbrd: 0,
            ilpr: 0,
            dmacr: 0,
            cr: CR_RESET,
            ibrd: 0,
            imsc: 0,
            ris: 0,
            head: 0,
            waiting: 0,
            ring: [0; RING_BYTES],
        }
    }

    /// Returns to the reset state. What was received and not read is dropped: it was meant for the guest
    /// that is gone.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Reads the register at byte `offset` of the frame; reading `UARTDR` takes a byte from the FIFO.
    ///
    /// Offsets without a register, and those inside one, read as zero. After a read, [`Self::level`] and
    /// [`Self::room`] may have changed.
    #[inline(always)]
    pub fn read(&mut self, offset: u64, width: Width) -> u64 {
        if offset == offset::FR {
            return u64::from(self.flags);
        }
        width.truncate(u64::from(self.read_other(offset)))
    }

    #[inline(never)]
    fn read_other(&mut self, offset: u64) -> u16 {
        match offset {
            offset::DR => u16::from(self.take().unwrap_or(0)),
            offset::ILPR => self.ilpr.into(),
            offset::IBRD => self.ibrd,
            offset::FBRD => self.fbrd.into(),
            offset::LCR_H => self.lcr_h.into(),
            offset::CR => self.cr,
            offset::IFLS => self.ifls.into(),
            offset::IMSC => self.imsc,
            offset::RIS => self.ris,
            offset::MIS => self.ris & self.imsc,
            offset::DMACR => self.dmacr.into(),
            _ => identification(offset),
        }
    }

    /// Writes the register at byte `offset` of the frame; returns the byte to send, if it was `UARTDR`.
    ///
    /// The caller sends the byte, waiting if need be: the guest was told that there is room. Writes to
    /// read-only registers and to offsets without one are ignored. After a write, [`Self::level`] and
    /// [`Self::room`] may have changed.
    pub fn write(&mut self, offset: u64, width: Width, value: u64) -> Option<u8> {
        let bytes = width.truncate(value).to_le_bytes();
        let half = u16::from_le_bytes([bytes[0], bytes[1]]);
        match offset {
            offset::DR => return self.transmit(bytes[0]),
            offset::RSR_ECR => {} // Clears errors, and there are none.
            offset::ILPR => self.ilpr = bytes[0],
            offset::IBRD => self.ibrd = half,
            offset::FBRD => self.fbrd = bytes[0] & 0x3f,
            offset::LCR_H => {
                self.lcr_h = bytes[0];
                self.received_changed();
            }
            offset::CR => self.cr = half & CR_BITS,
            offset::IFLS => {
                self.ifls = bytes[0] & 0x3f;
                self.received_changed();
            }
            offset::IMSC => self.imsc = half & int::ALL,
            offset::ICR => self.ris &= !half,
            offset::DMACR => self.dmacr = bytes[0] & 0x7,
            _ => {}
        }
        None
    }

    /// Hands in a byte from the terminal. Returns `false` if there is no room: the caller keeps the byte,
    /// and offers it again when [`Self::room`] is not 0.
    pub fn receive(&mut self, byte: u8) -> bool {
        self.cr & CR_LBE == 0 && self.store(byte)
    }

    /// Returns how many bytes [`Self::receive`] will take; 0 also while the guest has the UART in
    /// loopback, where the input pin is not connected.
    pub fn room(&self) -> usize {
        if self.cr & CR_LBE != 0 { 0 } else { RING_BYTES - self.waiting }
    }

    /// Returns the level of the combined interrupt `UARTINTR`: the or of all masked interrupts.
    #[inline]
    pub fn level(&self) -> bool {
        self.ris & self.imsc != 0
    }

    /// Sends a byte, or in loopback (`UARTCR.LBE`) receives it.
    fn transmit(&mut self, byte: u8) -> Option<u8> {
        self.ris |= int::TX;
        if self.cr & CR_LBE == 0 {
            return Some(byte);
        }
        if !self.store(byte) {
            self.ris |= int::OE;
        }
        None
    }

    /// Appends a byte to the ring, or returns `false` if it is full.
    fn store(&mut self, byte: u8) -> bool {
        let free = self.waiting < RING_BYTES;
        if free {
            self.ring[(self.head + self.waiting) % RING_BYTES] = byte;
            self.waiting += 1;
            self.received_changed();
        }
        free
    }

    /// Takes the oldest byte.
    fn take(&mut self) -> Option<u8> {
        self.waiting = self.waiting.checked_sub(1)?;
        let byte = self.ring[self.head];
        self.head = (self.head + 1) % RING_BYTES;
        self.received_changed();
        Some(byte)
    }

    /// Brings flags and receive interrupts in line with what waits.
    ///
    /// `RXRIS` follows the trigger level and `RTRIS` falls when the FIFO is empty (§2.8.2, §2.8.4). Both
    /// rise again at each change even if the guest cleared them through `UARTICR` with bytes left: the ring
    /// refills the FIFO without a new byte on the wire, and a driver must hear of that.
    fn received_changed(&mut self) {
        let depth = if self.lcr_h & LCR_H_FEN != 0 { FIFO_BYTES } else { 1 };
        let filled = self.waiting.min(depth);
        self.flags = fr::MODEM | fr::TXFE;
        self.ris &= !(int::RX | int::RT);
        if filled == 0 {
            self.flags |= fr::RXFE;
            return;
        }
        if filled == depth {
            self.flags |= fr::RXFF;
        }
        self.ris |= int::RT;
        if filled >= trigger(depth, self.ifls) {
            self.ris |= int::RX;
        }
    }
}

/// Returns the fill at which `RXRIS` rises (`UARTIFLS.RXIFLSEL`, §3.3.9); reserved values count as half.
fn trigger(depth: usize, ifls: u8) -> usize {
    let eighths = match ifls >> 3 & 7 {
        0 => 1,
        1 => 2,
        3 => 6,
        4 => 7,
        _ => 4,
    };
    (depth * eighths / 8).max(1)
}

/// Returns an identification register, 0 elsewhere.
fn identification(offset: u64) -> u16 {
    let registers = (offset::PERIPH_ID0..).step_by(4).zip(ID);
    registers.into_iter().find(|(known, _)| *known == offset).map_or(0, |(_, byte)| byte.into())
}
