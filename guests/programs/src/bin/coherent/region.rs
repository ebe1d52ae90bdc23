//! Where the region is: found in the tree, mapped at stage 1, looked through and soiled.

use core::arch::asm;

use guest_kit::fdt::Node;
use guest_kit::machine::machine;
use guest_kit::mmio::{self, probe_read};
use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, memory, mmu, println, sysreg};

use crate::{PAGE, tags};

const GIB: u64 = 1 << 30;

/// The stage-1 type that the guest gives the region: stage 2 must make it what was promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Normal, write-back.
    WriteBack = 1,
    /// Normal, write-back, Tagged.
    Tagged = 2,
}

impl Type {
    /// Returns the type under which everything shows that stage 2 lets through.
    pub fn best() -> Self {
        if tags::instructions() { Self::Tagged } else { Self::WriteBack }
    }
    /// Returns the byte of MAIR_EL1, which PAR_EL1 repeats (DDI0487 PAR_EL1.ATTR).
    fn attribute(self) -> u64 {
        match self {
            Self::WriteBack => 0xff,
            Self::Tagged => 0xf0,
        }
    }
}

fn nodes(use_: &str) -> impl Iterator<Item = Node> {
    let mut inside_reserved = false;
    machine().tree.nodes().filter(move |node| {
        if node.depth <= 1 {
            inside_reserved = node.name == "reserved-memory";
        }
        match use_ {
            "ram" => node.str("device_type") == Some("memory") && node.property("hotpluggable").is_some(),
            "dax" => node.is_compatible("pmem-region"),
            _ => inside_reserved && node.depth == 2 && node.property("no-map").is_some(),
        }
    })
}

fn promised() -> &'static str {
    machine().bootarg("use").unwrap_or("")
}

/// Returns the region's start and size.
pub fn find() -> Result<(u64, u64), Stop> {
    let found = nodes(promised()).find_map(|node| node.reg(0));
    match found {
        Some((start, size)) if size >= 16 * PAGE => Ok((start, size)),
        _ => Err(Stop::Fail(Text::new(format_args!("no region of 64 KiB or more in the tree")))),
    }
}

/// Three pages: the first, one in the middle and the last.
pub fn pages() -> Result<[u64; 3], Stop> {
    let (start, size) = find()?;
    Ok([start, start + (size / 2 / PAGE * PAGE), start + size - PAGE])
}

/// Maps every GiB that the region touches as Normal memory of type `kind`, executable.
pub fn map(kind: Type) {
    let Ok((start, size)) = find() else { return };
    for gib in start / GIB..=(start + size - 1) / GIB {
        // AttrIndx, Inner Shareable, access flag, a valid block.
        let attributes = ((kind as u64) << 2) | (3 << 8) | (1 << 10) | 1;
        mmu::set_descriptor(gib as usize, (gib * GIB) | attributes);
    }
}

pub fn described() -> Outcome {
    let use_ = promised();
    let (count, all) = (nodes(use_).count(), ["ram", "dax", "aperture"].map(|use_| nodes(use_).count()));
    ensure_equal!(count, 1, "regions of this use in the tree");
    ensure_equal!(all.iter().sum::<usize>(), 1, "regions of any use");
    let (start, size) = find()?;
    println!("# {} at {:#x}, {} KiB", use_, start, size / 1024);
    ensure_equal!((start | size) & (PAGE - 1), 0, "start or size within a page");
    let ram = machine().ram().first().map_or(0, |&(at, size)| at + size);
    ensure!(start >= ram, "the region begins inside of RAM");
    if let Some(node) = nodes(use_).next() {
        match use_ {
            "aperture" => ensure!(node.property("numa-node-id").is_none(), "on a NUMA node"),
            "dax" => {
                ensure!(node.property("volatile").is_some(), "not volatile");
                ensure!(node.u32("numa-node-id") == Some(1), "not on NUMA node 1");
                ensure!(!machine().is_ram(start), "also a memory node");
            }
            _ => ensure!(node.u32("numa-node-id") == Some(1), "not on NUMA node 1"),
        }
    }
    Ok(())
}

/// What stage 1 alone says: were it weaker, the other cases would prove nothing about stage 2.
pub fn translated() -> Outcome {
    for page in pages()? {
        // SAFETY: translates; writes PAR_EL1 only.
        unsafe { asm!("at s1e1r, {}", "isb", in(reg) page) };
        let par = sysreg::read!("par_el1");
        ensure_equal!(par & 1, 0, "PAR_EL1.F");
        ensure_equal!(par >> 56, Type::best().attribute(), "PAR_EL1.ATTR");
        ensure_equal!(par & 0xffff_ffff_f000, page, "PAR_EL1.PA");
    }
    Ok(())
}

pub fn clear() -> Outcome {
    let (start, size) = find()?;
    let found = memory::first_nonzero(start, start + size);
    ensure!(found.is_none(), "not clear at {:#x}", found.unwrap_or(0));
    Ok(())
}

/// Every page is written with its own address, then all are read: none is another under a second name.
pub fn distinct() -> Outcome {
    let (start, size) = find()?;
    let pages = || (start..start + size).step_by(PAGE as usize);
    for page in pages() {
        mmio::write64(page + 8, page ^ !0);
    }
    let wrong = pages().find(|page| mmio::read64(page + 8) != page ^ !0);
    for page in pages() {
        mmio::write64(page + 8, 0);
    }
    ensure!(wrong.is_none(), "page {:#x} holds another's pattern", wrong.unwrap_or(0));
    Ok(())
}

/// [`clear`] without tag checks: where a tag access aborts, a checked load does.
pub fn clear_unchecked() -> Outcome {
    tags::without_checks(clear)
}

/// [`distinct`] without tag checks.
pub fn distinct_unchecked() -> Outcome {
    tags::without_checks(distinct)
}

/// Fills the whole region.
pub fn soil() {
    if let Ok((start, size)) = find() {
        memory::fill(start, start + size, 0xa5a5_a5a5_a5a5_a5a5);
    }
}

pub fn not_described() -> Outcome {
    for use_ in ["ram", "dax", "aperture"] {
        ensure_equal!(nodes(use_).count(), 0, "regions in the tree");
    }
    Ok(())
}

/// Where a claimed region would be, from the first GiB above RAM on.
pub fn nothing() -> Outcome {
    let from = machine().ram_end().next_multiple_of(GIB);
    for address in (from..from + 4 * GIB).step_by(1 << 20) {
        ensure!(probe_read(address, 8).is_err(), "{:#x} can be read", address);
    }
    Ok(())
}
