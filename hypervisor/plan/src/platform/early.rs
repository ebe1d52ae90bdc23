//! What a boot has to know of the platform tree before there is a heap that could hold the rest.
//!
//! Nothing here is an error: what is wrong with a tree is for [`super::parse`] to say.

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::smccc::Conduit;

use super::{chosen, memory};
use crate::gate::{self, Bare, decode};

/// Finds by which instruction firmware is called, as far as the tree can be read: who refuses it wants to power off.
pub fn conduit(dtb: &[u8]) -> Option<Conduit> {
    #[derive(Default)]
    struct Psci {
        node: usize,
        compatible: bool,
        disabled: bool,
        method: Option<Conduit>,
    }
    impl Psci {
        fn conduit(&self) -> Option<Conduit> {
            self.method.filter(|_| self.compatible && !self.disabled)
        }
    }
    let (mut found, mut psci) = (None, Psci::default());
    gate::scan(dtb, &mut |node, name, value| {
        if psci.node != node {
            found = found.or(psci.conduit());
            psci = Psci { node, ..Psci::default() };
        }
        match name {
            "compatible" => psci.compatible = gate::names_one(value, chosen::PSCI),
            "status" => psci.disabled = !gate::says_available(Some(value)),
            "method" => psci.method = decode::str(value).and_then(chosen::method),
            _ => {}
        }
    });
    found.or(psci.conduit())
}

/// Finds the initrd.
pub fn initrd(dtb: &[u8]) -> Option<Region<Pa>> {
    gate::without_heap(dtb, |root, _| {
        let chosen = root.child("chosen")?;
        let number = |name| {
            let value = chosen.property(name)?;
            decode::u64(value).or_else(|| decode::u32(value).map(u64::from))
        };
        let (start, end) = (number("linux,initrd-start")?, number("linux,initrd-end")?);
        Region::new(Pa(start), end.checked_sub(start)?)
    })
}

/// Finds `bytes` of memory, whole pages, that the tree reserves for nobody and that hold nothing: neither `image`, nor
/// `taken`, nor a module that a VM in `/chosen` starts from, nor CPUs at their spin-table. Behind the image if there is room.
pub fn free_memory(dtb: &[u8], bytes: u64, image: Region<Pa>, taken: &[Region<Pa>]) -> Option<Region<Pa>> {
    let size = bytes.checked_next_multiple_of(PAGE_SIZE)?;
    gate::without_heap(dtb, |root, reservations| {
        let (kept, chosen, cpus) = (root.child("reserved-memory"), root.child("chosen"), root.child("cpus"));
        let spun = |range: &Region<Pa>| {
            let page = |cpu: Bare<'_>| Region::page_of(Pa(decode::u64(cpu.property("cpu-release-addr")?)?));
            cpus.as_ref()?.children().filter_map(page).find(|page| page.overlaps(range))
        };
        // Something that lies in `range`.
        let hole = |range: &Region<Pa>| {
            let listed = taken.iter().chain([&image]).find(|hole| hole.overlaps(range)).copied();
            let reserved = reservations.clone().filter_map(|(start, size)| Region::new(Pa(start), size));
            let mut reserved = reserved.filter(|hole| hole.overlaps(range));
            let found = listed.or_else(|| reserved.next());
            let found = found.or_else(|| overlapping(kept.as_ref()?, range));
            let found = found.or_else(|| overlapping(chosen.as_ref()?, range)).or_else(|| spun(range));
            found.or_else(|| chosen.as_ref()?.children().find_map(|vm| overlapping(&vm, range)))
        };
        let fit = |within: Region<Pa>| {
            // A null pointer must stay one.
            let mut at = within.start.0.max(PAGE_SIZE).checked_next_multiple_of(PAGE_SIZE)?;
            loop {
                let range = Region::new(Pa(at), size).filter(|range| within.covers(range))?;
                let Some(hole) = hole(&range) else { return Some(range) };
                at = hole.end().0.checked_next_multiple_of(PAGE_SIZE)?;
            }
        };
        let behind = |memory: Region<Pa>| {
            let from = Region::new(image.end(), memory.end().0.checked_sub(image.end().0)?)?;
            memory.covers(&from).then(|| fit(from))?
        };
        memory_of(&root).find_map(behind).or_else(|| memory_of(&root).find_map(fit))
    })
}

/// All memory that a tree with this root has.
pub(crate) fn memory_of<'a>(root: &Bare<'a>) -> impl Iterator<Item = Region<Pa>> {
    root.children().filter(memory::is_memory).filter_map(|node| regions(root, &node)).flatten()
}

/// The entries of a node's `reg`.
fn regions<'a>(parent: &Bare<'_>, node: &Bare<'a>) -> Option<impl Iterator<Item = Region<Pa>> + use<'a>> {
    let entries = parent.cells()?.entries(node.property("reg")?)?;
    Some(entries.filter_map(|(start, size)| Region::new(Pa(start), size)))
}

/// The first region of a node's children that overlaps `range`.
fn overlapping(parent: &Bare<'_>, range: &Region<Pa>) -> Option<Region<Pa>> {
    let mut all = parent.children().filter_map(|child| regions(parent, &child)).flatten();
    all.find(|region| region.overlaps(range))
}
