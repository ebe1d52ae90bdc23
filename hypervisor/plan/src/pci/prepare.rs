//! Making one function's memory reachable: every BAR has a place of its own, and the function answers there.
//!
//! A place that firmware gave stays, if it is a good one. The function makes no accesses of its own afterwards (Bus
//! Master is 0), and no interrupts.

use alloc::vec::Vec;
use core::ops::Range;

use assay_spec::addr::{Pa, Region};

use super::EcamHost;
use super::walk::Found;
use super::{Bar, BarFault, ConfigSpace, Function, bar, bridge, place, walk};
use assay_model::pci::header::{BUS_MASTER, COMMAND, INTX_DISABLE, IO_SPACE, Layout, MEMORY_SPACE, ROM_ENABLE};

/// A BAR of memory and where the CPUs see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The BAR, with its bus address.
    pub bar: Bar,
    /// The memory, as long as the BAR; possibly shorter than a page.
    pub region: Region<Pa>,
}

/// A function that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// Which one.
    pub function: Function,
    /// Its BARs of memory, by index. No two, nor another function's, share a page.
    pub memory: Vec<Placed>,
    /// The indices of its BARs of I/O space, which stay without a place.
    pub io: Vec<u8>,
    /// Whether any BAR was given its place here.
    pub moved: bool,
}

/// Prepares `function` behind `host`, on CPUs with `pa_bits` address bits. No BAR of it is where something of `kept`
/// is, as the CPUs see it: memory, reservations, coherent regions, registers.
///
/// # Errors
/// What is wrong with it; it is then left answering nowhere, or was not found.
pub fn prepare(
    host: &EcamHost,
    config: &mut dyn ConfigSpace,
    function: Function,
    pa_bits: u8,
    kept: &[Region<Pa>],
) -> Result<Prepared, BarFault> {
    let found = walk::all(config, host.buses);
    let own = found.iter().find(|other| other.function == function);
    let own = own.ok_or(BarFault::NoFunction)?;
    if own.layout != Layout::Endpoint {
        return Err(BarFault::NotEndpoint);
    }
    silence(config, function, own.layout);
    let (memory, io): (Vec<_>, Vec<_>) =
        bar::all(config, function, own.layout).into_iter().partition(|bar| bar.memory().is_some());
    let mut taken = taken(host, config, &found, own, kept);
    let mut moved = Vec::new();
    let mut stay = Vec::new();
    for bar in memory {
        let range = place::extent(&bar);
        let good = bar.address != 0
            && !place::is_taken(&taken, &range)
            && place::seen_at(&host.windows, &range, pa_bits).is_some();
        if good {
            taken.push(range);
            stay.push(bar);
        } else {
            // The largest first: it fits in the fewest places.
            let smaller = moved.partition_point(|other: &Bar| other.size >= bar.size);
            moved.insert(smaller, bar);
        }
    }
    let has_moved = !moved.is_empty();
    if has_moved && own.behind.is_some() {
        return Err(BarFault::BehindBridge);
    }
    for bar in &mut moved {
        bar.address = place::find(&host.windows, &taken, bar, pa_bits).ok_or(BarFault::NoRoom)?;
        taken.push(place::extent(bar));
        if !bar::assign(config, function, bar) {
            return Err(BarFault::Stuck);
        }
    }
    let mut memory = Vec::new();
    for bar in stay.into_iter().chain(moved) {
        let range = place::extent(&bar);
        if !bridge::pass(config, &found, own.behind, &range) {
            return Err(BarFault::BehindBridge);
        }
        let exact = bar.address..bar.address.saturating_add(bar.size);
        let region = place::seen_at(&host.windows, &exact, pa_bits).ok_or(BarFault::NoRoom)?;
        let above = memory.partition_point(|placed: &Placed| placed.bar.index < bar.index);
        memory.insert(above, Placed { bar, region });
    }
    config.write(function, COMMAND, MEMORY_SPACE | INTX_DISABLE);
    Ok(Prepared { function, memory, io: io.iter().map(|bar| bar.index).collect(), moved: has_moved })
}

/// Has no function behind `host` make accesses of its own, bridges included. Returns those that could (firmware loads from
/// disks and networks, and leaves some as they were), and whether they no longer can.
pub fn stop_dma(host: &EcamHost, config: &mut dyn ConfigSpace) -> Vec<(Function, bool)> {
    let mut stopped = Vec::new();
    // What is behind a bridge first: its accesses would be errors at a bridge that passes none on.
    for found in walk::all(config, host.buses).into_iter().rev() {
        // Status, beside it, is cleared by ones.
        let command = config.read(found.function, COMMAND) & 0xffff;
        if command & BUS_MASTER != 0 {
            config.write(found.function, COMMAND, command & !BUS_MASTER);
            // The answer comes behind the writes that are under way (PCI Express Base 4.0 §2.4.1).
            stopped.push((found.function, config.read(found.function, COMMAND) & BUS_MASTER == 0));
        }
    }
    stopped
}

/// Where on the bus nothing can be put: the other functions' ranges, and what the machine has there besides.
fn taken(
    host: &EcamHost,
    config: &mut dyn ConfigSpace,
    found: &[Found],
    own: &Found,
    kept: &[Region<Pa>],
) -> Vec<Range<u64>> {
    let mut taken = place::taken(config, found, own.function);
    if own.behind.is_some() {
        // What is behind a bridge has to be in its window.
        let windows = bridge_windows(config, found);
        taken.retain(|range| !windows.contains(range));
    }
    taken.extend(kept.iter().flat_map(|region| place::on_bus(&host.windows, region)));
    taken
}

/// Has the function answer nowhere and do nothing.
fn silence(config: &mut dyn ConfigSpace, function: Function, layout: Layout) {
    let command = config.read(function, COMMAND) & 0xffff;
    let command = command & !(IO_SPACE | MEMORY_SPACE | BUS_MASTER) | INTX_DISABLE;
    config.write(function, COMMAND, command);
    if let Some(rom) = layout.rom() {
        let register = config.read(function, rom);
        config.write(function, rom, register & !ROM_ENABLE);
    }
}

/// The windows of all bridges that lead to a bus.
fn bridge_windows(config: &mut dyn ConfigSpace, found: &[Found]) -> Vec<Range<u64>> {
    let bridges = found.iter().filter_map(|other| other.behind);
    bridges.flat_map(|bridge| bridge::windows(config, bridge)).collect()
}

impl Prepared {
    /// Returns the first `length` bytes of BAR `index`.
    ///
    /// # Errors
    /// There is no such BAR, or it is shorter.
    pub fn region(&self, index: u8, length: u64) -> Result<Region<Pa>, BarFault> {
        if self.io.contains(&index) {
            return Err(BarFault::Io);
        }
        let placed = self.memory.iter().find(|placed| placed.bar.index == index);
        let region = placed.ok_or(BarFault::NoBar)?.region;
        if length > region.size {
            return Err(BarFault::Longer(region.size));
        }
        Region::new(region.start, length).ok_or(BarFault::NoLength)
    }
}
