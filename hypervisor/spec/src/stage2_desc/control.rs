//! `VTCR_EL2` and `VTTBR_EL2` (DDI0487 D24.2), for the 4 KiB granule without FEAT_LPA2.

use crate::addr::Pa;

/// The widest address that descriptors reach with VTCR_EL2.DS = 0.
pub const PA_BITS_MAX: u8 = 48;

/// Inner and outer Write-Back, Read- and Write-Allocate, Inner Shareable table walks: the only memory
/// for which the architecture promises coherent walks and atomic table updates (D8.5.4).
const WALKS: u64 = 0b01 << 8 | 0b01 << 10 | 0b11 << 12;
const VS: u64 = 1 << 19;
const RES1: u64 = 1 << 31;

/// The fields of `VTCR_EL2` that vary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vtcr {
    /// 64 minus the bits of an intermediate physical address.
    pub t0sz: u8,
    /// The level where a walk starts, encoded: 2 is level 0, 1 is level 1, 0 is level 2.
    pub sl0: u8,
    /// `ID_AA64MMFR0_EL1.PARange`, the minimum of all CPUs. Beyond 5 it is written as 5 (48 bits).
    pub pa_range: u8,
    /// Whether VMIDs have 16 bits (`ID_AA64MMFR1_EL1.VMIDBits` = 2) instead of 8.
    pub vmid_16: bool,
}

impl Vtcr {
    /// Returns the register's value. TG0 = 0b00 (4 KiB), HA = HD = 0, DS = 0.
    pub const fn encode(self) -> u64 {
        let pa_range = if self.pa_range > 5 { 5 } else { self.pa_range };
        let vs = if self.vmid_16 { VS } else { 0 };
        (self.t0sz & 0x3f) as u64 | ((self.sl0 & 3) as u64) << 6 | WALKS | (pa_range as u64) << 16 | vs | RES1
    }
}

/// Returns the address bits that `ID_AA64MMFR0_EL1.PARange` stands for, at most [`PA_BITS_MAX`].
///
/// A value newer than this code is wider than 48 bits; values only ever grow (D24.2 PARange).
pub const fn pa_bits(pa_range: u8) -> u8 {
    match pa_range & 0xf {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => PA_BITS_MAX,
    }
}

/// Returns `VTTBR_EL2` for tables that start at `root`. CnP is 0, which is right on every CPU; 1 would
/// only let CPUs that share a TLB share its entries.
pub const fn vttbr(vmid: u16, root: Pa) -> u64 {
    (vmid as u64) << 48 | root.0 & 0x0000_ffff_ffff_fffe
}
