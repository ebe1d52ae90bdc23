//! The hypervisor's side of the virtual CPU interface: List Registers and their control.
//!
//! GICv3 has system registers `ICH_*_EL2` (IHI 0069H §12.4), GICv2 a frame `GICH_*` (IHI 0048B §5.3).

use crate::intid::IntId;
use crate::lr::{Lr, LrState};

/// `ICH_HCR_EL2.En`, `GICH_HCR.En`: the virtual CPU interface works at all.
pub const HCR_EN: u32 = 1 << 0;
/// Maintenance interrupt when none or only one List Register is valid.
pub const HCR_UIE: u32 = 1 << 1;
/// Maintenance interrupt when no List Register is pending.
pub const HCR_NPIE: u32 = 1 << 3;

/// The contents of a free List Register.
pub const EMPTY: Lr = Lr {
    intid: IntId(0),
    state: LrState::Invalid,
    priority: 0,
    group1: false,
    hw: None,
    eoi_maintenance: false,
    source: 0,
};

const fn state_bits(state: LrState) -> u32 {
    match state {
        LrState::Invalid => 0,
        LrState::Pending => 1,
        LrState::Active => 2,
        LrState::PendingActive => 3,
    }
}

const fn state_of(bits: u32) -> LrState {
    match bits & 3 {
        0 => LrState::Invalid,
        1 => LrState::Pending,
        2 => LrState::Active,
        _ => LrState::PendingActive,
    }
}

/// `ICH_LR<n>_EL2` (IHI 0069H §12.4.8).
pub mod v3 {
    use super::{IntId, Lr, state_bits, state_of};

    const EOI: u64 = 1 << 41;
    const GROUP: u64 = 1 << 60;
    const HW: u64 = 1 << 61;

    /// Encodes a List Register. `source` has no place in it.
    #[inline(always)]
    pub const fn encode(lr: Lr) -> u64 {
        let mut raw = lr.intid.0 as u64 | (lr.priority as u64) << 48 | (state_bits(lr.state) as u64) << 62;
        if lr.group1 {
            raw |= GROUP;
        }
        match lr.hw {
            Some(physical) => raw |= HW | (physical.0 as u64 & 0x1fff) << 32,
            None if lr.eoi_maintenance => raw |= EOI,
            None => {}
        }
        raw
    }

    /// Decodes a List Register.
    pub const fn decode(raw: u64) -> Lr {
        let hw = raw & HW != 0;
        Lr {
            intid: IntId((raw & 0xffff_ffff) as u32),
            state: state_of((raw >> 62) as u32),
            priority: (raw >> 48 & 0xff) as u8,
            group1: raw & GROUP != 0,
            hw: if hw { Some(IntId((raw >> 32 & 0x1fff) as u32)) } else { None },
            eoi_maintenance: !hw && raw & EOI != 0,
            source: 0,
        }
    }
}

/// `GICH_LR<n>` (IHI 0048B §5.3.8).
pub mod v2 {
    use super::{IntId, Lr, state_bits, state_of};

    const EOI: u32 = 1 << 19;
    const GROUP: u32 = 1 << 30;
    const HW: u32 = 1 << 31;

    /// Encodes a List Register. Of the priority the upper five bits are kept.
    pub const fn encode(lr: Lr) -> u32 {
        let mut raw = lr.intid.0 & 0x3ff | (lr.priority as u32 >> 3) << 23 | state_bits(lr.state) << 28;
        if lr.group1 {
            raw |= GROUP;
        }
        match lr.hw {
            Some(physical) => raw |= HW | (physical.0 & 0x3ff) << 10,
            None => {
                raw |= (lr.source as u32 & 7) << 10;
                if lr.eoi_maintenance {
                    raw |= EOI;
                }
            }
        }
        raw
    }

    /// Decodes a List Register.
    pub const fn decode(raw: u32) -> Lr {
        let hw = raw & HW != 0;
        Lr {
            intid: IntId(raw & 0x3ff),
            state: state_of(raw >> 28),
            priority: (raw >> 20 & 0xf8) as u8,
            group1: raw & GROUP != 0,
            hw: if hw { Some(IntId(raw >> 10 & 0x3ff)) } else { None },
            eoi_maintenance: !hw && raw & EOI != 0,
            source: if hw { 0 } else { (raw >> 10 & 7) as u8 },
        }
    }
}

#[cfg(test)]
mod tests;
