//! Why a guest left for EL2, decoded (DDI0487, ESR_EL2).

use crate::addr::{Ipa, Va};

/// Width of a memory access in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// One byte.
    W1,
    /// Two bytes.
    W2,
    /// Four bytes.
    W4,
    /// Eight bytes.
    W8,
}

impl Width {
    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::W1 => 1,
            Self::W2 => 2,
            Self::W4 => 4,
            Self::W8 => 8,
        }
    }
    /// Returns `value` cut to this width.
    pub const fn truncate(self, value: u64) -> u64 {
        match self {
            Self::W1 => value & 0xff,
            Self::W2 => value & 0xffff,
            Self::W4 => value & 0xffff_ffff,
            Self::W8 => value,
        }
    }
}

/// A single general-register load or store that the syndrome describes in full (`ISS.ISV` = 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Store (true) or load.
    pub write: bool,
    /// Bytes accessed.
    pub width: Width,
    /// The register transferred, 31 = XZR (`ISS.SRT`).
    pub register: u8,
    /// The load sign-extends (`ISS.SSE`).
    pub sign_extend: bool,
    /// The register is 64 bits wide (`ISS.SF`); otherwise a load zeroes bits 63:32.
    pub sixty_four: bool,
}

/// A stage-2 abort, data or instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    /// The faulting intermediate physical address, with the offset in its page where it is known.
    pub ipa: Ipa,
    /// The faulting virtual address (`FAR_EL2`).
    pub va: Va,
    /// Which instruction it was, for a data abort with `ISV` = 1.
    pub access: Option<Access>,
    /// The access was a write (`WnR`), valid for data aborts.
    pub write: bool,
    /// The fault came from a stage-1 table walk (`S1PTW`).
    pub table_walk: bool,
    /// Tag access to memory mapped NoTagAccess (`ISS2.TagAccess`).
    pub tag_access: bool,
    /// Data or instruction fault status code, `ISS[5:0]`.
    pub status: u8,
    /// The exception came from EL0 (from `SPSR_EL2`; `false` until the caller fills it in).
    pub from_el0: bool,
}

/// A trapped system-register instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysRegAccess {
    /// The register.
    pub register: crate::sysreg::SysReg,
    /// `MRS` (true) or `MSR`.
    pub read: bool,
    /// The general register, 31 = XZR.
    pub rt: u8,
}

/// Why a guest left for EL2 by a synchronous exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// `HVC #imm`; the saved program counter is already past it.
    Hvc {
        /// The immediate.
        imm: u16,
    },
    /// `SMC #imm`, trapped: the saved program counter is at it.
    Smc {
        /// The immediate.
        imm: u16,
    },
    /// A load or store that stage 2 does not allow.
    DataAbort(Abort),
    /// An instruction fetch that stage 2 does not allow.
    InstrAbort(Abort),
    /// A trapped `MRS`, `MSR` or system instruction.
    SysReg(SysRegAccess),
    /// A trapped `WFI` (false) or `WFE` (true), with or without timeout.
    Wfx {
        /// WFE or WFET rather than WFI or WFIT.
        event: bool,
        /// Of 32 bits: not so for some of EL0's in AArch32.
        wide: bool,
    },
    /// Use of FP, SIMD, SVE or SME that is trapped.
    FpTrap,
    /// An exception class with no handler here: the guest gets UNDEFINED.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::Width;

    #[test]
    fn a_value_keeps_the_bits_of_its_width() {
        for (width, bytes, kept) in
            [(Width::W1, 1, 0xff), (Width::W2, 2, 0xffff), (Width::W4, 4, 0xffff_ffff), (Width::W8, 8, u64::MAX)]
        {
            assert_eq!((width.bytes(), width.truncate(u64::MAX)), (bytes, kept));
            assert_eq!(width.truncate(0x8765_4321_8765_4321), 0x8765_4321_8765_4321 & kept);
        }
    }
}
