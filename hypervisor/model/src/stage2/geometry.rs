//! The shape of a VM's tables: address bits, start level and concatenated start tables.
//!
//! Up to 16 tables may be concatenated at the start level (DDI0487 D8.2.2), which saves a level of the
//! walk. The shortest walk that does it is taken: level 2 up to 34 bits, level 1 up to 43, else level 0.
//! That is also what the architecture asks for, which has level 0 only where there are more than 43 bits.

use assay_spec::stage2_desc::{LAST_LEVEL, PA_BITS_MAX, shift};
use thiserror::Error;

/// The fewest address bits that a VM gets: what a 32-bit guest may rely on. T0SZ is at most 39 without
/// FEAT_TTST, so that 25 would be possible.
const IPA_BITS_MIN: u8 = 32;
/// log2 of the most tables that can be concatenated.
const CONCATENATED_BITS: u32 = 4;
/// log2 of the entries in a table.
const INDEX_BITS: u32 = 9;

/// The shape of a VM's stage-2 tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    ipa_bits: u8,
    start_level: u8,
}

/// The guest needs more address bits than the machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the VM needs {needed} bits of guest addresses, the CPUs have {available}: give it less memory or lower addresses"
)]
pub struct GeometryError {
    /// The bits needed.
    pub needed: u8,
    /// The bits that there are.
    pub available: u8,
}

impl Geometry {
    /// Makes the shape for guest addresses below 2^`needed` on CPUs with `pa_bits` address bits.
    ///
    /// # Errors
    /// More bits are needed than the smaller of `pa_bits` and 48: the input size of stage 2 may not
    /// exceed the physical address size (DDI0487 D8.2.2).
    pub const fn new(needed: u8, pa_bits: u8) -> Result<Self, GeometryError> {
        let available = if pa_bits < PA_BITS_MAX { pa_bits } else { PA_BITS_MAX };
        let ipa_bits = if needed < IPA_BITS_MIN { IPA_BITS_MIN } else { needed };
        if ipa_bits > available {
            return Err(GeometryError { needed: ipa_bits, available });
        }
        let mut start_level = LAST_LEVEL - 1;
        while ipa_bits as u32 > shift(start_level) + INDEX_BITS + CONCATENATED_BITS {
            start_level -= 1;
        }
        Ok(Self { ipa_bits, start_level })
    }

    /// Returns the bits that addresses below `end` need.
    pub fn bits_below(end: u64) -> u8 {
        let bits = u64::BITS - end.saturating_sub(1).leading_zeros();
        u8::try_from(bits).unwrap_or(u8::MAX)
    }

    /// Returns a shape for the same addresses with one start table, for those who walk on hardware whose addresses have
    /// `pa_bits`; the same shape where there is none. QEMU's SMMUv3 (10.0) finds only the first of concatenated tables.
    pub const fn with_one_table(self, pa_bits: u8) -> Self {
        let start_level = match self.ipa_bits {
            ..=39 => 1,
            // Level 0 is reserved on smaller machines (DDI0487 D8.2.2).
            _ if pa_bits >= 44 => 0,
            _ => self.start_level,
        };
        Self { start_level, ..self }
    }

    /// Returns the bits of a guest address.
    pub const fn ipa_bits(self) -> u8 {
        self.ipa_bits
    }
    /// Returns the first address that the tables cannot map.
    pub const fn end(self) -> u64 {
        1 << self.ipa_bits
    }
    /// Returns the level where a walk starts, 0 to 2.
    pub const fn start_level(self) -> u8 {
        self.start_level
    }
    /// Returns the pages of the start tables together, 1 to 16.
    pub const fn root_pages(self) -> usize {
        1 << (self.ipa_bits as u32).saturating_sub(shift(self.start_level) + INDEX_BITS)
    }
    /// Returns `VTCR_EL2.T0SZ`.
    pub const fn t0sz(self) -> u8 {
        64 - self.ipa_bits
    }
    /// Returns `VTCR_EL2.SL0`.
    pub const fn sl0(self) -> u8 {
        2 - self.start_level
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, GeometryError};

    fn shape(needed: u8, pa_bits: u8) -> (u8, u8, u8, usize) {
        let geometry = Geometry::new(needed, pa_bits).unwrap();
        (geometry.t0sz(), geometry.sl0(), geometry.start_level(), geometry.root_pages())
    }

    #[test]
    fn one_start_table_is_a_level_higher_where_the_manual_has_that() {
        let shape = |needed, pa_bits| {
            let geometry = Geometry::new(needed, pa_bits).unwrap().with_one_table(pa_bits);
            (geometry.ipa_bits(), geometry.start_level(), geometry.root_pages())
        };
        assert_eq!(shape(32, 48), (32, 1, 1));
        assert_eq!(shape(39, 40), (39, 1, 1));
        assert_eq!(shape(40, 44), (40, 0, 1));
        assert_eq!(shape(40, 40), (40, 1, 2));
        assert_eq!(shape(48, 48), (48, 0, 1));
    }

    #[test]
    fn start_tables_are_concatenated_as_the_manual_lists_them() {
        // T0SZ, SL0, start level, tables (DDI0487 D8.2.2, 4 KiB granule).
        assert_eq!(shape(32, 48), (32, 0, 2, 4));
        assert_eq!(shape(33, 48), (31, 0, 2, 8));
        assert_eq!(shape(34, 48), (30, 0, 2, 16));
        assert_eq!(shape(35, 48), (29, 1, 1, 1));
        assert_eq!(shape(39, 48), (25, 1, 1, 1));
        assert_eq!(shape(40, 40), (24, 1, 1, 2));
        assert_eq!(shape(41, 48), (23, 1, 1, 4));
        assert_eq!(shape(42, 42), (22, 1, 1, 8));
        assert_eq!(shape(43, 48), (21, 1, 1, 16));
        assert_eq!(shape(44, 44), (20, 2, 0, 1));
        assert_eq!(shape(48, 48), (16, 2, 0, 1));
    }

    #[test]
    fn a_small_guest_still_gets_32_bits() {
        assert_eq!(shape(20, 40), shape(32, 40));
    }

    #[test]
    fn every_size_is_consistent_with_its_start_level() {
        for bits in 32..=48 {
            let geometry = Geometry::new(bits, 48).unwrap();
            let level = geometry.start_level();
            let spanned = 39 - 9 * u32::from(level) + 9;
            assert!(u32::from(bits) <= spanned + geometry.root_pages().ilog2());
            assert!(geometry.root_pages() <= 16 && geometry.root_pages().is_power_of_two());
            // Concatenated only if needed.
            assert!(geometry.root_pages() == 1 || u32::from(bits) > spanned);
        }
    }

    #[test]
    fn a_guest_never_gets_more_bits_than_the_machine() {
        let error = GeometryError { needed: 41, available: 40 };
        assert_eq!(Geometry::new(41, 40), Err(error));
        let error = GeometryError { needed: 49, available: 48 };
        assert_eq!(Geometry::new(49, 52), Err(error));
    }

    #[test]
    fn the_bits_of_a_range_are_those_of_its_last_byte() {
        assert_eq!(Geometry::bits_below(0x1_0000_0000), 32);
        assert_eq!(Geometry::bits_below(0x1_0000_0001), 33);
        assert_eq!(Geometry::bits_below(0x8000_0000), 31);
        assert_eq!(Geometry::bits_below(u64::MAX), 64);
        assert_eq!(Geometry::bits_below(0), 0);
    }
}
