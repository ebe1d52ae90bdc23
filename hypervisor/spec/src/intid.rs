//! Interrupt identifiers (IHI 0069H §2.2.1).

/// An interrupt's identifier as the GIC numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IntId(pub u32);

impl IntId {
    /// The first private peripheral interrupt.
    pub const PPI_BASE: u32 = 16;
    /// The first shared peripheral interrupt.
    pub const SPI_BASE: u32 = 32;
    /// One past the last shared peripheral interrupt that a Distributor can have.
    pub const SPI_END: u32 = 1020;
    /// The first of the special identifiers (1020 to 1023): nothing to acknowledge.
    pub const SPECIAL_BASE: u32 = 1020;

    /// Makes a software generated interrupt's identifier; `n` is taken modulo 16.
    pub const fn sgi(n: u32) -> Self {
        Self(n & 0xf)
    }
    /// Makes private peripheral interrupt `n` (0 to 15, INTID 16 to 31).
    pub const fn ppi(n: u32) -> Self {
        Self(Self::PPI_BASE + n)
    }
    /// Makes shared peripheral interrupt `n` (0 upwards, INTID 32 upwards).
    pub const fn spi(n: u32) -> Self {
        Self(Self::SPI_BASE + n)
    }
    /// Tells whether this is an SGI or a PPI: one a CPU has for itself.
    pub const fn is_private(self) -> bool {
        self.0 < Self::SPI_BASE
    }
    /// Tells whether this is an SGI.
    pub const fn is_sgi(self) -> bool {
        self.0 < Self::PPI_BASE
    }
}
