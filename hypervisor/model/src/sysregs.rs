//! What a guest gets for each system register instruction that traps, and which ones trap.
//!
//! `assay_plan::traps` is the configuration, [`answer`] the table: whatever the one makes trap, the other answers, and
//! what neither names is UNDEFINED, as on a CPU without the feature. Pure: the caller moves the value between
//! [`Answer::Read`] and the general register, and drives the devices. Who answers what:
//!
//! | register | trapped by | read | write |
//! |---|---|---|---|
//! | feature ID registers, allocated or not | `HCR_EL2.TID3` | [`GuestId`] | UNDEFINED |
//! | ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1 | `HCR_EL2.IMO`, `FMO` | UNDEFINED | SGI (a GICv3 VM) |
//! | ICC_SRE_EL1 | `ICC_SRE_EL2.Enable` = 0 | 7: no bypass, registers on (a GICv3 VM) | ignored |
//! | CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0 | `CNTHCTL_EL2.EL1PCEN` = 0 | emulated timer | emulated timer |
//! | ACTLR_EL1 | `HCR_EL2.TACR` | 0 | ignored |
//! | DC by set/way | `HCR_EL2.TSW` | – | [`Answer::SetWay`] |
//! | OSLAR_EL1 | `MDCR_EL2.TDOSA` | UNDEFINED | ignored: there is no lock |
//! | OSLSR_EL1 | `MDCR_EL2.TDOSA` | 8: implemented, unlocked | UNDEFINED |
//! | OSDLR_EL1, DBGPRCR_EL1 | `MDCR_EL2.TDOSA` | 0 | ignored |
//! | MDRAR_EL1 | `MDCR_EL2.TDRA` | 0: no ROM table | UNDEFINED |
//! | RGSR_EL1, GCR_EL1, TFSR_EL1, TFSRE0_EL1, GMID_EL1 | `HCR_EL2.ATA` = 0, `TID5` | UNDEFINED | UNDEFINED |
//! | pointer authentication keys | `HCR_EL2.APK` = 0 | UNDEFINED | UNDEFINED |
//! | PMU, SPE, TRBE, trace, AMU | `MDCR_EL2`, `CPTR_EL2` | UNDEFINED | UNDEFINED |
//! | SCXTNUM_EL0, SCXTNUM_EL1, with CSV2 of 2 or more | `HCR_EL2.EnSCXT` = 0: EL3 need not let EL2 at them | 0 | ignored |
//! | error records, LORegions, MPAM | `HCR_EL2`, MPAM2_EL2, MPAMHCR_EL2 | UNDEFINED | UNDEFINED |
//! | TCR2_EL1, SCTLR2_EL1 and what else HCRX_EL2 and the fine-grained traps hold back | both 0 | UNDEFINED | UNDEFINED |
//! | IMPLEMENTATION DEFINED | `HCR_EL2.TIDCP` | UNDEFINED | UNDEFINED |
//!
//! An instruction that is UNDEFINED at EL1 anyway does not trap: the guest's own vector hears of it.

use assay_spec::exit::SysRegAccess;
use assay_spec::sysreg::SysReg;

use crate::idregs::GuestId;
use crate::ptimer;

/// What to do about a trapped access. All but [`Answer::Undefined`] then step over the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The register reads as this.
    Read(u64),
    /// The write has no effect.
    Ignore,
    /// The guest takes an UNDEFINED exception.
    Undefined,
    /// The guest sends a software generated interrupt.
    Sgi {
        /// By which register.
        kind: Sgi,
        /// What it wrote.
        value: u64,
    },
    /// The emulated physical timer is read or written, as the access says.
    PhysTimer(ptimer::Register),
    /// Cache maintenance by set/way. Traps only where a vCPU may move between CPUs and stage 2 forces Write-Back
    /// (`HCR_EL2.FWB`), so that there is nothing to do.
    SetWay,
}

/// The register by which a guest sends an SGI (IHI 0069H §12.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sgi {
    /// ICC_SGI1R_EL1: Group 1.
    Sgi1,
    /// ICC_ASGI1R_EL1: Group 1 of the other Security state.
    Asgi1,
    /// ICC_SGI0R_EL1: Group 0.
    Sgi0,
}

/// Decides about one trapped access. `write_value` is the general register's value, for a write.
#[inline]
pub fn answer(access: SysRegAccess, id: &GuestId, write_value: u64) -> Answer {
    // What counts, but for the guest's interrupt to another vCPU, which `exits::send_sgi` finds before: a load from a table.
    if let Some(value) = id.read(access.register) {
        return if access.read { Answer::Read(value) } else { Answer::Undefined };
    }
    answer_by_row(access, id, write_value)
}

/// How a register behaves.
enum Row {
    /// Reads as this; a write is UNDEFINED.
    ReadOnly(u64),
    /// Reads as this; a write is ignored.
    ReadsAs(u64),
    /// Cannot be read; a write is ignored.
    WriteIgnored,
    /// A register of the physical timer.
    Timer(ptimer::Register),
    /// Cannot be read; a write sends an SGI in a VM with a GICv3.
    Sends(Sgi),
    /// Reads as this in a VM with a GICv3, a write is ignored; otherwise UNDEFINED.
    GicV3ReadsAs(u64),
    /// Reads as 0 in a VM that has context numbers, a write is ignored; otherwise UNDEFINED.
    ContextNumber,
    /// An instruction, by set/way.
    SetWay,
    /// There is no such register.
    Undefined,
}

/// `OSLSR_EL1.OSLM` = 0b10: the OS Lock is implemented. OSLK (bit 1) is 0.
const OSLSR_UNLOCKED: u64 = 1 << 3;
/// `ICC_SRE_EL1`: SRE, DFB and DIB.
const SRE_ON: u64 = 7;

const fn row(register: SysReg) -> Row {
    match register {
        SysReg::ACTLR_EL1 => Row::ReadsAs(0),
        SysReg::CNTP_TVAL_EL0 => Row::Timer(ptimer::Register::Tval),
        SysReg::CNTP_CTL_EL0 => Row::Timer(ptimer::Register::Ctl),
        SysReg::CNTP_CVAL_EL0 => Row::Timer(ptimer::Register::Cval),
        SysReg::ICC_SGI1R_EL1 => Row::Sends(Sgi::Sgi1),
        SysReg::ICC_ASGI1R_EL1 => Row::Sends(Sgi::Asgi1),
        SysReg::ICC_SGI0R_EL1 => Row::Sends(Sgi::Sgi0),
        SysReg::ICC_SRE_EL1 => Row::GicV3ReadsAs(SRE_ON),
        SysReg::DC_ISW | SysReg::DC_CSW | SysReg::DC_CISW => Row::SetWay,
        SysReg::DC_IGSW | SysReg::DC_CGSW | SysReg::DC_CIGSW => Row::SetWay,
        SysReg::DC_IGDSW | SysReg::DC_CGDSW | SysReg::DC_CIGDSW => Row::SetWay,
        SysReg::OSLAR_EL1 => Row::WriteIgnored,
        SysReg::OSLSR_EL1 => Row::ReadOnly(OSLSR_UNLOCKED),
        SysReg::OSDLR_EL1 | SysReg::DBGPRCR_EL1 => Row::ReadsAs(0),
        SysReg::MDRAR_EL1 => Row::ReadOnly(0),
        SysReg::SCXTNUM_EL0 | SysReg::SCXTNUM_EL1 => Row::ContextNumber,
        _ => Row::Undefined,
    }
}

fn answer_by_row(access: SysRegAccess, id: &GuestId, write_value: u64) -> Answer {
    match (row(access.register), access.read) {
        (Row::ReadOnly(value) | Row::ReadsAs(value), true) => Answer::Read(value),
        (Row::ReadsAs(_) | Row::WriteIgnored, false) => Answer::Ignore,
        (Row::Timer(register), _) => Answer::PhysTimer(register),
        (Row::SetWay, false) => Answer::SetWay,
        (Row::Sends(kind), false) if id.has_gic_registers() => Answer::Sgi { kind, value: write_value },
        (Row::GicV3ReadsAs(value), true) if id.has_gic_registers() => Answer::Read(value),
        (Row::GicV3ReadsAs(_), false) if id.has_gic_registers() => Answer::Ignore,
        (Row::ContextNumber, true) if id.has_context_numbers() => Answer::Read(0),
        (Row::ContextNumber, false) if id.has_context_numbers() => Answer::Ignore,
        _ => Answer::Undefined,
    }
}

#[cfg(test)]
mod tests;
