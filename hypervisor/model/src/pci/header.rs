//! The registers of a configuration header that are used here.

/// Vendor and device ID.
pub const ID: u16 = 0x00;
/// Command in bits 15:0, Status (write one to clear) in bits 31:16.
pub const COMMAND: u16 = 0x04;
/// Revision in bits 7:0, class code in 31:8: programming interface, subclass, base class.
pub const CLASS: u16 = 0x08;
/// Cache line size, latency timer, header type in bits 23:16, BIST.
pub const HEADER_TYPE: u16 = 0x0c;
/// The first BAR; the others follow.
pub const BAR0: u16 = 0x10;
/// Expansion ROM of an endpoint; bit 0 enables it.
pub const ROM: u16 = 0x30;
/// Expansion ROM of a bridge.
pub const BRIDGE_ROM: u16 = 0x38;
/// Interrupt line, which is software's, in bits 7:0 and interrupt pin in 15:8 (1 is INTA, 0 is none).
pub const INTERRUPT: u16 = 0x3c;
/// Of a bridge: primary, secondary and subordinate bus, secondary latency timer.
pub const BUSES: u16 = 0x18;
/// Of a bridge: memory base in bits 15:4 and limit in 31:20, both in MiB.
pub const MEMORY_WINDOW: u16 = 0x20;
/// Of a bridge: the same of prefetchable memory; bit 0 says that the upper halves exist.
pub const PREFETCHABLE_WINDOW: u16 = 0x24;
/// Of a bridge: bits 63:32 of the prefetchable base.
pub const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
/// Of a bridge: bits 63:32 of the prefetchable limit.
pub const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;

/// Command: the function answers in I/O space.
pub const IO_SPACE: u32 = 1 << 0;
/// Command: the function answers in memory space.
pub const MEMORY_SPACE: u32 = 1 << 1;
/// Command: the function may make accesses of its own.
pub const BUS_MASTER: u32 = 1 << 2;
/// Command: the function does not assert INTx.
pub const INTX_DISABLE: u32 = 1 << 10;

/// The ROM's enable bit.
pub const ROM_ENABLE: u32 = 1;
/// The ROM's address bits.
pub const ROM_ADDRESS: u32 = 0xffff_f800;

/// What a header describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A function with up to 6 BARs.
    Endpoint,
    /// A PCI-to-PCI bridge, with up to 2.
    Bridge,
    /// Something else, a CardBus bridge for instance.
    Other,
}

impl Layout {
    /// Reads it from the header type.
    pub const fn of(header_type: u32) -> Self {
        match header_type >> 16 & 0x7f {
            0 => Self::Endpoint,
            1 => Self::Bridge,
            _ => Self::Other,
        }
    }

    /// How many BARs it can have.
    pub const fn bars(self) -> u8 {
        match self {
            Self::Endpoint => 6,
            Self::Bridge => 2,
            Self::Other => 0,
        }
    }

    /// Where its expansion ROM's register is.
    pub const fn rom(self) -> Option<u16> {
        match self {
            Self::Endpoint => Some(ROM),
            Self::Bridge => Some(BRIDGE_ROM),
            Self::Other => None,
        }
    }
}
