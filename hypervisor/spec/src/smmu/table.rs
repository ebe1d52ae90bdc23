//! Stream tables (IHI 0070G.b §5.1 to §5.3) of one or two levels: which entry is whose, and what is in it.

use crate::addr::{PAGE_SIZE, Pa};

/// Bytes of a Stream table entry, and of a descriptor of the first level.
pub const ENTRY_BYTES: u64 = 64;
/// Bytes of a descriptor of the first level.
pub const DESCRIPTOR_BYTES: u64 = 8;
/// log2 of the entries in a leaf, which is a page: the smallest split that there is.
pub const SPLIT: u8 = 6;

/// A Stream table entry: the first 32 of its 64 bytes; the rest are 0.
pub type Entry = [u64; 4];

const VALID: u64 = 1 << 0;
/// `Config`: stage 2 only.
const STAGE_2: u64 = 0b110 << 1;
/// `SHCFG`: the accesses keep their shareability.
const SHCFG_INCOMING: u64 = 1 << 44;
/// `S2AA64`: the tables are AArch64's.
const S2AA64: u64 = 1 << 51;
/// `S2R`: faults are recorded; without `S2S` they end with an abort.
const S2R: u64 = 1 << 58;
/// The fields of `VTCR_EL2` that are here too, 32 bits further up: from T0SZ to PS.
const VTCR: u64 = 0x7_ffff;
const TABLE: u64 = 0x000f_ffff_ffff_fff0;

/// All accesses of the stream abort, and nothing is recorded.
pub const ABORT: Entry = [VALID, 0, 0, 0];

/// Returns the entry of a stream whose accesses pass stage 2: tables at `root`, laid out as `vtcr` says, cached under
/// `vmid`. No ATS, no stalls; memory attributes are as without `HCR_EL2.FWB`.
pub const fn stage2(vtcr: u64, root: Pa, vmid: u16) -> Entry {
    [VALID | STAGE_2, SHCFG_INCOMING, vmid as u64 | (vtcr & VTCR) << 32 | S2AA64 | S2R, root.0 & TABLE]
}

/// Returns the descriptor that leads to a leaf of 2^[`SPLIT`] entries.
pub const fn descriptor(leaf: Pa) -> u64 {
    leaf.0 & 0x000f_ffff_ffff_ffc0 | (SPLIT as u64 + 1)
}

/// The form of a table for streams 0 to some highest one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// log2 of the streams that it covers; at least [`SPLIT`].
    pub bits: u8,
    /// Whether there is a first level. Else it is one leaf: SMMUs of more than 64 streams have two (§3.3.1).
    pub two_levels: bool,
}

impl Shape {
    /// The most that the first level may take: 2^19 leaves, 2^25 streams.
    const BITS_MAX: u8 = 25;

    /// Returns the form for streams up to `highest`; `None` if the SMMU has not so many, or no second level where that is
    /// needed, or the first level were larger than 4 MiB.
    pub const fn for_streams(highest: u32, stream_bits: u8, has_two_levels: bool) -> Option<Self> {
        let needed = ((u32::BITS - highest.leading_zeros()) & 0x3f) as u8;
        let bits = if needed < SPLIT { SPLIT } else { needed };
        let two_levels = bits > SPLIT;
        let fits = needed <= stream_bits && bits <= Self::BITS_MAX && (has_two_levels || !two_levels);
        if fits { Some(Self { bits, two_levels }) } else { None }
    }

    /// Returns the bytes of the first level, at least a page; 0 if there is none. It is aligned to its size.
    pub const fn root_bytes(self) -> u64 {
        if !self.two_levels {
            return 0;
        }
        let bytes = DESCRIPTOR_BYTES << (self.bits - SPLIT);
        if bytes < PAGE_SIZE { PAGE_SIZE } else { bytes }
    }

    /// Returns `SMMU_STRTAB_BASE_CFG` (§6.3.25).
    pub const fn base_config(self) -> u32 {
        (self.two_levels as u32) << 16 | (SPLIT as u32) << 6 | self.bits as u32
    }
}

/// Returns `SMMU_STRTAB_BASE` (§6.3.24).
pub const fn base(table: Pa) -> u64 {
    1 << 62 | table.0 & 0x000f_ffff_ffff_ffc0
}

/// Returns the leaf that a stream's entry is in, and which entry of it.
pub const fn place(stream: u32) -> (u32, u64) {
    (stream >> SPLIT, (stream & ((1 << SPLIT) - 1)) as u64)
}

#[cfg(test)]
mod tests {
    use super::{ABORT, Shape, descriptor, place, stage2};
    use crate::addr::Pa;
    use crate::stage2_desc::Vtcr;

    #[test]
    fn an_entry_has_the_fields_of_vtcr_in_their_places() {
        let vtcr = Vtcr { t0sz: 30, sl0: 1, pa_range: 4, vmid_16: true }.encode();
        let [first, second, third, fourth] = stage2(vtcr, Pa(0x4_5678_9000), 0x1234);
        // V, Config = 0b110; no S1 field, no EATS, SHCFG = 1.
        assert_eq!((first, second), (0b1101, 1 << 44));
        assert_eq!(third & 0xffff, 0x1234);
        assert_eq!((third >> 32 & 0x3f, third >> 38 & 3), (30, 1), "S2T0SZ, S2SL0");
        assert_eq!((third >> 40 & 3, third >> 42 & 3, third >> 44 & 3), (1, 1, 3), "S2IR0, S2OR0, S2SH0");
        assert_eq!((third >> 46 & 3, third >> 48 & 7), (0, 4), "S2TG, S2PS");
        // S2AA64; not S2ENDI, S2AFFD, S2PTW, S2HD, S2HA, S2S; S2R.
        assert_eq!(third >> 51, 0b1000_0001);
        assert_eq!(fourth, 0x4_5678_9000);
        assert_eq!(ABORT, [1, 0, 0, 0]);
    }

    #[test]
    fn a_table_is_as_large_as_its_streams_need() {
        let shape = |highest| Shape::for_streams(highest, 16, true);
        assert_eq!(shape(0), Some(Shape { bits: 6, two_levels: false }));
        assert_eq!(shape(63), Some(Shape { bits: 6, two_levels: false }));
        assert_eq!(shape(64), Some(Shape { bits: 7, two_levels: true }));
        assert_eq!(shape(0xffff), Some(Shape { bits: 16, two_levels: true }));
        assert_eq!(shape(0x1_0000), None);
        assert_eq!(Shape::for_streams(64, 16, false), None);
        assert_eq!(Shape::for_streams(1 << 25, 32, true), None);
        assert_eq!(shape(64).unwrap().root_bytes(), 0x1000);
        assert_eq!(shape(0xffff).unwrap().root_bytes(), 0x2000);
        assert_eq!(shape(63).unwrap().root_bytes(), 0);
        assert_eq!(shape(0xffff).unwrap().base_config(), 1 << 16 | 6 << 6 | 16);
    }

    #[test]
    fn each_stream_has_its_entry() {
        assert_eq!((place(0), place(63), place(64), place(0x1_2345)), ((0, 0), (0, 63), (1, 0), (0x48d, 5)));
        assert_eq!(descriptor(Pa(0x4000_1000)), 0x4000_1007);
    }
}
