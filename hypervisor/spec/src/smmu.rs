//! The SMMUv3 as far as stage 2 needs it: ID registers, Stream table entries, commands and events.
//!
//! (IHI 0070G.b, "SMMUv3 specification".) Tables and queues are little-endian and in Non-secure memory.

pub mod command;
pub mod event;
pub mod table;

use core::fmt;

use crate::addr::{PAGE_SIZE, Pa, Region};

/// What an SMMU can do, out of its ID registers (§6.3.1 to §6.3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// log2 of how many streams it can tell apart.
    pub stream_bits: u8,
    /// Stream tables may have two levels.
    pub two_levels: bool,
    /// VMIDs have 16 bits instead of 8.
    pub vmid_16: bool,
    /// The bits of an output address (OAS), at most 48.
    pub output_bits: u8,
    /// log2 of the most entries that its command queue and its event queue may have.
    pub queue_bits: (u8, u8),
}

/// Why an SMMU cannot do what Assay needs. Displayed as what it lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It has no stage 2.
    NoStage2,
    /// It has no tables of 64 bits, or not of the 4 KiB granule.
    NoGranule,
    /// It does not look into the CPUs' caches when it reads tables.
    NotCoherent,
    /// It reads tables as big-endian only.
    BigEndian,
    /// An access that is not allowed waits for software, which a guest's device must not make EL2 do.
    StallForced,
    /// Tables or queues are at fixed addresses.
    Preset,
    /// A queue has less than the 8 entries that are needed.
    ShortQueue,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoStage2 => "it has no stage 2 (SMMU_IDR0.S2P = 0)",
            Self::NoGranule => "it has no AArch64 tables of the 4 KiB granule (SMMU_IDR0.TTF, SMMU_IDR5.GRAN4K)",
            Self::NotCoherent => "it reads its tables past the CPUs' caches (SMMU_IDR0.COHACC = 0)",
            Self::BigEndian => "its tables are big-endian only (SMMU_IDR0.TTENDIAN)",
            Self::StallForced => "it can only stall what is not allowed (SMMU_IDR0.STALL_MODEL = 2)",
            Self::Preset => "its tables or queues have fixed addresses (SMMU_IDR1.TABLES_PRESET, QUEUES_PRESET)",
            Self::ShortQueue => "its queues are too short (SMMU_IDR1.CMDQS, EVENTQS)",
        })
    }
}

/// log2 of the fewest entries that a queue has here.
const QUEUE_BITS_MIN: u8 = 3;

impl Features {
    /// Reads `SMMU_IDR0`, `SMMU_IDR1` and `SMMU_IDR5`.
    ///
    /// # Errors
    /// What Assay cannot do without.
    pub const fn of(idr0: u32, idr1: u32, idr5: u32) -> Result<Self, Unfit> {
        if idr0 & 1 == 0 {
            return Err(Unfit::NoStage2);
        }
        if idr0 >> 2 & 0b10 == 0 || idr5 >> 4 & 1 == 0 {
            return Err(Unfit::NoGranule);
        }
        if idr0 >> 4 & 1 == 0 {
            return Err(Unfit::NotCoherent);
        }
        if idr0 >> 21 & 0b11 == 0b11 {
            return Err(Unfit::BigEndian);
        }
        if idr1 >> 29 & 0b11 != 0 {
            return Err(Unfit::Preset);
        }
        if idr0 >> 24 & 0b11 == 0b10 {
            return Err(Unfit::StallForced);
        }
        let queue_bits = ((idr1 >> 21 & 0x1f) as u8, (idr1 >> 16 & 0x1f) as u8);
        if queue_bits.0 < QUEUE_BITS_MIN || queue_bits.1 < QUEUE_BITS_MIN {
            return Err(Unfit::ShortQueue);
        }
        Ok(Self {
            stream_bits: (idr1 & 0x3f) as u8,
            two_levels: idr0 >> 27 & 0b11 == 1,
            vmid_16: idr0 >> 18 & 1 == 1,
            // The encoding is that of ID_AA64MMFR0_EL1.PARange.
            output_bits: crate::stage2_desc::pa_bits((idr5 & 7) as u8),
            queue_bits,
        })
    }

    /// Tells whether the SMMU can address all of `memory`: what it accesses beyond is truncated or a fault (§3.4.3).
    pub const fn reaches(self, memory: Region<Pa>) -> bool {
        match memory.start.0.checked_add(memory.size) {
            Some(end) => end <= 1 << self.output_bits,
            None => false,
        }
    }

    /// Tells whether tables at `root` that `vtcr` describes can be walked under `vmid`: a Stream table entry that says more
    /// than the SMMU has is illegal (§5.2, `S2T0SZ`, `S2SL0`, `S2VMID`, `S2TTB`). Level 0 is for sizes of 44 bits on
    /// (DDI0487 D24.2, VTCR_EL2).
    pub const fn can_walk(self, root: Pa, vtcr: u64, vmid: u16) -> bool {
        let (input_bits, begins_at_level_0) = (64 - (vtcr & 0x3f), vtcr >> 6 & 0b11 == 2);
        input_bits <= self.output_bits as u64
            && (!begins_at_level_0 || self.output_bits >= 44)
            && (vmid <= 0xff || self.vmid_16)
            && root.0.is_multiple_of(PAGE_SIZE)
            && self.reaches(Region { start: root, size: PAGE_SIZE })
    }
}

/// `SMMU_CR0` (§6.3.9).
pub mod cr0 {
    /// Streams are translated; without it all go by [`super::gbpa`].
    pub const SMMUEN: u32 = 1 << 0;
    /// The event queue is written.
    pub const EVENTQEN: u32 = 1 << 2;
    /// The command queue is read.
    pub const CMDQEN: u32 = 1 << 3;
    /// What a device says is translated already is checked against its stream's entry, which here allows no such access:
    /// without it all of that passes (§3.9). There only if the SMMU has ATS.
    pub const ATSCHK: u32 = 1 << 4;

    /// Returns `bits`, and [`ATSCHK`] where `SMMU_IDR0` says that there is ATS.
    pub const fn with_ats_check(bits: u32, idr0: u32) -> u32 {
        if idr0 >> 10 & 1 == 1 { bits | ATSCHK } else { bits }
    }
}

/// `SMMU_CR1` (§6.3.11): queues and tables are Write-Back and Inner Shareable.
pub const CR1_WRITE_BACK: u32 = 0b01 | 0b01 << 2 | 0b11 << 4 | 0b01 << 6 | 0b01 << 8 | 0b11 << 10;
/// `SMMU_CR2` (§6.3.12): streams beyond the table are recorded as events (`RECINVSID`); broadcast TLB invalidation is not
/// taken part in (`PTM`), since VMIDs mean something else here.
pub const CR2: u32 = 1 << 1 | 1 << 2;

/// `SMMU_GBPA` (§6.3).
pub mod gbpa {
    /// What was written has not taken effect yet.
    pub const UPDATE: u32 = 1 << 31;
    /// All accesses end with an abort.
    pub const ABORT: u32 = 1 << 20;
}

/// `SMMU_IRQ_CTRL.EVENTQ_IRQEN` (§6.3).
pub const IRQ_EVENTQ: u32 = 1 << 2;
/// `SMMU_GERROR.CMDQ_ERR` (§6.3): a command was not understood, and no other is taken.
pub const GERROR_CMDQ: u32 = 1 << 0;
/// `SMMU_EVENTQ_PROD.OVFLG` (§6.3): events were lost; toggles.
pub const OVERFLOW: u32 = 1 << 31;

/// Returns `SMMU_CMDQ_BASE` or `SMMU_EVENTQ_BASE` (§6.3.26) for a queue of 2^`bits` entries at `address`.
pub const fn queue_base(address: u64, bits: u8) -> u64 {
    // RA or WA: a hint.
    1 << 62 | address & 0x000f_ffff_ffff_ffe0 | bits as u64 & 0x1f
}

#[cfg(test)]
mod tests {
    use super::{Features, Unfit, cr0};
    use crate::addr::{PAGE_SIZE, Pa, Region};
    use crate::stage2_desc::Vtcr;

    /// Those of QEMU 10.0's.
    const IDR0: u32 = 0x0d44_101f;
    const IDR1: u32 = 0x0273_0010;
    const IDR5: u32 = 0x0000_0074;

    #[test]
    fn features_are_what_the_id_registers_say() {
        let features = Features::of(IDR0, IDR1, IDR5).unwrap();
        assert_eq!((features.stream_bits, features.output_bits, features.queue_bits), (16, 44, (19, 19)));
        assert!(features.two_levels && features.vmid_16);
    }

    #[test]
    fn what_is_said_to_be_translated_is_checked_where_that_can_be_said() {
        assert_eq!(cr0::with_ats_check(cr0::SMMUEN | cr0::CMDQEN, IDR0), 0b0_1001);
        assert_eq!(cr0::with_ats_check(cr0::SMMUEN | cr0::CMDQEN, IDR0 | 1 << 10), 0b1_1001);
        assert_eq!(cr0::with_ats_check(0, IDR0 | 1 << 10), 0b1_0000);
    }

    #[test]
    fn tables_beyond_its_addresses_or_vmids_are_not_walked() {
        let with = |output_bits, vmid_16| Features { output_bits, vmid_16, ..Features::of(IDR0, IDR1, IDR5).unwrap() };
        let vtcr = |t0sz, sl0| Vtcr { t0sz, sl0, pa_range: 4, vmid_16: true }.encode();
        let root = Pa(0x4000_0000);
        assert!(with(40, true).can_walk(root, vtcr(25, 1), 0x100));
        assert!(
            !with(40, false).can_walk(root, vtcr(25, 1), 0x100) && with(40, false).can_walk(root, vtcr(25, 1), 0xff)
        );
        assert!(!with(36, true).can_walk(root, vtcr(25, 1), 1), "39 bits");
        assert!(!with(42, true).can_walk(root, vtcr(24, 2), 1) && with(44, true).can_walk(root, vtcr(24, 2), 1));
        assert!(!with(40, true).can_walk(Pa(1 << 40), vtcr(25, 1), 1), "the root");
        assert!(!with(40, true).can_walk(Pa(0x800), vtcr(25, 1), 1), "half a page");
        let last = Region { start: Pa((1 << 40) - PAGE_SIZE), size: PAGE_SIZE };
        assert!(with(40, true).reaches(last) && !with(40, true).reaches(Region { size: 2 * PAGE_SIZE, ..last }));
    }

    #[test]
    fn what_is_lacking_is_said() {
        let unfit = |idr0, idr1, idr5| Features::of(idr0, idr1, idr5).unwrap_err();
        assert_eq!(unfit(IDR0 & !1, IDR1, IDR5), Unfit::NoStage2);
        assert_eq!(unfit(IDR0 & !0b1000, IDR1, IDR5), Unfit::NoGranule);
        assert_eq!(unfit(IDR0, IDR1, IDR5 & !0x10), Unfit::NoGranule);
        assert_eq!(unfit(IDR0 & !0x10, IDR1, IDR5), Unfit::NotCoherent);
        assert_eq!(unfit(IDR0 | 0b11 << 21, IDR1, IDR5), Unfit::BigEndian);
        assert_eq!(unfit(IDR0, IDR1 | 1 << 29, IDR5), Unfit::Preset);
        assert_eq!(unfit(IDR0 & !(0b11 << 24) | 0b10 << 24, IDR1, IDR5), Unfit::StallForced);
        assert_eq!(unfit(IDR0, IDR1 & !(0x1f << 21), IDR5), Unfit::ShortQueue);
    }
}
