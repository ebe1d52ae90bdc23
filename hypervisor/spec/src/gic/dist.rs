//! The Distributor's registers (IHI 0069H §12.9, IHI 0048B §4.3).

use super::row::Register::{
    Absent, Cpendsgir, Ctlr, Icactiver, Icenabler, Icfgr, Icpendr, Identification, Igroupr, Iidr, Ipriorityr, Irouter,
    Isactiver, Isenabler, Ispendr, Itargetsr, Sgir, Spendsgir, Typer,
};
use super::row::{BYTE_WORD, Row, WORD, WORD_DOUBLE, row};

/// Offset of `GICD_CTLR`.
pub const CTLR: u64 = 0x0000;
/// Offset of `GICD_TYPER`.
pub const TYPER: u64 = 0x0004;
/// Offset of `GICD_IIDR`.
pub const IIDR: u64 = 0x0008;
/// Offset of `GICD_IGROUPR0`.
pub const IGROUPR: u64 = 0x0080;
/// Offset of `GICD_ISENABLER0`.
pub const ISENABLER: u64 = 0x0100;
/// Offset of `GICD_ICENABLER0`.
pub const ICENABLER: u64 = 0x0180;
/// Offset of `GICD_ISPENDR0`.
pub const ISPENDR: u64 = 0x0200;
/// Offset of `GICD_ICPENDR0`.
pub const ICPENDR: u64 = 0x0280;
/// Offset of `GICD_ISACTIVER0`.
pub const ISACTIVER: u64 = 0x0300;
/// Offset of `GICD_ICACTIVER0`.
pub const ICACTIVER: u64 = 0x0380;
/// Offset of `GICD_IPRIORITYR0`.
pub const IPRIORITYR: u64 = 0x0400;
/// Offset of `GICD_ITARGETSR0`.
pub const ITARGETSR: u64 = 0x0800;
/// Offset of `GICD_ICFGR0`.
pub const ICFGR: u64 = 0x0c00;
/// Offset of `GICD_IGRPMODR0`.
pub const IGRPMODR: u64 = 0x0d00;
/// Offset of `GICD_SGIR`.
pub const SGIR: u64 = 0x0f00;
/// Offset of `GICD_CPENDSGIR0`.
pub const CPENDSGIR: u64 = 0x0f10;
/// Offset of `GICD_SPENDSGIR0`.
pub const SPENDSGIR: u64 = 0x0f20;
/// Offset of where `GICD_IROUTER0` would be; the first that exists is `GICD_IROUTER32`.
pub const IROUTER: u64 = 0x6000;
/// Offset of `GICD_PIDR2` in a GICv3 Distributor, `GICR_PIDR2` in a Redistributor.
pub const PIDR2: u64 = 0xffe8;
/// Offset of `GICD_ICPIDR2` in a GICv2 Distributor.
pub const ICPIDR2: u64 = 0x0fe8;
/// Bytes of a GICv3 Distributor's frame.
pub const FRAME_V3: u64 = 0x1_0000;
/// Bytes of a GICv2 Distributor's frame.
pub const FRAME_V2: u64 = 0x1000;

/// `GICD_CTLR.EnableGrp0`.
pub const CTLR_ENABLE_GRP0: u32 = 1 << 0;
/// `GICD_CTLR.EnableGrp1`.
pub const CTLR_ENABLE_GRP1: u32 = 1 << 1;
/// `GICD_CTLR.ARE` with one Security state, `ARE_NS` in the Non-secure view's layout of two.
pub const CTLR_ARE: u32 = 1 << 4;
/// `GICD_CTLR.DS`: one Security state.
pub const CTLR_DS: u32 = 1 << 6;
/// `GICD_CTLR.RWP`: a write that withdraws interrupts is still on its way.
pub const CTLR_RWP: u32 = 1 << 31;
/// `GICD_TYPER.No1N`: an SPI has one target, never one of several.
pub const TYPER_NO_1N: u32 = 1 << 25;
/// `GICD_TYPER.IDbits`, the number of INTID bits minus one.
pub const TYPER_IDBITS_SHIFT: u32 = 19;
/// `GICD_TYPER.CPUNumber`, the number of PEs minus one.
pub const TYPER_CPU_NUMBER_SHIFT: u32 = 5;

/// A GICv3 Distributor with affinity routing and one Security state (`ARE` and `DS` are RAO/WI).
///
/// No message-based SPIs (`TYPER.MBIS` = 0), no extended SPIs, no NMIs.
#[rustfmt::skip]
pub static V3: [Row; 22] = [
    row(Ctlr,           0x0000,  0x0004, WORD),        // Control
    row(Typer,          0x0004,  0x0008, WORD),        // Type
    row(Iidr,           0x0008,  0x000c, WORD),        // Implementer Identification
    row(Absent,         0x000c,  0x0080, WORD),        // TYPER2, STATUSR, SETSPI_*, CLRSPI_*
    row(Igroupr,        0x0080,  0x0100, WORD),        // Interrupt Group
    row(Isenabler,      0x0100,  0x0180, WORD),        // Interrupt Set-Enable
    row(Icenabler,      0x0180,  0x0200, WORD),        // Interrupt Clear-Enable
    row(Ispendr,        0x0200,  0x0280, WORD),        // Interrupt Set-Pending
    row(Icpendr,        0x0280,  0x0300, WORD),        // Interrupt Clear-Pending
    row(Isactiver,      0x0300,  0x0380, WORD),        // Interrupt Set-Active
    row(Icactiver,      0x0380,  0x0400, WORD),        // Interrupt Clear-Active
    row(Ipriorityr,     0x0400,  0x07fc, BYTE_WORD),   // Interrupt Priority
    row(Absent,         0x0800,  0x0c00, BYTE_WORD),   // ITARGETSR: RES0 with ARE
    row(Icfgr,          0x0c00,  0x0d00, WORD),        // Interrupt Configuration
    row(Absent,         0x0d00,  0x0e00, WORD),        // IGRPMODR: RES0 with DS
    row(Absent,         0x0e00,  0x0f00, WORD),        // NSACR: RES0 with DS
    row(Absent,         0x0f00,  0x0f04, WORD),        // SGIR: RES0 with ARE
    row(Absent,         0x0f10,  0x0f30, BYTE_WORD),   // CPENDSGIR, SPENDSGIR: RES0 with ARE
    row(Absent,         0x0f80,  0x1000, WORD),        // INMIR: no NMIs
    row(Absent,         0x1000,  0x6000, WORD),        // Extended SPIs
    row(Irouter,        0x6100,  0x7fe0, WORD_DOUBLE), // Interrupt Routing
    row(Identification, 0xffd0, 0x10000, WORD),        // PIDR4 to CIDR3
];

/// A GICv2 Distributor without the Security Extensions, with both interrupt groups.
#[rustfmt::skip]
pub static V2: [Row; 18] = [
    row(Ctlr,           0x000, 0x004,  WORD),      // Distributor Control
    row(Typer,          0x004, 0x008,  WORD),      // Interrupt Controller Type
    row(Iidr,           0x008, 0x00c,  WORD),      // Distributor Implementer Identification
    row(Igroupr,        0x080, 0x100,  WORD),      // Interrupt Group
    row(Isenabler,      0x100, 0x180,  WORD),      // Interrupt Set-Enable
    row(Icenabler,      0x180, 0x200,  WORD),      // Interrupt Clear-Enable
    row(Ispendr,        0x200, 0x280,  WORD),      // Interrupt Set-Pending
    row(Icpendr,        0x280, 0x300,  WORD),      // Interrupt Clear-Pending
    row(Isactiver,      0x300, 0x380,  WORD),      // Interrupt Set-Active
    row(Icactiver,      0x380, 0x400,  WORD),      // Interrupt Clear-Active
    row(Ipriorityr,     0x400, 0x7fc,  BYTE_WORD), // Interrupt Priority
    row(Itargetsr,      0x800, 0xbfc,  BYTE_WORD), // Interrupt Processor Targets
    row(Icfgr,          0xc00, 0xd00,  WORD),      // Interrupt Configuration
    row(Absent,         0xe00, 0xf00,  WORD),      // NSACR: only with the Security Extensions
    row(Sgir,           0xf00, 0xf04,  WORD),      // Software Generated Interrupt
    row(Cpendsgir,      0xf10, 0xf20,  BYTE_WORD), // SGI Clear-Pending
    row(Spendsgir,      0xf20, 0xf30,  BYTE_WORD), // SGI Set-Pending
    row(Identification, 0xfd0, 0x1000, WORD),      // ICPIDR4 to ICCIDR3
];
