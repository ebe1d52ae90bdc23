//! Making a guest take an exception at EL1, as if its own CPU had taken it (DDI0487, `AArch64.TakeException`).
//!
//! Pure: [`take`] rewrites the saved program counter and PSTATE and says what to write to the EL1 exception
//! registers. Interrupts are not injected here: the virtual CPU interface presents them.

use assay_spec::addr::Va;
use assay_spec::esr::{self, ec, fsc};
use assay_spec::exit::Abort;
use assay_spec::frame::Return;

/// What the guest is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The instruction is UNDEFINED.
    Undefined,
    /// A load, store or cache operation met a synchronous external abort.
    DataAbort {
        /// The address it used (`FAR_EL1`).
        va: Va,
        /// It was a write.
        write: bool,
        /// It was not the access itself but the walk of the guest's tables for it.
        table_walk: bool,
    },
    /// An instruction fetch met a synchronous external abort.
    InstrAbort {
        /// The address fetched from (`FAR_EL1`).
        va: Va,
        /// It was not the fetch itself but the walk of the guest's tables for it.
        table_walk: bool,
    },
}

impl Fault {
    /// The external abort for a load or store that stage 2 does not allow.
    pub const fn of_data(abort: &Abort) -> Self {
        Self::DataAbort { va: abort.va, write: abort.write, table_walk: abort.table_walk }
    }
    /// The external abort for a fetch that stage 2 does not allow.
    pub const fn of_fetch(abort: &Abort) -> Self {
        Self::InstrAbort { va: abort.va, table_walk: abort.table_walk }
    }
}

/// Which bits of PSTATE the CPU has, as far as taking an exception concerns them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PstateBits {
    /// FEAT_PAN.
    pub pan: bool,
    /// FEAT_SSBS.
    pub ssbs: bool,
    /// FEAT_MTE2: TCO is set even in a VM that does not see tags, since the hardware does so too.
    pub tco: bool,
}

/// What of the guest's EL1 state decides where and how it takes an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct El1State {
    /// VBAR_EL1.
    pub vbar: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// What PSTATE has.
    pub bits: PstateBits,
}

/// What to write to the guest's EL1 registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct El1Write {
    /// ESR_EL1.
    pub esr: u64,
    /// ELR_EL1: the instruction that is to be told off.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// FAR_EL1, if the exception writes it.
    pub far: Option<u64>,
}

/// Makes the guest that is `at` an instruction take `fault` there, and returns what goes to its EL1 registers.
///
/// `at.pc` must still be at the instruction: the preferred return address of every one of these.
#[inline(always)]
pub fn take(fault: Fault, at: &mut Return, el1: &El1State) -> El1Write {
    let origin = Origin::of(at.pstate);
    let (esr, far) = syndrome(fault, origin);
    let write = El1Write { esr, elr: at.pc, spsr: at.pstate, far };
    at.pc = (el1.vbar & !VBAR_RES0).wrapping_add(origin.vector());
    at.pstate = pstate_at_vector(at.pstate, el1);
    write
}

/// VBAR_EL1, bits 10:0.
const VBAR_RES0: u64 = 0x7ff;

/// M = EL1h.
const PSTATE_EL1H: u64 = 0b0101;
const PSTATE_DAIF: u64 = 0b1111 << 6;
const PSTATE_SSBS: u64 = 1 << 12;
const PSTATE_PAN: u64 = 1 << 22;
const PSTATE_DIT: u64 = 1 << 24;
const PSTATE_TCO: u64 = 1 << 25;
const PSTATE_NZCV: u64 = 0b1111 << 28;

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

/// Where the guest was, by `PSTATE.M` (`SPSR_EL2` bits 4:0).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    El1t,
    El1h,
    El0,
    El0Aarch32,
}

impl Origin {
    const fn of(pstate: u64) -> Self {
        // Bit 4 is nRW. EL1 is AArch64 only, so a 32-bit origin is EL0.
        match pstate & 0x1f {
            0b00000 => Self::El0,
            0b00100 => Self::El1t,
            mode if mode & 0b10000 != 0 => Self::El0Aarch32,
            _ => Self::El1h,
        }
    }

    /// Offset of the group of vectors (DDI0487 D1.4, vector offsets from the base).
    const fn vector(self) -> u64 {
        match self {
            Self::El1t => 0x000,
            Self::El1h => 0x200,
            Self::El0 => 0x400,
            Self::El0Aarch32 => 0x600,
        }
    }

    /// `lower` if the exception comes from EL0, else `same`.
    const fn class(self, lower: u8, same: u8) -> u8 {
        match self {
            Self::El0 | Self::El0Aarch32 => lower,
            Self::El1t | Self::El1h => same,
        }
    }
}

/// ESR_EL1 and FAR_EL1. IL is 1 in all of them: for aborts without ISV and for EC 0 it always is.
#[inline(always)]
fn syndrome(fault: Fault, origin: Origin) -> (u64, Option<u64>) {
    match fault {
        Fault::Undefined => (esr::encode(ec::UNKNOWN, 0), None),
        Fault::DataAbort { va, write, table_walk } => {
            let wnr = if write { esr::WNR } else { 0 };
            let class = origin.class(ec::DABT_LOWER, ec::DABT_SAME);
            // ISV and FnV are 0: no description of the access, and FAR_EL1 is valid.
            (esr::encode(class, wnr | status(table_walk)), Some(va.0))
        }
        Fault::InstrAbort { va, table_walk } => {
            let class = origin.class(ec::IABT_LOWER, ec::IABT_SAME);
            (esr::encode(class, status(table_walk)), Some(va.0))
        }
    }
}

/// The fault status. On a walk the level would be that of the guest's table, but the stage-2 syndrome has only
/// its own: level 0 stands for "somewhere in the walk".
fn status(table_walk: bool) -> u64 {
    u64::from(if table_walk { fsc::EXTERNAL_WALK } else { fsc::EXTERNAL })
}

/// PSTATE with which EL1's vector is entered, by `AArch64.TakeException`: EL1h, DAIF set, SS, IL, UAO and BTYPE
/// (for AArch32: IT and T) cleared, NZCV and DIT as they were, PAN as it was or set, SSBS by SCTLR, TCO set.
const fn pstate_at_vector(before: u64, el1: &El1State) -> u64 {
    let kept = before & (PSTATE_NZCV | PSTATE_DIT | PSTATE_PAN);
    let pan = if el1.bits.pan && el1.sctlr & SCTLR_SPAN == 0 { PSTATE_PAN } else { 0 };
    let ssbs = if el1.bits.ssbs && el1.sctlr & SCTLR_DSSBS != 0 { PSTATE_SSBS } else { 0 };
    let tco = if el1.bits.tco { PSTATE_TCO } else { 0 };
    kept | pan | ssbs | tco | PSTATE_DAIF | PSTATE_EL1H
}

#[cfg(test)]
mod tests;
