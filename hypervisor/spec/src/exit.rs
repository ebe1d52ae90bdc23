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
        1 << self as u32
    }

    /// Returns `value` cut to this width.
    pub const fn truncate(self, value: u64) -> u64 {
        value << self.unused() >> self.unused()
    }

    /// Bits of a register of 64 that are not accessed.
    const fn unused(self) -> u32 {
        64 - (8 << self as u32)
    }
}

/// A single general-register load or store, as the syndrome that describes it in full has it (`ISS`, with `ISV` = 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access(u32);

impl Access {
    /// Returns what the syndrome of a data abort says, if `ISV` in it is 1 (DDI0487 ESR_EL2, "ISS encoding for an exception
    /// from a Data Abort").
    #[inline(always)]
    pub const fn from_syndrome(esr: u64) -> Self {
        Self((esr & 0xffff_ffff) as u32)
    }

    /// `WnR`: a store, not a load.
    pub const fn is_store(self) -> bool {
        self.0 >> 6 & 1 != 0
    }

    /// `SAS`: bytes accessed.
    pub const fn width(self) -> Width {
        match self.0 >> 22 & 3 {
            0 => Width::W1,
            1 => Width::W2,
            2 => Width::W4,
            _ => Width::W8,
        }
    }

    /// `SRT`: the register transferred, 31 = XZR.
    pub const fn register(self) -> u8 {
        (self.0 >> 16 & 31) as u8
    }

    /// Returns what a load puts into its register: cut to the access, sign-extended (`SSE`), cut to the register (`SF`).
    pub const fn extend(self, value: u64) -> u64 {
        let unused = self.width().unused();
        let value = value << unused;
        if self.0 >> 21 & 1 == 0 {
            return value >> unused;
        }
        let extended = (value as i64 >> unused) as u64;
        if self.0 >> 15 & 1 != 0 { extended } else { extended & 0xffff_ffff }
    }
}

/// A stage-2 abort, data or instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    /// The faulting intermediate physical address, with the offset in its page where it is known.
    pub ipa: Ipa,
    /// The faulting virtual address (`FAR_EL2`).
    pub va: Va,
    /// The access was a write (`WnR`), valid for data aborts.
    pub write: bool,
    /// It was no load or store but cache maintenance by address (`CM`), valid for data aborts.
    pub maintenance: bool,
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
