//! Interrupt specifiers: from a device's property to the GIC's number.
//!
//! Only what is wired to the GIC itself is followed, not a controller behind it. PCI host bridges' `interrupt-map` is
//! `pcie`'s matter.

use alloc::vec::Vec;

use assay_spec::intid::IntId;

use crate::gate::{Malformed, Node};

/// The first cell of a GIC specifier (the `arm,gic` and `arm,gic-v3` bindings).
const SPI: u32 = 0;
const PPI: u32 = 1;

/// The extended ranges of GICv3.1, which we do not use.
const ESPI: u32 = 2;
const EPPI: u32 = 3;

const WANTS: &str =
    "must be GIC specifiers (type 0 for an SPI or 1 for a PPI, number, flags) with numbers that the GIC has";

/// Reads a device's interrupt number `which`; `None` if it has not so many or another controller.
pub(super) fn nth<'t, 'a>(node: Node<'t, 'a>, gic: Node<'t, 'a>, which: usize) -> Result<Option<IntId>, Malformed> {
    if node.has("interrupts-extended") {
        return extended(node, gic, which);
    }
    if controller(node) != Some(gic) {
        return Ok(None);
    }
    let cells = specifier_cells(node, "interrupts", gic)?;
    let mut list = node.cells("interrupts")?;
    if !list.count_left().is_multiple_of(cells) {
        return Err(node.malformed("interrupts", WHOLE));
    }
    let Some(skip) = which.checked_mul(cells) else {
        return Ok(None);
    };
    match (list.nth(skip), list.next()) {
        (Some(kind), Some(number)) => decode(node, "interrupts", kind, number),
        _ => Ok(None),
    }
}

/// An interrupt of a device's that is an SPI of the GIC's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire {
    /// Its number.
    pub intid: IntId,
    /// It is an edge, not a level.
    pub is_edge: bool,
}

/// Reads all interrupts of a device; `None` in place of one that is no SPI or another controller's.
pub(super) fn all<'t, 'a>(node: Node<'t, 'a>, gic: Node<'t, 'a>) -> Result<Vec<Option<Wire>>, Malformed> {
    let (extended, plain) = ("interrupts-extended", "interrupts");
    let is_extended = node.has(extended);
    let name = if is_extended { extended } else { plain };
    let mut list = node.cells(name)?;
    let mut all = Vec::new();
    while list.count_left() > 0 && all.len() < MAX_WIRES {
        let parent = if is_extended {
            list.next().and_then(|phandle| node.tree().by_phandle(phandle))
        } else {
            controller(node)
        };
        let parent = parent.ok_or_else(|| node.malformed(name, "must be specifiers of an interrupt controller"))?;
        let mut cells = [0; 8];
        let count = specifier_cells(node, name, parent)?;
        for cell in &mut cells[..count] {
            *cell = list.next().ok_or_else(|| node.malformed(name, WHOLE))?;
        }
        let intid = if parent == gic { decode(node, name, cells[0], cells[1])? } else { None };
        // Of the third cell, bits 1:0 are edges (the `arm,gic` binding).
        let wire = |intid| Wire { intid, is_edge: cells[2] & 3 != 0 };
        all.push(intid.filter(|intid| intid.0 >= IntId::SPI_BASE).map(wire));
    }
    Ok(all)
}

/// The most interrupts of a device that are read: more than a VM gets.
const MAX_WIRES: usize = 64;
const WHOLE: &str = "must be whole specifiers of #interrupt-cells";

/// Reads one of `interrupts-extended`: each has its controller's phandle before it.
fn extended<'t, 'a>(node: Node<'t, 'a>, gic: Node<'t, 'a>, which: usize) -> Result<Option<IntId>, Malformed> {
    let name = "interrupts-extended";
    let mut list = node.cells(name)?;
    let mut seen = 0;
    while let Some(phandle) = list.next() {
        let parent = node.tree().by_phandle(phandle);
        let wants = "must begin each specifier with an interrupt controller's phandle";
        let parent = parent.ok_or_else(|| node.malformed(name, wants))?;
        let cells = specifier_cells(node, name, parent)?;
        let (kind, number) = (list.next(), list.next());
        if seen == which {
            return match (parent == gic, kind, number) {
                (true, Some(kind), Some(number)) => decode(node, name, kind, number),
                _ => Ok(None),
            };
        }
        for _ in 2..cells {
            let _ = list.next();
        }
        seen += 1;
    }
    Ok(None)
}

/// Finds the node whose specifiers `interrupts` holds: by the nearest `interrupt-parent` upwards, or
/// else the nearest node above with `#interrupt-cells` (Devicetree Specification 0.4 §2.4.1).
fn controller<'t, 'a>(node: Node<'t, 'a>) -> Option<Node<'t, 'a>> {
    let mut at = node;
    // Phandles may lead in a circle; no real chain is as long as the tree may be deep.
    for _ in 0..crate::gate::MAX_DEPTH {
        at = match at.u32("interrupt-parent").ok()? {
            Some(phandle) => at.tree().by_phandle(phandle)?,
            None => at.parent()?,
        };
        if at.has("#interrupt-cells") {
            return Some(at);
        }
    }
    None
}

/// The cells of one specifier of a controller that property `name` of `node` leads to; a GIC has 3, or 4 with PPI partitions.
pub(super) fn specifier_cells(
    node: Node<'_, '_>,
    name: &'static str,
    controller: Node<'_, '_>,
) -> Result<usize, Malformed> {
    let cells = controller.u32("#interrupt-cells").ok().flatten().filter(|cells| (1..=8).contains(cells));
    let wants = "must lead to interrupt controllers, whose #interrupt-cells is one cell, 1 to 8";
    Ok(cells.ok_or_else(|| node.malformed(name, wants))? as usize)
}

pub(super) fn decode(
    node: Node<'_, '_>,
    name: &'static str,
    kind: u32,
    number: u32,
) -> Result<Option<IntId>, Malformed> {
    match kind {
        SPI if number < IntId::SPI_END - IntId::SPI_BASE => Ok(Some(IntId::spi(number))),
        PPI if number < IntId::SPI_BASE - IntId::PPI_BASE => Ok(Some(IntId::ppi(number))),
        ESPI | EPPI => Ok(None),
        _ => Err(node.malformed(name, WANTS)),
    }
}
