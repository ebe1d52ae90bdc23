//! RAM by SRAT or `/proc/iomem`, and memory of accelerators by `_DSD` and CEDT.

use anyhow::{Result, bail};
use dtoolkit::model::DeviceTreeNode;

use super::dsd;
use super::layout::{MemoryAffinity, Srat, Window};
use super::nodes::{at, cells, flag, node, put, reg};
use super::tables::{Tables, entries, part, wide_entries};

/// A range of addresses, with its proximity domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) domain: Option<u32>,
}

impl Range {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// The part within `other`, with this one's domain, or else the other's.
    fn within(&self, other: &Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end().min(other.end());
        (start < end).then(|| Self { start, size: end - start, domain: self.domain.or(other.domain) })
    }

    /// What is left without `others`.
    fn without(self, others: &[Self]) -> Vec<Self> {
        let mut left = vec![self];
        for other in others {
            let (below, above) = (
                Self { start: 0, size: other.start, domain: None },
                Self { start: other.end(), size: u64::MAX, domain: None },
            );
            left = left.iter().flat_map(|piece| [piece.within(&below), piece.within(&above)]).flatten().collect();
        }
        left
    }
}

/// Memory of an accelerator.
struct Accelerator {
    name: String,
    range: Range,
    /// Its real length is known. A window of addresses alone says nothing of what is behind it.
    known: bool,
}

/// What the tables say of memory.
pub(super) struct Memory {
    ram: Vec<Range>,
    coherent: Vec<Accelerator>,
}

impl Memory {
    /// Reads SRAT, CEDT, and the properties of devices; `iomem` knows better where RAM is.
    ///
    /// # Errors
    /// A table is malformed; nothing says where RAM is.
    pub(super) fn of(tables: &Tables, iomem: Option<&[Range]>, notes: &mut Vec<String>) -> Result<Self> {
        let srat = affinities(tables, notes)?;
        let windows = windows(tables)?;
        let mut ram = match iomem {
            Some(lines) => lines.iter().flat_map(|line| by_domain(*line, &srat)).collect(),
            None => srat.clone(),
        };
        if ram.is_empty() {
            bail!(
                "there is no SRAT with memory, so no table says where RAM is: give the machine's /proc/iomem by --iomem"
            );
        }
        if iomem.is_none() {
            notes.push(
                "RAM is what SRAT lists, and that includes what firmware keeps: start by UEFI, whose memory map \
                counts, or give --iomem"
                    .into(),
            );
        }
        ram = ram.into_iter().flat_map(|range| range.without(&windows)).collect();
        let mut coherent = dsd::accelerators(tables, notes)
            .into_iter()
            .enumerate()
            .map(|(index, range)| Accelerator { name: format!("gpu{index}-memory"), range, known: true })
            .collect();
        by_windows(&windows, &srat, &mut coherent, notes);
        if !coherent.is_empty() {
            notes.push(
                "no table says whether an accelerator's memory keeps Allocation Tags: that is for an overlay \
                to say (assay,mte-capable), by the vendor's word"
                    .into(),
            );
        }
        Ok(Self { ram, coherent })
    }

    pub(super) fn write(&self, root: &mut DeviceTreeNode) {
        for range in &self.ram {
            let mut memory = at("memory", range.start);
            put(&mut memory, "device_type", "memory");
            describe(&mut memory, range);
            root.add_child(memory);
        }
        if self.coherent.is_empty() {
            return;
        }
        let mut reserved = node("reserved-memory");
        cells(&mut reserved, 2, 2);
        flag(&mut reserved, "ranges");
        for Accelerator { name, range, known } in &self.coherent {
            let mut memory = at(name, range.start);
            put(&mut memory, "compatible", "assay,coherent-memory");
            describe(&mut memory, range);
            flag(&mut memory, "no-map");
            if !known {
                put(&mut memory, "status", "disabled");
            }
            reserved.add_child(memory);
        }
        root.add_child(reserved);
    }
}

fn describe(node: &mut DeviceTreeNode, range: &Range) {
    reg(node, &[(range.start, range.size)]);
    if let Some(domain) = range.domain {
        put(node, "numa-node-id", domain);
    }
}

/// The memory of the SRAT that is there: enabled, not hot-pluggable, volatile.
fn affinities(tables: &Tables, notes: &mut Vec<String>) -> Result<Vec<Range>> {
    let Some(table) = tables.find("SRAT") else { return Ok(Vec::new()) };
    let mut ranges = Vec::new();
    for (_, entry) in entries(table, size_of::<Srat>(), "SRAT")?.into_iter().filter(|(kind, _)| *kind == 1) {
        let memory: &MemoryAffinity = part(entry, "SRAT: memory affinity")?;
        let range = Range { start: memory.base.get(), size: memory.length.get(), domain: Some(memory.domain.get()) };
        match memory.flags.get() & 7 {
            1 if range.size > 0 => ranges.push(range),
            3 | 5 | 7 => notes
                .push(format!("SRAT's memory at {:#x} is hot-pluggable or not volatile, and is left out", range.start)),
            _ => {}
        }
    }
    Ok(ranges)
}

/// The pieces of a range of RAM by the domains of the SRAT.
fn by_domain(line: Range, srat: &[Range]) -> Vec<Range> {
    let mut pieces: Vec<Range> = srat.iter().filter_map(|range| range.within(&line)).collect();
    pieces.extend(line.without(srat));
    pieces.sort_unstable_by_key(|piece| piece.start);
    pieces
}

/// The windows for CXL memory.
fn windows(tables: &Tables) -> Result<Vec<Range>> {
    let Some(table) = tables.find("CEDT") else { return Ok(Vec::new()) };
    let structures = wide_entries(table, 36, "CEDT")?;
    let windows = structures.into_iter().filter(|(kind, _)| *kind == 1);
    let range = |(_, entry)| {
        let window: &Window = part(entry, "CEDT: CFMWS")?;
        Ok(Range { start: window.base.get(), size: window.size.get(), domain: None })
    };
    windows.map(range).collect()
}

/// Memory in the windows: as long as the SRAT says, or disabled if it says nothing.
fn by_windows(windows: &[Range], srat: &[Range], coherent: &mut Vec<Accelerator>, notes: &mut Vec<String>) {
    let mut count = 0;
    for window in windows {
        if coherent.iter().any(|other| other.range.within(window).is_some()) {
            continue;
        }
        let inside: Vec<Range> = srat.iter().filter_map(|range| range.within(window)).collect();
        let known = !inside.is_empty();
        if !known {
            notes.push(format!(
                "CEDT has a window at {:#x}, and SRAT does not say what is in it: its node is disabled, and an overlay \
                 must give reg and status",
                window.start
            ));
        }
        for range in if known { inside } else { vec![*window] } {
            coherent.push(Accelerator { name: format!("cxl{count}-memory"), range, known });
            count += 1;
        }
    }
}

/// The lines "System RAM" of a `/proc/iomem`; without root all addresses in it are 0.
pub(super) fn iomem(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        // A line further to the right is a part of the one above it.
        let (range, what) = line.split_once(" : ").filter(|_| !line.starts_with(' '))?;
        let (start, last) = range.split_once('-')?;
        let (start, last) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(last, 16).ok()?);
        let size = last.checked_sub(start)?.checked_add(1)?;
        (what.trim() == "System RAM" && last > 0).then_some(Range { start, size, domain: None })
    };
    text.lines().filter_map(line).collect()
}
