//! What a write that sends a Software Generated Interrupt asks for.

/// `ICC_SGI0R_EL1`, `ICC_SGI1R_EL1` and `ICC_ASGI1R_EL1`, which share a layout (IHI 0069H §12.2.17).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sgi {
    /// Which SGI, 0 to 15.
    pub intid: u32,
    /// Everyone but the sender (`IRM` = 1); the other fields then say nothing.
    pub all_others: bool,
    /// Aff3, Aff2 and Aff1 of the targets, one a byte, Aff1 lowest.
    pub cluster: u32,
    /// Targets: bit n is Aff0 = 16 × `range` + n.
    pub targets: u16,
    /// Which group of sixteen Aff0 values `targets` is about (`RS`).
    pub range: u32,
}

impl Sgi {
    /// Decodes a written value. Every value means something.
    pub const fn decode(value: u64) -> Self {
        Self {
            intid: (value >> 24 & 0xf) as u32,
            all_others: value >> 40 & 1 != 0,
            cluster: (value >> 32 & 0xff_0000) as u32 | (value >> 24 & 0xff00) as u32 | (value >> 16 & 0xff) as u32,
            targets: (value & 0xffff) as u16,
            range: (value >> 44 & 0xf) as u32,
        }
    }
}

/// Whom `GICD_SGIR` names (IHI 0048B §4.3.15, `TargetListFilter`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// The CPU interfaces of this mask.
    List(u8),
    /// All CPU interfaces but the sender's.
    AllOthers,
    /// The sender's own.
    Own,
}

/// Decodes `GICD_SGIR`: which SGI, for whom. `None` for the reserved filter.
pub const fn decode_sgir(value: u32) -> Option<(u32, Filter)> {
    let filter = match value >> 24 & 3 {
        0 => Filter::List((value >> 16 & 0xff) as u8),
        1 => Filter::AllOthers,
        2 => Filter::Own,
        _ => return None,
    };
    Some((value & 0xf, filter))
}
