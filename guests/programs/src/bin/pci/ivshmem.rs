//! QEMU's `ivshmem-plain`: registers in BAR 0, memory in BAR 2.

use guest_kit::machine::machine;
use guest_kit::{Outcome, ensure_equal, mmio};

use crate::host::{self, fail};

pub fn identified() -> Outcome {
    ensure_equal!(host::read(0), 0x1110_1af4, "vendor and device");
    ensure_equal!(host::read(8) >> 8, 0x05_0000, "class");
    // Plain: no interrupt. IVPosition (8) is 0 without a server.
    ensure_equal!(mmio::read32(host::bar(0) + 8), 0, "IVPosition");
    Ok(())
}

pub fn aperture() -> Outcome {
    let nodes = machine().tree.nodes();
    let found = nodes.filter(|node| node.property("no-map").is_some());
    let region = found.filter_map(|node| node.reg(0)).next();
    let (start, size) = region.ok_or_else(|| fail("no reserved memory"))?;
    ensure_equal!(host::bar(2), start, "the address in BAR 2");
    for offset in [0, size / 2, size - 8] {
        let value = 0x1234_5678_0000_0000 | offset;
        mmio::write64(start + offset, value);
        ensure_equal!(mmio::read64(start + offset), value, "what was written");
    }
    Ok(())
}
