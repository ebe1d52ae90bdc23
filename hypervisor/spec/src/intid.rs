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
    /// The last of the special identifiers.
    pub const SPECIAL_LAST: u32 = 1023;

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
    /// Returns this one, unless it is special: no interrupt's own.
    pub const fn if_real(self) -> Option<Self> {
        if self.0 >= Self::SPECIAL_BASE && self.0 <= Self::SPECIAL_LAST { None } else { Some(self) }
    }
    /// Tells whether this is an SGI or a PPI: one a CPU has for itself.
    pub const fn is_private(self) -> bool {
        self.0 < Self::SPI_BASE
    }
}

#[cfg(test)]
mod tests {
    use super::IntId;

    #[test]
    fn numbers_count_from_the_start_of_their_kind() {
        assert_eq!(IntId::sgi(15), IntId(15));
        assert_eq!(IntId::sgi(16), IntId(0), "modulo 16");
        assert_eq!((IntId::ppi(0), IntId::ppi(11)), (IntId(16), IntId(27)));
        assert_eq!((IntId::spi(0), IntId::spi(1)), (IntId(32), IntId(33)));
    }

    #[test]
    fn special_identifiers_are_no_interrupts() {
        for (intid, is_real) in [(0, true), (1019, true), (1020, false), (1023, false), (1024, true), (8192, true)] {
            assert_eq!(IntId(intid).if_real(), is_real.then_some(IntId(intid)), "{intid}");
        }
    }

    #[test]
    fn sgis_and_ppis_are_a_cpus_own_and_spis_are_not() {
        for intid in 0..IntId::SPECIAL_BASE {
            assert_eq!(IntId(intid).is_private(), intid < 32);
        }
    }
}
