//! UARTs as values: where each has its FIFO, by what it says that there is room or a byte, and what is written to have
//! it interrupt.
//!
//! Speed and format of the line are firmware's and stay. Each kind has a file with its table, and [`Uart`]'s functions
//! are all that drives it: over [`Registers`], which are the machine's or a test's.

mod cadence;
mod imx;
mod lpuart;
mod ns16550;
mod pl011;
#[cfg(test)]
mod tests;

pub use cadence::CADENCE;
pub use imx::IMX;
pub use lpuart::LPUART;
pub use ns16550::{DW, MINI_UART, NS16550, PXA, TI};
pub use pl011::{PL011, SBSA};

/// A kind of UART. Registers are named by their offset in bytes, before [`Layout::shift`].
#[derive(PartialEq, Eq, Debug)]
pub struct Uart {
    /// What people call it.
    pub name: &'static str,
    receive: u16,
    transmit: u16,
    has_byte: Is,
    has_room: Is,
    /// While it holds, `has_room` says that [`DEEP`] bytes fit, and not just one.
    is_deep: Option<Is>,
    /// Enables it, whatever firmware left.
    setup: &'static [Write],
    /// Turns its receive interrupts on, and all its interrupts off.
    listen: &'static [Write],
    mute: &'static [Write],
    /// Takes back the interrupts that reading the FIFO empty does not.
    acknowledge: &'static [Write],
    /// Interrupts that stay up although the FIFO is empty and all is acknowledged.
    stale: &'static [Stale],
    /// The last register.
    last: u16,
}

/// A state: the bits of a register under a mask have a value.
#[derive(PartialEq, Eq, Debug)]
struct Is(u16, u32, u32);

/// A write to a register: the bits that are kept, and those that are set.
#[derive(PartialEq, Eq, Debug)]
struct Write(u16, u32, u32);

/// An interrupt without a byte: how it shows, and the writes, the read and the writes that take it back.
#[derive(PartialEq, Eq, Debug)]
struct Stale(Is, &'static [Write], u16, &'static [Write]);

/// How a UART's registers lie in its region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Where the first one is, in bytes.
    pub offset: u16,
    /// Each offset is shifted left by so much.
    pub shift: u8,
    /// Bytes of an access: 1, 2 or 4.
    pub width: u8,
    /// The most significant byte comes first.
    pub big_endian: bool,
}

impl Layout {
    /// Words, little-endian, at the offsets that the manual has.
    pub const WORDS: Self = Self { offset: 0, shift: 0, width: 4, big_endian: false };

    /// Returns where a register is in the region, in bytes.
    pub fn place(self, register: u16) -> usize {
        usize::from(self.offset) + (usize::from(register) << self.shift)
    }
}

/// A kind of UART and how it is wired: all that has to be known to drive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wired {
    /// The kind.
    pub uart: &'static Uart,
    /// Where its registers are.
    pub layout: Layout,
}

impl Wired {
    /// Returns how many bytes of a region its registers take.
    pub fn bytes(&self) -> u64 {
        self.layout.place(self.uart.last) as u64 + u64::from(self.layout.width)
    }
}

/// A UART's registers.
pub trait Registers {
    /// Reads one.
    fn get(&self, register: u16) -> u32;
    /// Writes one.
    fn set(&self, register: u16, value: u32);
}

/// What each 16550 with a FIFO holds.
const DEEP: usize = 16;
/// As many bytes as are dropped at first: more than most receive FIFOs hold. What is left comes as input.
const MOST: usize = 256;

impl Is {
    fn holds(&self, at: &impl Registers) -> bool {
        at.get(self.0) & self.1 == self.2
    }
}

fn write(all: &[Write], at: &impl Registers) {
    for Write(register, keep, set) in all {
        let kept = if *keep == 0 { 0 } else { at.get(*register) & keep };
        at.set(*register, kept | set);
    }
}

impl Uart {
    /// Takes it over: its interrupts off, its FIFO on, what it has received dropped.
    pub fn take(&self, at: &impl Registers) {
        write(self.mute, at);
        write(self.setup, at);
        let _ = (0..MOST).take_while(|_| self.receive(at).is_some()).count();
    }

    /// Turns the receive interrupts on, or off.
    pub fn listen(&self, on: bool, at: &impl Registers) {
        write(if on { self.listen } else { self.mute }, at);
    }

    /// Returns the next byte received. If there is none, no interrupt stays up, be it the timeout's of a FIFO that is
    /// empty by now; one that is caused by a byte after that comes.
    pub fn receive(&self, at: &impl Registers) -> Option<u8> {
        if !self.has_byte.holds(at) {
            write(self.acknowledge, at);
            let stale = self.stale.iter().find(|Stale(is, ..)| is.holds(at));
            // What came since the look may have been acknowledged just now.
            if !self.has_byte.holds(at) {
                if let Some(Stale(_, before, read, after)) = stale {
                    write(before, at);
                    let _ = at.get(*read);
                    write(after, at);
                }
                return None;
            }
        }
        Some((at.get(self.receive) & 0xff) as u8)
    }

    /// Sends as many bytes as it takes now, and returns how many.
    pub fn send(&self, bytes: &[u8], at: &impl Registers) -> usize {
        let (mut sent, mut room) = (0, 0);
        for byte in bytes {
            if room == 0 && self.has_room.holds(at) {
                // Of a single byte nobody asks how deep the room is.
                let is_deep = || self.is_deep.as_ref().is_some_and(|deep| deep.holds(at));
                room = if bytes.len() - sent > 1 && is_deep() { DEEP } else { 1 };
            }
            if room == 0 {
                break;
            }
            at.set(self.transmit, u32::from(*byte));
            (sent, room) = (sent + 1, room - 1);
        }
        sent
    }
}
