//! Interrupts: from ACPI's global numbers (GSIV), which are the GIC's INTIDs, to specifiers of the GIC's bindings.

use anyhow::{Result, bail};

/// The flags cell of a specifier.
pub(super) const LEVEL_HIGH: u32 = 4;
/// The same for an edge.
pub(super) const EDGE: u32 = 1;

/// The three cells.
///
/// # Errors
/// The number is that of an SGI, or of no interrupt.
pub(super) fn specifier(gsiv: u32, flags: u32) -> Result<[u32; 3]> {
    let (kind, number) = match gsiv {
        16..32 => (1, gsiv - 16),
        32..1020 => (0, gsiv - 32),
        // GICv3.1's extended ranges.
        1056..1120 => (3, gsiv - 1056),
        4096..5120 => (2, gsiv - 4096),
        _ => bail!("{gsiv} is the number of no interrupt that a device can have"),
    };
    Ok([kind, number, flags])
}

/// The flags cell by the flags of the GTDT: bit 0 is an edge, bit 1 active low.
pub(super) fn timer_flags(flags: u32) -> u32 {
    match flags & 3 {
        0 => LEVEL_HIGH,
        1 => EDGE,
        2 => 8,
        _ => 2,
    }
}
