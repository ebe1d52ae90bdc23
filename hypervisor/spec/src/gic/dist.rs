//! The Distributor's registers (IHI 0069H §12.9, IHI 0048B §4.3).

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
