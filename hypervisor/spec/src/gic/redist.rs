//! A GICv3 Redistributor's two frames, `RD_base` and `SGI_base` (IHI 0069H §12.10 and §12.11).
//!
//! Offsets are from `RD_base`; `SGI_base` is the next 64 KiB.

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
