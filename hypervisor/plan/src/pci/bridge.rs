//! The windows of PCI-to-PCI bridges, as firmware left them: read, never changed.

use core::ops::Range;

use super::walk::Found;
use super::{ConfigSpace, Function};
use assay_model::pci::header::{
    COMMAND, MEMORY_SPACE, MEMORY_WINDOW, PREFETCHABLE_BASE_UPPER, PREFETCHABLE_LIMIT_UPPER, PREFETCHABLE_WINDOW,
};

const MIB: u64 = 0x10_0000;

/// Returns the two ranges of bus addresses that a bridge passes on: memory and prefetchable memory, possibly empty.
/// (PCI-to-PCI Bridge 1.2 §3.2.5.8 to §3.2.5.10.)
pub(super) fn windows(config: &mut dyn ConfigSpace, bridge: Function) -> [Range<u64>; 2] {
    let memory = config.read(bridge, MEMORY_WINDOW);
    let prefetchable = config.read(bridge, PREFETCHABLE_WINDOW);
    let (mut base, mut limit) = (0, 0);
    if prefetchable & 0xf == 1 {
        base = config.read(bridge, PREFETCHABLE_BASE_UPPER);
        limit = config.read(bridge, PREFETCHABLE_LIMIT_UPPER);
    }
    [range(memory, 0, 0), range(prefetchable, u64::from(base), u64::from(limit))]
}

/// A limit below the base is an empty window.
fn range(register: u32, base_upper: u64, limit_upper: u64) -> Range<u64> {
    let base = base_upper << 32 | u64::from(register & 0xfff0) << 16;
    let limit = limit_upper << 32 | u64::from(register & 0xfff0_0000);
    base..limit.saturating_add(MIB)
}

/// Tells whether every bridge above `behind`, itself included, passes `range` on.
pub(super) fn pass(
    config: &mut dyn ConfigSpace,
    found: &[Found],
    behind: Option<Function>,
    range: &Range<u64>,
) -> bool {
    let mut next = behind;
    // At most one step for each function: a loop ends.
    for _ in found {
        let Some(bridge) = next else {
            return true;
        };
        let on = config.read(bridge, COMMAND) & MEMORY_SPACE != 0;
        let within = |window: &Range<u64>| window.start <= range.start && range.end <= window.end;
        if !on || !windows(config, bridge).iter().any(within) {
            return false;
        }
        let above = found.iter().find(|other| other.function == bridge);
        next = above.and_then(|other| other.behind);
    }
    next.is_none()
}
