//! Base address registers: what they ask for, and what they hold. (PCI 3.0 §6.2.5)

use alloc::vec::Vec;

use assay_model::pci::header::{BAR0, COMMAND, IO_SPACE, Layout, MEMORY_SPACE};
use assay_model::pci::{Bar, ConfigSpace, Function, Space};

/// The offset of BAR `index`.
pub(super) const fn register(index: u8) -> u16 {
    BAR0 + 4 * index as u16
}

/// Reads and sizes all BARs of a function; what it holds is as before afterwards.
///
/// Sizing writes all ones, so the function answers nowhere in between (§6.2.5.1).
pub(super) fn all(config: &mut dyn ConfigSpace, function: Function, layout: Layout) -> Vec<Bar> {
    // Status, in the upper half, is write one to clear: zeroes leave it alone.
    let command = config.read(function, COMMAND) & 0xffff;
    config.write(function, COMMAND, command & !(IO_SPACE | MEMORY_SPACE));
    let mut bars = Vec::new();
    let mut index = 0;
    while index < layout.bars() {
        let bar = one(config, function, index, layout.bars());
        let wide = bar.is_some_and(|bar| bar.memory().is_some_and(|(wide, _)| wide));
        bars.extend(bar);
        index += if wide { 2 } else { 1 };
    }
    config.write(function, COMMAND, command);
    bars
}

fn one(config: &mut dyn ConfigSpace, function: Function, index: u8, count: u8) -> Option<Bar> {
    let (value, mask) = probe(config, function, register(index));
    if mask == 0 {
        return None;
    }
    if value & 1 == 1 {
        // Bits 31:16 may be missing (§6.2.5.1).
        let size = u64::from(!(mask & 0xfffc | 0xffff_0000)).wrapping_add(1);
        return Some(Bar { index, space: Space::Io, address: u64::from(value & !3), size });
    }
    let wide = value >> 1 & 0b11 == 0b10;
    let (upper, upper_mask) = if wide {
        if index + 1 >= count {
            return None;
        }
        probe(config, function, register(index + 1))
    } else {
        (0, u32::MAX)
    };
    let address = u64::from(upper) << 32 | u64::from(value & !0xf);
    let mask = u64::from(upper_mask) << 32 | u64::from(mask & !0xf);
    let size = (!mask).wrapping_add(1);
    let narrow_without_size = !wide && size > u64::from(u32::MAX);
    if !size.is_power_of_two() || narrow_without_size {
        return None;
    }
    Some(Bar { index, space: Space::Memory { wide, prefetchable: value >> 3 & 1 == 1 }, address, size })
}

/// Returns a register's value and which of its bits can be set.
fn probe(config: &mut dyn ConfigSpace, function: Function, register: u16) -> (u32, u32) {
    let value = config.read(function, register);
    config.write(function, register, u32::MAX);
    let mask = config.read(function, register);
    config.write(function, register, value);
    (value, mask)
}

/// Writes a BAR's address into it, and tells whether it stays there. The function must answer nowhere meanwhile.
pub(super) fn assign(config: &mut dyn ConfigSpace, function: Function, bar: &Bar) -> bool {
    let wide = bar.memory().is_some_and(|(wide, _)| wide);
    let lower = register(bar.index);
    config.write(function, lower, (bar.address & 0xffff_ffff) as u32);
    let mut now = u64::from(config.read(function, lower) & !0xf);
    if wide {
        config.write(function, lower + 4, (bar.address >> 32) as u32);
        now |= u64::from(config.read(function, lower + 4)) << 32;
    }
    now == bar.address
}
