//! Devices that are known to make no accesses of their own.
//!
//! A request line to a DMA controller (`dmas`) is none: the accesses are the controller's, which a VM that has the device
//! alone cannot tell what to do.

/// By `compatible`, beside the UARTs that Assay drives: Arm's PrimeCells by their manuals, DesignWare's and Cadence's
/// peripherals of the APB, all of them slaves only.
pub(super) const COMPATIBLE: &[&str] = &[
    "arm,pl011",
    "arm,pl022",
    "arm,pl031",
    "arm,pl050",
    "arm,pl061",
    "arm,sp804",
    "arm,sp805",
    "arm,versatile-i2c",
    "cdns,i2c-r1p10",
    "cdns,i2c-r1p14",
    "cdns,spi-r1p6",
    "cdns,ttc",
    "cdns,wdt-r1p2",
    "snps,designware-i2c",
    "snps,dw-apb-gpio",
    "snps,dw-apb-timer",
    "snps,dw-wdt",
    "xlnx,zynqmp-gpio-1.0",
    "xlnx,zynqmp-rtc",
];
