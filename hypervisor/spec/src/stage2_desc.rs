//! Stage-2 translation table descriptors of the 4 KiB granule, `VTCR_EL2` and `VTTBR_EL2`.
//!
//! The one place where a stage-2 bit is written or read (DDI0487 D8.3.1.2, D8.4.2, D8.6.5 to D8.6.7).
//! It knows encodings, not which memory deserves which: that is the model's policy. VTCR_EL2.DS is
//! always 0 here, so output addresses end at 48 bits and SH stays in the descriptor.

use core::fmt;

use crate::addr::Pa;

mod control;

pub use control::{PA_BITS_MAX, Vtcr, pa_bits, vttbr};

/// Entries in one table, and bytes in one entry.
pub const ENTRIES: u64 = 512;
/// Bytes in a descriptor.
pub const ENTRY_BYTES: u64 = 8;
/// Entries in a contiguous group of level 2 or 3 (D8.7.1): 32 MiB or 64 KiB.
pub const CONTIGUOUS_ENTRIES: u64 = 16;
/// The level whose leaves are pages.
pub const LAST_LEVEL: u8 = 3;

const VALID: u64 = 1 << 0;
/// Set in a table or page descriptor, clear in a block descriptor.
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEM_ATTR_SHIFT: u32 = 2;
const MEM_ATTR: u64 = 0xf << MEM_ATTR_SHIFT;
const S2AP_READ: u64 = 1 << 6;
const S2AP_WRITE: u64 = 1 << 7;
const SH_OUTER: u64 = 0b10 << 8;
const SH_INNER: u64 = 0b11 << 8;
const AF: u64 = 1 << 10;
const OUTPUT_ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const CONTIGUOUS: u64 = 1 << 52;
/// `XN[1:0]` = 0b10, never executable. Without FEAT_XNX the same bit is the whole XN field and bit 53 is
/// RES0, so that one encoding serves every CPU. 0b11 would still let EL1 execute.
const XN_NEVER: u64 = 0b10 << 53;
const XN: u64 = 0b11 << 53;
/// All that must be equal in two leaves with the same attributes.
const ATTRIBUTES: u64 = MEM_ATTR | S2AP_READ | S2AP_WRITE | SH_INNER | AF | XN;

/// The four stage-2 memory types that Assay uses. Displayed by their console names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemAttr {
    /// Normal, inner and outer Write-Back, Inner Shareable. With FWB stage 1 cannot weaken it.
    NormalWb,
    /// The same, but an access to Allocation Tags is a Permission fault (FEAT_MTE_PERM, D8.6.6).
    NormalWbNoTag,
    /// Normal, inner and outer Non-cacheable.
    NormalNc,
    /// Device-nGnRE.
    DeviceNgnre,
}

impl MemAttr {
    /// Returns `MemAttr[3:0]` as `HCR_EL2.FWB` = `fwb` reads it.
    pub const fn encode(self, fwb: bool) -> u64 {
        match (self, fwb) {
            (Self::NormalWb, false) => 0b1111,
            (Self::NormalWb, true) => 0b0110,
            (Self::NormalWbNoTag, false) => 0b0100,
            (Self::NormalWbNoTag, true) => 0b1110,
            (Self::NormalNc, _) => 0b0101,
            (Self::DeviceNgnre, _) => 0b0001,
        }
    }

    /// Tells whether the type is Write-Back, with or without tags.
    pub const fn is_write_back(self) -> bool {
        matches!(self, Self::NormalWb | Self::NormalWbNoTag)
    }
}

impl fmt::Display for MemAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NormalWb => "normal-wb",
            Self::NormalWbNoTag => "normal-wb-notag",
            Self::NormalNc => "normal-nc",
            Self::DeviceNgnre => "device-ngnre",
        })
    }
}

/// What the guest may do with the data of a page (S2AP).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rights {
    /// S2AP = 0b01.
    ReadOnly,
    /// S2AP = 0b11.
    ReadWrite,
}

/// All attributes of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Attributes {
    /// The memory type.
    pub mem: MemAttr,
    /// Data accesses.
    pub rights: Rights,
    /// Whether EL1 and EL0 may execute: XN = 0b00, else 0b10.
    pub exec: bool,
}

impl Attributes {
    /// Returns the attribute bits of a leaf.
    ///
    /// SH is Inner for Write-Back: with Non-shareable, tagging would be IMPLEMENTATION DEFINED (D10.3,
    /// R_YSLYC). For the other types hardware ignores it and behaves as Outer, so Outer is written.
    pub const fn encode(self, fwb: bool) -> u64 {
        let shareability = if self.mem.is_write_back() { SH_INNER } else { SH_OUTER };
        let rights = match self.rights {
            Rights::ReadOnly => S2AP_READ,
            Rights::ReadWrite => S2AP_READ | S2AP_WRITE,
        };
        let xn = if self.exec { 0 } else { XN_NEVER };
        AF | self.mem.encode(fwb) << MEM_ATTR_SHIFT | rights | shareability | xn
    }
}

/// A descriptor as it stands in memory, read at a level that the caller knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor(pub u64);

/// What a descriptor is at its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Not valid: an access faults.
    Invalid,
    /// Points to the table of the next level.
    Table(Pa),
    /// A block or a page.
    Leaf,
}

impl Descriptor {
    /// Makes a table descriptor. Stage 2 has no hierarchical attributes.
    pub const fn table(next: Pa) -> Self {
        Self(next.0 & OUTPUT_ADDRESS | TABLE_OR_PAGE | VALID)
    }

    /// Makes a leaf from [`Attributes::encode`]'s bits: a page at level 3, else a block.
    pub const fn leaf(level: u8, pa: Pa, attributes: u64) -> Self {
        let page = if level == LAST_LEVEL { TABLE_OR_PAGE } else { 0 };
        Self(pa.0 & OUTPUT_ADDRESS | attributes & ATTRIBUTES | page | VALID)
    }

    /// Returns the same leaf as one of a contiguous group of 16.
    pub const fn contiguous(self) -> Self {
        Self(self.0 | CONTIGUOUS)
    }

    /// Tells what the descriptor is at `level`. At level 3 a block's encoding is invalid, and so is a
    /// block at level 0 while DS is 0.
    pub const fn shape(self, level: u8) -> Shape {
        match (self.0 & VALID != 0, self.0 & TABLE_OR_PAGE != 0) {
            (true, true) if level < LAST_LEVEL => Shape::Table(Pa(self.0 & OUTPUT_ADDRESS)),
            (true, true) if level == LAST_LEVEL => Shape::Leaf,
            (true, false) if level == 1 || level == 2 => Shape::Leaf,
            _ => Shape::Invalid,
        }
    }

    /// Returns a leaf's output address.
    pub const fn output(self) -> Pa {
        Pa(self.0 & OUTPUT_ADDRESS)
    }

    /// Returns a leaf's attributes, as [`Attributes::encode`] gives them.
    pub const fn attributes(self) -> u64 {
        self.0 & ATTRIBUTES
    }

    /// Tells whether the leaf is one of a contiguous group.
    pub const fn is_contiguous(self) -> bool {
        self.0 & CONTIGUOUS != 0
    }

    /// Tells whether the leaf lets data be written.
    pub const fn is_writable(self) -> bool {
        self.0 & S2AP_WRITE != 0
    }

    /// Tells whether the leaf lets some Exception level execute.
    pub const fn is_executable(self) -> bool {
        self.0 & XN != XN_NEVER
    }
}

/// Returns how far an address is shifted right for its index at `level` (0 to 3).
pub const fn shift(level: u8) -> u32 {
    39_u32.saturating_sub(9 * level as u32)
}

/// Returns the bytes that one entry of `level` translates: 512 GiB, 1 GiB, 2 MiB or 4 KiB.
pub const fn entry_size(level: u8) -> u64 {
    1 << shift(level)
}

#[cfg(test)]
mod tests;
