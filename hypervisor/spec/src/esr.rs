//! `ESR_EL2`: exception classes, and the decoding of a syndrome into an [`Exit`] (DDI0487 D24.2, ESR_EL2).
//!
//! Also builds the few syndromes that EL2 presents to a guest at EL1. Pure: the caller reads the registers.

use crate::addr::{Ipa, Va};
use crate::exit::{Abort, Access, Exit, SysRegAccess};
use crate::sysreg::SysReg;

/// Exception classes, `ESR_ELx.EC`.
pub mod ec {
    /// Unknown reason: what an UNDEFINED instruction reports.
    pub const UNKNOWN: u8 = 0x00;
    /// Trapped WFI, WFE, WFIT or WFET.
    pub const WFX: u8 = 0x01;
    /// Trapped use of SVE, Advanced SIMD or floating point by CPACR or CPTR.
    pub const FP: u8 = 0x07;
    /// Trapped use of pointer authentication.
    pub const PAC: u8 = 0x09;
    /// HVC from AArch64.
    pub const HVC64: u8 = 0x16;
    /// SMC from AArch64.
    pub const SMC64: u8 = 0x17;
    /// Trapped MSR, MRS or system instruction.
    pub const SYSREG: u8 = 0x18;
    /// Trapped use of SVE by `CPTR_EL2.TZ`.
    pub const SVE: u8 = 0x19;
    /// Trapped use of SME.
    pub const SME: u8 = 0x1d;
    /// Instruction abort from a lower level.
    pub const IABT_LOWER: u8 = 0x20;
    /// Instruction abort from the same level.
    pub const IABT_SAME: u8 = 0x21;
    /// PC alignment fault.
    pub const PC_ALIGNMENT: u8 = 0x22;
    /// Data abort from a lower level.
    pub const DABT_LOWER: u8 = 0x24;
    /// Data abort from the same level.
    pub const DABT_SAME: u8 = 0x25;
    /// SP alignment fault.
    pub const SP_ALIGNMENT: u8 = 0x26;
    /// SError.
    pub const SERROR: u8 = 0x2f;
}

/// Fault status codes of aborts, `ISS[5:0]`.
pub mod fsc {
    /// Permission fault, level 0; `+ level` for the others.
    pub const PERMISSION: u8 = 0x0c;
    /// Synchronous external abort, not on a table walk.
    pub const EXTERNAL: u8 = 0x10;
    /// Synchronous external abort on a table walk, level 0; `+ level` for the others.
    pub const EXTERNAL_WALK: u8 = 0x14;
}

/// `ESR_ELx.IL`: a 32-bit instruction, or one of the classes for which the bit is always set.
pub const IL: u64 = 1 << 25;
/// `ISS.ISV`: the syndrome describes the access in full.
const ISV: u64 = 1 << 24;
/// `ISS.S1PTW`.
const S1PTW: u64 = 1 << 7;
/// `ISS.WnR`.
pub const WNR: u64 = 1 << 6;
/// `ISS2.TagAccess`: bit 9 of ISS2, which starts at bit 32.
const TAG_ACCESS: u64 = 1 << 41;
/// `ISS.CM` of a data abort.
const CM: u64 = 1 << 8;
/// `HPFAR_EL2.FIPA`, bits 43:4 = `IPA[51:12]`.
const FIPA: u64 = 0x0000_0fff_ffff_fff0;

/// Returns a syndrome of class `class` with `iss`, `IL` set.
pub const fn encode(class: u8, iss: u64) -> u64 {
    (class as u64) << 26 | IL | iss
}

/// Returns the general register that a syndrome names, if it is of a load or store, a system register's instruction or a WFIT.
/// Of others it is any number, but 0 of a call by immediate 0.
#[inline(always)]
pub const fn named_register(esr: u64) -> u8 {
    let at = if class(esr) == ec::DABT_LOWER { esr >> 16 } else { esr >> 5 };
    (at & 31) as u8
}

/// Returns a syndrome's exception class.
#[inline(always)]
pub const fn class(esr: u64) -> u8 {
    (esr >> 26 & 0x3f) as u8
}

/// Decodes a synchronous exception from a guest. Total: what has no meaning here is [`Exit::Unknown`].
///
/// `far` and `hpfar` are used for aborts only, and may be stale otherwise. An abort's `ipa` is what
/// `HPFAR_EL2` held: see [`ipa_is_valid`]. Inlined into the exit path, where the compiler then keeps the fields in
/// registers and drops those that no one looks at: call it in one place.
#[inline(always)]
pub const fn decode(esr: u64, far: u64, hpfar: u64) -> Exit {
    match class(esr) {
        ec::HVC64 => Exit::Hvc { imm: (esr & 0xffff) as u16 },
        ec::DABT_LOWER => Exit::DataAbort(data_abort(esr, far, hpfar)),
        ec::SYSREG => Exit::SysReg(register_access(esr)),
        ec::SMC64 => Exit::Smc { imm: (esr & 0xffff) as u16 },
        ec::IABT_LOWER => Exit::InstrAbort(abort(esr & !WNR, far, hpfar, false)),
        // TI: 0 WFI, 1 WFE, 2 WFIT, 3 WFET.
        ec::WFX => Exit::Wfx { event: esr & 1 != 0, wide: esr & IL != 0 },
        ec::FP | ec::SVE | ec::SME => Exit::FpTrap,
        _ => Exit::Unknown,
    }
}

/// Decodes a data abort from a guest, as [`decode`] does.
#[inline(always)]
pub const fn data_abort(esr: u64, far: u64, hpfar: u64) -> Abort {
    abort(esr, far, hpfar, esr & TAG_ACCESS != 0)
}

/// Decodes a load or store by one general register that missed in stage 2, as a device's registers do: address and
/// what it is. `None` for everything else, of which [`decode`] knows more.
#[inline(always)]
pub const fn device_access((esr, far, hpfar): (u64, u64, u64)) -> Option<(Ipa, Access)> {
    const CLASS: u64 = 0x3f << 26;
    const IS_TOLD: u64 = (ec::DABT_LOWER as u64) << 26 | ISV;
    if esr & (CLASS | ISV | S1PTW | TAG_ACCESS) != IS_TOLD || esr & 0x3f >= fsc::PERMISSION as u64 {
        return None;
    }
    Some((Ipa((hpfar & FIPA) << 8 | far & 0xfff), Access::from_syndrome(esr)))
}

/// Tells whether a syndrome is of a load or store by one general register, or of cache maintenance, that stage 2 does not
/// permit. Which address it is for is not known: see [`ipa_is_valid`].
pub const fn is_unpermitted_write(esr: u64) -> bool {
    let is_told = class(esr) == ec::DABT_LOWER && esr & (ISV | CM) != 0 && esr & WNR != 0;
    is_told && esr & (S1PTW | TAG_ACCESS) == 0 && esr & 0x3c == fsc::PERMISSION as u64
}

/// `ISS.FnV` of an external abort: `FAR_EL2` does not hold the address.
const FNV: u64 = 1 << 10;

/// Tells whether a syndrome is of a synchronous external abort or a parity or ECC error, of an access from EL1 or EL0 or of a
/// walk of its tables; and if so, whether `FAR_EL2` holds the address of what failed, which after a walk is a table's and not
/// known (DDI0487 ESR_EL2, DFSC and FnV).
#[inline]
pub const fn external_abort(esr: u64) -> Option<bool> {
    let is_abort = matches!(class(esr), ec::DABT_LOWER | ec::IABT_LOWER);
    let is_external = matches!(esr & 0x3f, 0x10 | 0x13..=0x18 | 0x1b..=0x1f);
    let is_walk = !matches!(esr & 0x3f, 0x10 | 0x18);
    if is_abort && is_external { Some(esr & FNV == 0 && !is_walk) } else { None }
}

/// Tells whether an SError's syndrome says that it cannot be contained: what any memory holds is open then
/// (DDI0487 ESR_ELx, "ISS encoding for an SError exception", AET).
pub const fn is_uncontainable(esr: u64) -> bool {
    /// IDS: the rest is IMPLEMENTATION DEFINED.
    const IDS: u64 = 1 << 24;
    /// DFSC of an SError with AET.
    const ASYNCHRONOUS: u64 = 0x11;
    class(esr) == ec::SERROR && esr & IDS == 0 && esr & 0x3f == ASYNCHRONOUS && esr >> 10 & 7 == 0
}

/// Returns the load or store by one general register that the syndrome of a data abort describes in full.
pub const fn told_access(esr: u64) -> Option<Access> {
    if esr & ISV != 0 { Some(Access::from_syndrome(esr)) } else { None }
}

/// Tells whether `HPFAR_EL2` was written by an abort with this syndrome.
///
/// It is for stage-2 Translation, Access flag and Address size faults, and for any stage-2 fault on a stage-1
/// walk; after a Permission fault outside a walk (`TagAccess` among them) it is UNKNOWN, and the IPA has to
/// come from translating `FAR_EL2` (DDI0487 D24.2, HPFAR_EL2).
pub const fn ipa_is_valid(abort: &Abort) -> bool {
    abort.table_walk || (abort.status & 0x3f < fsc::PERMISSION && !abort.tag_access)
}

/// Returns what a syndrome of class [`ec::SYSREG`] is of.
#[inline(always)]
pub const fn register_access(esr: u64) -> SysRegAccess {
    SysRegAccess { register: register(esr), read: esr & 1 != 0, rt: (esr >> 5 & 31) as u8 }
}

/// Tells whether a syndrome is of a write of `register`.
#[inline(always)]
pub const fn is_write_of(esr: u64, register: SysReg) -> bool {
    /// Class, Op0, Op2, Op1, CRn, CRm and direction.
    const FIELDS: u64 = 0x3f << 26 | 0x3f_fc00 | 0x1f;
    let named = register.0 as u64;
    let (op0, op2) = (named >> 14, named & 7);
    esr & FIELDS
        == (ec::SYSREG as u64) << 26 | op0 << 20 | op2 << 17 | (named >> 7 & 0x7f) << 10 | (named >> 3 & 15) << 1
}

/// The register of an `EC` 0x18 syndrome: Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, CRm 4:1.
#[inline(always)]
const fn register(esr: u64) -> SysReg {
    // Op1 and CRn are neighbours in the syndrome and in `SysReg`, so four moves do.
    let packed = (esr >> 20 & 3) << 14 | (esr >> 10 & 0x7f) << 7 | (esr >> 1 & 15) << 3 | (esr >> 17 & 7);
    SysReg((packed & 0xffff) as u16)
}

#[inline(always)]
const fn abort(esr: u64, far: u64, hpfar: u64, tag_access: bool) -> Abort {
    let table_walk = esr & S1PTW != 0;
    // On a walk FAR_EL2 is the address being translated, not that of the descriptor.
    let offset = if table_walk { 0 } else { far & 0xfff };
    Abort {
        ipa: Ipa((hpfar & FIPA) << 8 | offset),
        va: Va(far),
        write: esr & WNR != 0,
        maintenance: esr & CM != 0,
        table_walk,
        tag_access,
        status: (esr & 0x3f) as u8,
        from_el0: false,
    }
}

/// Returns the name of an exception class, for reports.
pub const fn class_name(class: u8) -> &'static str {
    match class {
        ec::UNKNOWN => "unknown",
        ec::WFX => "wfx",
        0x03..=0x06 | 0x08 | 0x0c => "aarch32-coprocessor",
        ec::FP => "fp",
        ec::PAC => "pointer-authentication",
        0x0a => "ls64",
        0x0d => "branch-target",
        0x0e => "illegal-state",
        0x11 | 0x15 => "svc",
        0x12 | ec::HVC64 => "hvc",
        0x13 | ec::SMC64 => "smc",
        0x14 => "system-register-128",
        ec::SYSREG => "system-register",
        ec::SVE => "sve",
        0x1a => "eret",
        0x1c => "pac-fail",
        ec::SME => "sme",
        0x1e => "granule-protection",
        ec::IABT_LOWER | ec::IABT_SAME => "instruction-abort",
        ec::PC_ALIGNMENT => "pc-alignment",
        ec::DABT_LOWER | ec::DABT_SAME => "data-abort",
        ec::SP_ALIGNMENT => "sp-alignment",
        0x27 => "memory-copy",
        0x28 | 0x2c => "fp-exception",
        0x2d => "guarded-control-stack",
        ec::SERROR => "serror",
        0x30 | 0x31 => "breakpoint",
        0x32 | 0x33 => "software-step",
        0x34 | 0x35 => "watchpoint",
        0x38 | 0x3c => "brk",
        0x3a => "vector-catch",
        0x3d => "profiling",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests;
