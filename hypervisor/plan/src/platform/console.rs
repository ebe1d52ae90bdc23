//! The console that `/chosen/stdout-path` names.
//!
//! A path that leads nowhere, or to something that is not known as a UART, means no console and is no error: the
//! machine runs as well without one. A UART with malformed registers is one.

use alloc::string::String;

use assay_spec::addr::{Pa, Region};

use super::{Console, ConsoleKind, PlatformError, bus, interrupts};
use crate::gate::{self, Bare, Node, Tree, decode};

const PL011: &[&str] = &["arm,pl011", "arm,sbsa-uart"];
/// The 16550s and Cadence UARTs.
const OTHERS: &[&str] = &[
    "ns16550a",
    "ns16550",
    "snps,dw-apb-uart",
    "brcm,bcm2835-aux-uart",
    "cdns,uart-r1p8",
    "cdns,uart-r1p12",
    "xlnx,xuartps",
];

/// Reads the chosen console.
pub(super) fn chosen<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>) -> Result<Option<Console>, PlatformError> {
    let path = tree.find("/chosen").and_then(|node| stdout_path(&node.bare()));
    let aliases = || tree.find("/aliases").map(|node| node.bare());
    let path = path.and_then(|path| full_path(path, aliases));
    let Some(node) = path.and_then(|path| tree.find(path)) else {
        return Ok(None);
    };
    let Some(kind) = kind(&node.bare()) else {
        return Ok(None);
    };
    let Some(&registers) = bus::registers(node)?.first() else {
        return Ok(None);
    };
    Ok(Some(Console { path: node.path(), kind, registers, intid: interrupts::nth(node, gic, 0)? }))
}

/// Finds the console in a blob without the heap and without a lock, for the first words of a boot.
///
/// `path` is empty and `intid` is `None`. `None` where there is no console or the tree is broken: it
/// is then for [`super::parse`] to say why. The blob is checked whole first, so the time is bounded. The
/// compiler is free to use unaligned loads here, which fault on memory that is Device (MMU off).
pub fn early_console(dtb: &[u8]) -> Option<Console> {
    gate::without_heap(dtb, |root, _| {
        let path = stdout_path(&root.child("chosen")?)?;
        let path = full_path(path, || root.child("aliases"))?;
        // The nodes from the root to the console: the buses on the way, outermost first.
        let mut way = [root; gate::MAX_DEPTH + 1];
        let mut depth = 0;
        let mut node = root;
        for component in gate::components(path)? {
            node = node.child(component)?;
            depth += 1;
            *way.get_mut(depth)? = node;
        }
        let buses = way.get(..depth)?;
        let cells = buses.last()?.cells()?;
        let (start, size) = cells.entries(node.property("reg")?)?.next()?;
        let start = bus::to_physical(buses.iter().rev().copied(), start, size)?;
        Some(Console { path: String::new(), kind: kind(&node)?, registers: Region::new(Pa(start), size)?, intid: None })
    })
}

/// The path or alias in `/chosen`, without the options after the colon (":115200n8").
fn stdout_path<'a>(chosen: &Bare<'a>) -> Option<&'a str> {
    let value = chosen.property("stdout-path");
    let value = value.or_else(|| chosen.property("linux,stdout-path"))?;
    let path = decode::str(value)?;
    Some(path.split_once(':').map_or(path, |(path, _)| path))
}

/// Looks an alias up; a path is returned as it is.
fn full_path<'a>(path: &'a str, aliases: impl FnOnce() -> Option<Bare<'a>>) -> Option<&'a str> {
    if path.starts_with('/') {
        return Some(path);
    }
    decode::str(aliases()?.property(path)?)
}

fn kind(node: &Bare<'_>) -> Option<ConsoleKind> {
    if node.is_compatible(PL011) {
        return Some(ConsoleKind::Pl011);
    }
    node.is_compatible(OTHERS).then_some(ConsoleKind::Other)
}
