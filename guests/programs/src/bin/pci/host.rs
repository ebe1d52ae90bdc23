//! The host bridge and the configuration space of a function on it.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::fdt::Node;
use guest_kit::machine::machine;
use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, mmio, println};

/// The function's device number.
static DEVICE: AtomicU64 = AtomicU64::new(1);
/// How many functions there are.
static COUNT: AtomicU64 = AtomicU64::new(1);
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
pub const MEMORY_SPACE: u32 = 1 << 1;
pub const BUS_MASTER: u32 = 1 << 2;
pub const INTX_DISABLE: u32 = 1 << 10;

/// Looks at device `device` of `count` from here on.
pub fn choose(device: u64, count: u64) {
    DEVICE.store(device, Ordering::Relaxed);
    COUNT.store(count, Ordering::Relaxed);
}

/// Where the function is in the bridge's configuration space.
fn function() -> u64 {
    DEVICE.load(Ordering::Relaxed) << 15
}

fn bridge() -> Result<Node, Stop> {
    let found = machine().tree.compatible("pci-host-ecam-generic");
    found.ok_or_else(|| fail("no host bridge in the tree"))
}

pub fn fail(what: &'static str) -> Stop {
    Stop::Fail(Text::new(format_args!("{what}")))
}

fn window() -> Result<(u64, u64), Stop> {
    bridge()?.reg(0).ok_or_else(|| fail("the host bridge has no reg"))
}

/// Where the function's register `offset` is; 0 without a bridge.
fn register(offset: u64) -> u64 {
    window().map_or(0, |(start, _)| start + function() + offset)
}

pub fn read(offset: u64) -> u32 {
    mmio::read32(register(offset))
}

pub fn write(offset: u64, value: u32) {
    mmio::write32(register(offset), value);
}

/// Sets and clears bits of the Command register.
pub fn command(set: u32, clear: u32) {
    mmio::write16(register(COMMAND), ((read(COMMAND) & 0xffff & !clear) | set) as u16);
}

/// Returns the address in a BAR of memory.
pub fn bar(index: u64) -> u64 {
    let lower = read(BAR0 + 4 * index);
    let upper = if lower & 6 == 4 { read(BAR0 + 4 * index + 4) } else { 0 };
    u64::from(upper) << 32 | u64::from(lower & !0xf)
}

/// Returns the interrupt that the tree says pin INTA is wired to.
pub fn intid() -> Result<u32, Stop> {
    let bridge = bridge()?;
    let unit = function() >> 4;
    let gic = machine().tree.compatible("arm,gic-v3").or_else(|| machine().tree.compatible("arm,cortex-a15-gic"));
    // Between the GIC's phandle and its specifier is its unit address.
    let address = gic.and_then(|gic| gic.u32("#address-cells")).unwrap_or(0) as usize;
    for entry in (0..8usize).map(|entry| entry * (8 + address)) {
        let map = |cell| bridge.cell("interrupt-map", entry + cell);
        if map(0).map(u64::from) != Some(unit) {
            continue;
        }
        if let (Some(1), Some(0), Some(line), Some(4)) = (map(3), map(5 + address), map(6 + address), map(7 + address))
        {
            return Ok(line + 32);
        }
    }
    Err(fail("no level-triggered SPI for INTA of the function in interrupt-map"))
}

/// Returns where the function has a capability.
pub fn capability(id: u32) -> Option<u64> {
    let mut at = u64::from(read(0x34) & 0xfc);
    for _ in 0..48 {
        if at == 0 {
            return None;
        }
        let word = read(at);
        if word & 0xff == id {
            return Some(at);
        }
        at = u64::from(word >> 8 & 0xfc);
    }
    None
}

pub fn described() -> Outcome {
    let bridge = bridge()?;
    let (start, size) = window()?;
    println!("# configuration space at {:#x}", start);
    ensure_equal!(size, 0x10_0000, "bytes of configuration space");
    ensure_equal!(bridge.cell("bus-range", 1).unwrap_or(9), 0, "the last bus");
    let unit = function() >> 4;
    let is_it = |node: &Node| node.cell("reg", 0).map(u64::from) == Some(unit) && node.cell("reg", 4) == Some(0);
    let device = machine().tree.nodes().find(is_it);
    let device = device.ok_or_else(|| fail("no node of the function"))?;
    if machine().has_bootarg("alone") {
        ensure!(device.property("memory-region").is_none(), "a region that nobody claims");
        return Ok(());
    }
    let region = device.u32("memory-region").unwrap_or(0);
    let aperture =
        machine().tree.nodes().find(|node| node.property("no-map").is_some() && node.u32("phandle") == Some(region));
    ensure!(aperture.is_some(), "memory-region leads to no reserved memory");
    Ok(())
}

pub fn alone() -> Outcome {
    let (start, _) = window()?;
    let mut count = 0;
    for function in 0..256u64 {
        let id = mmio::read32(start + (function << 12));
        if id != u32::MAX {
            ensure!(
                function % 8 == 0 && function / 8 <= COUNT.load(Ordering::Relaxed),
                "function {} is there",
                function
            );
            count += 1;
        }
    }
    ensure_equal!(count, COUNT.load(Ordering::Relaxed), "functions");
    ensure_equal!(read(0x0c) >> 16 & 0xff, 0, "header type");
    ensure_equal!(u32::from(mmio::read8(register(3))), read(0) >> 24, "byte 3");
    ensure_equal!(u32::from(mmio::read16(register(2))), read(0) >> 16, "half-word 1");
    ensure_equal!(mmio::read64(register(0)), u64::MAX, "a read of eight bytes");
    Ok(())
}

pub fn quiet() -> Outcome {
    for offset in (0x100..0x1000).step_by(4) {
        ensure_equal!(read(offset), 0, "extended configuration space");
    }
    ensure_equal!(read(0x30), 0, "expansion ROM");
    write(0x30, u32::MAX);
    ensure_equal!(read(0x30), 0, "expansion ROM after a write");
    Ok(())
}

pub fn bars() -> Outcome {
    let mut index = 0;
    while index < 6 {
        let offset = BAR0 + 4 * index;
        let before = read(offset);
        write(offset, u32::MAX);
        let mask = read(offset);
        write(offset, 0x2000_0000);
        ensure_equal!(read(offset), before, "a BAR that was moved");
        if mask == 0 {
            ensure_equal!(before, 0, "a BAR that is not there");
            index += 1;
            continue;
        }
        ensure_equal!(mask & 0xf, before & 0xf, "the kind of a BAR");
        ensure_equal!(bar(index) & u64::from(!mask & !0xf), 0, "address bits below the size");
        let wide = before & 6 == 4;
        println!("# BAR {} at {:#x}, mask {:#x}", index, bar(index), mask);
        if wide {
            let upper = read(offset + 4);
            write(offset + 4, u32::MAX);
            ensure!(read(offset + 4) != 0, "no upper half of the mask");
            write(offset + 4, upper);
            ensure_equal!(read(offset + 4), upper, "the upper half");
        }
        index += if wide { 2 } else { 1 };
    }
    Ok(())
}

pub fn capabilities() -> Outcome {
    let has_list = read(COMMAND) >> 20 & 1 == 1;
    ensure!(has_list == (read(0x34) != 0), "the list and its pointer disagree");
    let mut at = u64::from(read(0x34) & 0xfc);
    for _ in 0..48 {
        if at == 0 {
            return Ok(());
        }
        let word = read(at);
        ensure_equal!(word & 0xff, 0x09, "a capability that is not Vendor-Specific");
        at = u64::from(word >> 8 & 0xfc);
    }
    Err(fail("the list of capabilities has no end"))
}

pub fn set_bus_master() {
    command(BUS_MASTER | MEMORY_SPACE, 0);
}

pub fn bus_master() -> Outcome {
    ensure_equal!(read(COMMAND) & 7, 0, "Command at the start");
    set_bus_master();
    ensure_equal!(read(COMMAND) & 7, 6, "Command with Bus Master");
    command(0, BUS_MASTER);
    ensure_equal!(read(COMMAND) & 7, 2, "Command without");
    Ok(())
}
