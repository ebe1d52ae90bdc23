//! A GICv3 Redistributor's two frames, `RD_base` and `SGI_base` (IHI 0069H §12.10 and §12.11).
//!
//! Offsets are from `RD_base`; `SGI_base` is the next 64 KiB.

use super::row::Register::{
    Absent, Icactiver, Icenabler, Icfgr, Icpendr, Identification, Igroupr, Iidr, Ipriorityr, Isactiver, Isenabler,
    Ispendr, RedistCtlr, RedistTyper, Waker,
};
use super::row::{BYTE_WORD, Row, WORD, WORD_DOUBLE, row};

/// Bytes from one Redistributor to the next, without virtual LPIs.
pub const STRIDE: u64 = 0x2_0000;
/// Offset of `SGI_base` from `RD_base`.
pub const SGI_BASE: u64 = 0x1_0000;
/// Offset of `GICR_CTLR`.
pub const CTLR: u64 = 0x0000;
/// Offset of `GICR_TYPER`.
pub const TYPER: u64 = 0x0008;
/// Offset of `GICR_WAKER`.
pub const WAKER: u64 = 0x0014;

/// `GICR_CTLR.RWP`: a write that withdraws interrupts is still on its way.
pub const CTLR_RWP: u32 = 1 << 3;
/// `GICR_TYPER.Last`: the last Redistributor of a contiguous range.
pub const TYPER_LAST: u64 = 1 << 4;
/// `GICR_TYPER.Processor_Number`.
pub const TYPER_NUMBER_SHIFT: u32 = 8;
/// `GICR_TYPER.Affinity_Value`.
pub const TYPER_AFFINITY_SHIFT: u32 = 32;
/// `GICR_WAKER.ProcessorSleep`.
pub const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
/// `GICR_WAKER.ChildrenAsleep`.
pub const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;

/// A Redistributor without LPIs, extended PPIs and NMIs.
#[rustfmt::skip]
pub static FRAMES: [Row; 21] = [
    row(RedistCtlr,     0x00000, 0x00004, WORD),        // Control
    row(Iidr,           0x00004, 0x00008, WORD),        // Implementer Identification
    row(RedistTyper,    0x00008, 0x00010, WORD_DOUBLE), // Type
    row(Absent,         0x00010, 0x00014, WORD),        // STATUSR
    row(Waker,          0x00014, 0x00018, WORD),        // Wake
    row(Absent,         0x00018, 0x00020, WORD),        // MPAMIDR, PARTIDR
    row(Absent,         0x00040, 0x000c8, WORD_DOUBLE), // SETLPIR to SYNCR: no LPIs
    row(Identification, 0x0ffd0, 0x10000, WORD),        // PIDR4 to CIDR3
    row(Igroupr,        0x10080, 0x10084, WORD),        // Interrupt Group 0
    row(Isenabler,      0x10100, 0x10104, WORD),        // Interrupt Set-Enable 0
    row(Icenabler,      0x10180, 0x10184, WORD),        // Interrupt Clear-Enable 0
    row(Ispendr,        0x10200, 0x10204, WORD),        // Interrupt Set-Pending 0
    row(Icpendr,        0x10280, 0x10284, WORD),        // Interrupt Clear-Pending 0
    row(Isactiver,      0x10300, 0x10304, WORD),        // Interrupt Set-Active 0
    row(Icactiver,      0x10380, 0x10384, WORD),        // Interrupt Clear-Active 0
    row(Ipriorityr,     0x10400, 0x10420, BYTE_WORD),   // Interrupt Priority 0 to 7
    row(Absent,         0x10420, 0x10480, BYTE_WORD),   // Extended PPIs
    row(Icfgr,          0x10c00, 0x10c08, WORD),        // SGI and PPI Configuration
    row(Absent,         0x10d00, 0x10d04, WORD),        // IGRPMODR0: RES0 with DS
    row(Absent,         0x10e00, 0x10e04, WORD),        // NSACR: RES0 with DS
    row(Absent,         0x10f80, 0x10f84, WORD),        // INMIR0: no NMIs
];
