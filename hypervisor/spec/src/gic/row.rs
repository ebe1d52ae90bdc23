//! A register map as rows, and the search in it.
//!
//! A row says where a register (or an array of them) lies and with which widths it may be accessed;
//! what an access does is the matter of whoever models the controller.

use crate::exit::Width;

/// A register of the Distributor or of a Redistributor, by Arm's name without the frame's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// `GICD_CTLR`.
    Ctlr,
    /// `GICD_TYPER`.
    Typer,
    /// `GICD_IIDR` and `GICR_IIDR`.
    Iidr,
    /// `IGROUPR<n>`.
    Igroupr,
    /// `ISENABLER<n>`.
    Isenabler,
    /// `ICENABLER<n>`.
    Icenabler,
    /// `ISPENDR<n>`.
    Ispendr,
    /// `ICPENDR<n>`.
    Icpendr,
    /// `ISACTIVER<n>`.
    Isactiver,
    /// `ICACTIVER<n>`.
    Icactiver,
    /// `IPRIORITYR<n>`.
    Ipriorityr,
    /// `GICD_ITARGETSR<n>`.
    Itargetsr,
    /// `ICFGR<n>`.
    Icfgr,
    /// `GICD_SGIR`.
    Sgir,
    /// `GICD_CPENDSGIR<n>`.
    Cpendsgir,
    /// `GICD_SPENDSGIR<n>`.
    Spendsgir,
    /// `GICD_IROUTER<n>`, 32 onwards.
    Irouter,
    /// The identification registers, `PIDR4` to `CIDR3`.
    Identification,
    /// `GICR_CTLR`.
    RedistCtlr,
    /// `GICR_TYPER`.
    RedistTyper,
    /// `GICR_WAKER`.
    Waker,
    /// A register the manual has and this kind of controller has not: RAZ/WI.
    Absent,
}

/// The widths a register may be accessed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Widths(u8);

/// Words only.
pub const WORD: Widths = Widths(4);
/// Bytes and words.
pub const BYTE_WORD: Widths = Widths(1 | 4);
/// Words and doublewords.
pub const WORD_DOUBLE: Widths = Widths(4 | 8);

impl Widths {
    /// Tells whether accesses of `width` are among them.
    pub const fn allows(self, width: Width) -> bool {
        self.0
            & match width {
                Width::W1 => 1,
                Width::W2 => 2,
                Width::W4 => 4,
                Width::W8 => 8,
            }
            != 0
    }
}

/// One row of a register map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which register.
    pub register: Register,
    /// Offset of its first byte in the frame.
    pub first: u32,
    /// Offset after its last byte.
    pub end: u32,
    /// Allowed widths.
    pub widths: Widths,
}

/// Makes a row: `register` from offset `first` up to, but without, `end`.
pub(super) const fn row(register: Register, first: u32, end: u32, widths: Widths) -> Row {
    Row { register, first, end, widths }
}

/// Looks up an access in `rows`, which are in ascending order.
///
/// Returns the register and the byte offset in it, or `None` for what is reserved, not naturally
/// aligned, or of a width the register does not have. The architecture leaves those UNPREDICTABLE
/// within limits (IHI 0069H §12.1.3, IHI 0048B §4.1.4), RAZ/WI among them.
pub fn find(rows: &[Row], offset: u64, width: Width) -> Option<(Register, u32)> {
    let offset = u32::try_from(offset).ok()?;
    let row = rows.get(rows.partition_point(|row| row.end <= offset))?;
    let within = offset.checked_sub(row.first)?;
    let aligned = u64::from(offset) & (width.bytes() - 1) == 0;
    (aligned && row.widths.allows(width)).then_some((row.register, within))
}
