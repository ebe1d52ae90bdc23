//! RAM, and the reservations of the memory reservation block.

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::stage2_desc::PA_BITS_MAX;

use super::reserved::Facts;
use super::{HostPlatform, PlatformError, bus, distinct, missing, room};
use crate::gate::{Bare, Node, Tree};

/// One range of RAM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryNode {
    /// The node that it is an entry of.
    pub path: String,
    /// Where it is.
    pub region: Region<Pa>,
    /// `numa-node-id`.
    pub numa: Option<u32>,
    /// `arm,no-mte`: there is no tag storage behind this memory.
    pub no_mte: bool,
}

/// One range of memory that is not free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The node, or "/memreserve/".
    pub path: String,
    /// Where it is.
    pub region: Region<Pa>,
    /// `no-map`: not even speculation may reach it.
    pub no_map: bool,
    /// `arm,mte-tag-storage`: what is kept there are the Allocation Tags of other memory.
    pub tag_storage: bool,
}

/// Reads every entry of every memory node. Entries of size 0, which some firmware leaves, are none.
pub(super) fn nodes(tree: &Tree<'_>, memory: &mut Vec<MemoryNode>, facts: &mut Facts) -> Result<(), PlatformError> {
    let is_denied =
        |node: &Node<'_, '_>| is_called_memory(&node.bare()) && !node.is_available() && node.has("arm,no-mte");
    for node in tree.root().children().filter(is_denied) {
        let regions = node.reg()?.filter_map(|(start, size)| Region::new(Pa(start), size));
        facts.denied.extend(regions.map(|region| (node.path(), region)));
    }

    for node in tree.root().children().filter(|node| is_memory(&node.bare())) {
        for (start, size) in node.reg()? {
            if size == 0 {
                continue;
            }
            room(memory, "/memory")?;
            memory.push(MemoryNode {
                path: node.path(),
                region: bus::region(node, start, size)?,
                numa: node.u32("numa-node-id")?,
                no_mte: node.has("arm,no-mte"),
            });
        }
    }
    if memory.is_empty() {
        let wants = "no memory node with a size above 0; the tree must say where RAM is";
        return Err(missing("/memory", wants));
    }
    // RAM given twice would have two owners.
    let clash = "overlap in `reg`; each byte of RAM must be in one entry";
    distinct(memory, |node| &node.path, |one, other| one.region.overlaps(&other.region), clash)
}

/// Tells whether a child of the root is RAM.
pub(super) fn is_memory(node: &Bare<'_>) -> bool {
    is_called_memory(node) && node.is_available()
}

/// Tells whether a node describes RAM, be it enabled or not.
pub(super) fn is_called_memory(node: &Bare<'_>) -> bool {
    match node.property("device_type") {
        Some(value) => value == b"memory\0",
        None => node.name().0 == "memory",
    }
}

impl HostPlatform {
    /// Leaves out RAM beyond so many bits of physical addresses, or beyond the 48 that EL2 maps.
    pub fn cut_memory(&mut self, pa_bits: u8) {
        let end = 1u64 << pa_bits.min(PA_BITS_MAX);
        let reason = "some of its memory is beyond the physical addresses that the CPUs have and Assay uses (ID_AA64MMFR0_EL1.PARange, 48 bits at most): nobody gets that";
        let all = core::mem::take(&mut self.memory).into_iter();
        self.memory.extend(all.filter_map(|node| {
            if node.region.end().0 <= end {
                return Some(node);
            }
            self.in_vain.push((node.path.clone(), reason));
            let region = Region::new(node.region.start, end.checked_sub(node.region.start.0)?)?;
            Some(MemoryNode { region, ..node })
        }));
    }

    /// Iterates over what is no free RAM, whatever memory nodes say: reservations, coherent memory, registers, and the
    /// pages of spin-tables, where CPUs that have not come yet run.
    pub fn not_free(&self) -> impl Iterator<Item = Region<Pa>> {
        self.not_free_by_name().map(|(_, region)| region)
    }

    /// The same, and what each is called.
    pub(crate) fn not_free_by_name(&self) -> impl Iterator<Item = (&str, Region<Pa>)> {
        let reserved = self.reserved.iter().map(|reservation| (reservation.path.as_str(), reservation.region));
        let coherent = self.coherent.iter().filter_map(|node| Some((node.path.as_str(), node.reg?)));
        let registers = self.registers().filter(|registers| !registers.is_window);
        let registers = registers.map(|registers| (registers.path.as_str(), registers.region));
        let table = |release| Some(("the spin-table of a CPU", Region::page_of(release)?));
        let spun = self.cpus.iter().filter_map(move |cpu| table(cpu.release()?));
        reserved.chain(coherent).chain(registers).chain(spun)
    }
}

/// Reads the memory reservation block.
pub(super) fn reservations(tree: &Tree<'_>, facts: &mut Facts) -> Result<(), PlatformError> {
    let path = "/memreserve/";
    for (start, size) in tree.reservations().filter(|&(_, size)| size != 0) {
        let region = Region::new(Pa(start), size);
        let wants = "an entry ends beyond 2^64; write the tree with dtc";
        room(&facts.fixed, path)?;
        facts.fixed.push(Reservation {
            path: String::from(path),
            region: region.ok_or_else(|| missing(path, wants))?,
            no_map: false,
            tag_storage: false,
        });
    }
    Ok(())
}
