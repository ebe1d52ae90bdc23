//! Where the region is, what of it is whose, and plain accesses to it.

use core::arch::asm;

use guest_kit::fdt::Node;
use guest_kit::machine::machine;
use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, memory, mmio, mmu, println, sysreg, timer};

const GIB: u64 = 1 << 30;
/// Words that one side writes and others wait for, each in a cache line of its own.
pub const WORDS: u64 = 0;
/// Messages, from here on.
pub const MESSAGES: u64 = 0x1000;
/// What nobody ever writes, from here to the sides' own pages.
pub const UNUSED: u64 = 0x8000;
/// The last pages belong to one side each, by its number.
const PAGE: u64 = 0x1000;
const SIDES: u64 = 4;
/// How long to wait for another VM.
pub const PATIENCE_US: u64 = 60_000_000;

/// The words.
#[derive(Clone, Copy)]
pub enum Word {
    /// What `reader` looks for.
    Sign = 0,
    /// `storm` begins, and is done.
    Raging = 2,
    Spent = 3,
    /// `calm` has had enough.
    Enough = 4,
    /// Which life `again` is in.
    Life = 5,
    /// `stay` has rung the first life.
    Stale = 6,
    /// Heads and tails of the two rings.
    Heads = 8,
}

fn node() -> Option<Node> {
    machine().tree.compatible("assay,shared-memory")
}

/// Returns the doorbell's node.
pub fn doorbell() -> Option<Node> {
    machine().tree.compatible("assay,doorbell")
}

/// Returns the region's start and size.
pub fn find() -> Result<(u64, u64), Stop> {
    match node().and_then(|node| node.reg(0)) {
        Some((start, size)) if size >= 2 * UNUSED => Ok((start, size)),
        _ => Err(Stop::Fail(Text::new(format_args!("no region of 64 KiB")))),
    }
}

/// Returns what nobody ever writes: first address and end.
pub fn unused() -> Result<(u64, u64), Stop> {
    let (start, size) = find()?;
    Ok((start + UNUSED, start + size - SIDES * PAGE))
}

/// Returns the page of this side alone.
pub fn own() -> Result<u64, Stop> {
    let id = doorbell().and_then(|node| node.u32("assay,id")).unwrap_or(0);
    let (start, size) = find()?;
    Ok(start + size - (u64::from(id) % SIDES + 1) * PAGE)
}

/// Tells whether this VM has MTE.
pub fn has_tags() -> bool {
    sysreg::read!("id_aa64pfr1_el1") >> 8 & 0xf >= 2
}

/// Maps every GiB that the region touches as Normal Write-Back memory, Tagged if this VM has MTE, executable.
pub fn map() {
    let Ok((start, size)) = find() else { return };
    let kind: u64 = if has_tags() { 2 } else { 1 };
    for gib in start / GIB..=(start + size - 1) / GIB {
        // AttrIndx, Inner Shareable, access flag, a valid block.
        let attributes = (kind << 2) | (3 << 8) | (1 << 10) | 1;
        mmu::set_descriptor(gib as usize, (gib * GIB) | attributes);
    }
}

/// Returns the address of word `n` from `word` on.
pub fn at(word: Word, n: u64) -> u64 {
    let start = find().map_or(0, |(start, _)| start);
    start + WORDS + (word as u64 + n) * 64
}

fn barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("dmb ish") };
}

/// Loads before everything that follows.
pub fn load(address: u64) -> u64 {
    let value = mmio::read64(address);
    barrier();
    value
}

/// Stores after everything that came before.
pub fn store(address: u64, value: u64) {
    barrier();
    mmio::write64(address, value);
}

/// Waits until another VM has stored `value` in a word.
pub fn wait(word: Word, value: u64) -> Outcome {
    let came = timer::wait_for(PATIENCE_US, || load(at(word, 0)) == value);
    ensure!(came, "word {} is {:#x}", word as u64, load(at(word, 0)));
    Ok(())
}

fn described_as(read_only: bool) -> Outcome {
    let (start, size) = find()?;
    println!("# region at {:#x}, {} KiB", start, size / 1024);
    let Some(node) = node() else {
        return Err(Stop::Fail(Text::new(format_args!("no node"))));
    };
    ensure!(node.property("no-map").is_some(), "no no-map");
    ensure!(node.is_compatible("xen,shared-memory-v1"), "not as Linux names it");
    ensure!(node.str("xen,id").is_some(), "no xen,id");
    let said = node.property("assay,read-only").is_some();
    ensure!(said == read_only, "assay,read-only: {}", said);
    ensure!(start >= machine().ram_end(), "the region is inside of RAM");
    Ok(())
}

pub fn described() -> Outcome {
    described_as(false)?;
    let (Some(bell), Some(memory)) = (doorbell(), node()) else {
        return Err(Stop::Fail(Text::new(format_args!("no doorbell"))));
    };
    let wanted = memory.u32("phandle");
    ensure!(wanted.is_some() && bell.u32("memory-region") == wanted, "of another region");
    // Edge, rising.
    ensure_equal!(u64::from(bell.cell("interrupts", 2).unwrap_or(0)), 1, "interrupt's flags");
    Ok(())
}

pub fn described_read_only() -> Outcome {
    described_as(true)
}

pub fn clear() -> Outcome {
    let (start, end) = unused()?;
    let found = memory::first_nonzero(start, end);
    ensure!(found.is_none(), "not clear at {:#x}", found.unwrap_or(0));
    Ok(())
}

/// Reads the tag of a granule: needs MTE.
pub fn tag(address: u64) -> u64 {
    let mut tagged = address;
    // SAFETY: reads a tag.
    unsafe { asm!(".arch_extension memtag", "ldg {0}, [{0}]", inout(reg) tagged) };
    tagged >> 56 & 0xf
}

pub fn tags() -> Outcome {
    if !has_tags() {
        return Err(Stop::Skip("no tags"));
    }
    let (start, _) = find()?;
    let (_, end) = unused()?;
    let soiled = (start..end).step_by(16).find(|&at| tag(at) != 0);
    ensure!(soiled.is_none(), "a tag at {:#x}", soiled.unwrap_or(0));
    // They are there, too: a tag that is stored stays, and a checked access without it faults.
    let place = own()?;
    let tagged = place | 5 << 56;
    // SAFETY: changes a tag of the region.
    unsafe { asm!(".arch_extension memtag", "stg {0}, [{0}]", "dsb sy", in(reg) tagged) };
    let (read, checked) = (tag(place), mmio::probe_read(place, 8));
    // SAFETY: as above.
    unsafe { asm!(".arch_extension memtag", "stg {0}, [{0}]", "dsb sy", in(reg) place) };
    ensure_equal!(read, 5, "tag that was stored");
    ensure!(checked.is_err(), "an access without the tag works");
    Ok(())
}
