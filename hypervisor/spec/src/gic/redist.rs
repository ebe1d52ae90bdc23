//! A GICv3 Redistributor's two frames, `RD_base` and `SGI_base` (IHI 0069H §12.10 and §12.11).
//!
//! Offsets are from `RD_base`; `SGI_base` is the next 64 KiB.

use crate::addr::{Pa, Region};

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

/// `GICR_CTLR.EnableLPIs`.
pub const CTLR_ENABLE_LPIS: u32 = 1 << 0;
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

/// Returns where GICR_PROPBASER and GICR_PENDBASER say that the tables of LPIs are: a byte of configuration, and a bit of
/// state, for each INTID of `PROPBASER.IDbits` + 1 bits, but no more than the Distributor's `bits`.
pub fn lpi_tables(propbaser: u64, pendbaser: u64, bits: u32) -> [Region<Pa>; 2] {
    const ADDRESS: u64 = 0x000f_ffff_ffff_ffff;
    let intids = 1u64 << ((propbaser & 0x1f) + 1).min(u64::from(bits));
    let table = |start: u64, size: u64| Region { start: Pa(start), size };
    [table(propbaser & ADDRESS & !0xfff, intids), table(pendbaser & ADDRESS & !0xffff, intids / 8)]
}

#[cfg(test)]
mod tests {
    use super::lpi_tables;
    use crate::addr::{Pa, Region};

    #[test]
    fn the_tables_of_lpis_are_where_and_as_long_as_their_registers_say() {
        // 16 bits, with shareability and cacheability; PTZ.
        let [properties, pending] = lpi_tables(0x0700_0080_4321_078f, 0x4700_0080_4329_0780, 24);
        assert_eq!(properties, Region { start: Pa(0x80_4321_0000), size: 0x1_0000 });
        assert_eq!(pending, Region { start: Pa(0x80_4329_0000), size: 0x2000 });
        let [properties, pending] = lpi_tables(u64::MAX, u64::MAX, 16);
        assert_eq!((properties.size, pending.size), (1 << 16, 1 << 13));
    }
}
