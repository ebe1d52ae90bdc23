//! The console that `/chosen/stdout-path` names.
//!
//! A path that leads nowhere means no console, and one that leads to something not known as a UART, or wired as none is,
//! one that nobody drives: no error, the machine runs as well without. A known UART with malformed registers is one.

use alloc::format;
use alloc::string::String;

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;
use assay_spec::uart::{CADENCE, DW, IMX, LPUART, Layout, MINI_UART, NS16550, PL011, PXA, SBSA, TI, Uart, Wired};

use super::{HostPlatform, Oddity, PlatformError, bus, interrupts};
use crate::gate::{self, Bare, Node, Tree, decode};

/// The UART to write to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Console {
    /// Its node; empty from [`early_console`].
    pub path: String,
    /// Which kind it is and how it is wired. `None` if no driver is here for it: no VM gets it, firmware may still
    /// write to it.
    pub wired: Option<Wired>,
    /// Where its registers are.
    pub registers: Region<Pa>,
    /// Its interrupt, if it is driven and wired to the GIC; `None` from [`early_console`].
    pub intid: Option<IntId>,
}

const SPREAD: Layout = Layout { shift: 2, ..Layout::WORDS };
const BYTES: Layout = Layout { width: 1, ..Layout::WORDS };

/// The UARTs by their `compatible`, as Linux's drivers have them, and how their registers lie if the tree does not say.
const KNOWN: &[(&[&str], &Uart, Layout)] = &[
    (&["arm,pl011"], &PL011, Layout::WORDS),
    (&["arm,sbsa-uart"], &SBSA, Layout::WORDS),
    (&["brcm,bcm2835-aux-uart"], &MINI_UART, SPREAD),
    (&["mediatek,mt6577-uart"], &NS16550, SPREAD),
    (&["ti,am64-uart", "ti,am654-uart"], &TI, SPREAD),
    (&["marvell,armada-38x-uart", "snps,dw-apb-uart"], &DW, BYTES),
    (&["mrvl,mmp-uart"], &PXA, SPREAD),
    (&["intel,xscale-uart"], &PXA, BYTES),
    (NS16550S, &NS16550, BYTES),
    (&["cdns,uart-r1p8", "cdns,uart-r1p12", "xlnx,xuartps"], &CADENCE, Layout::WORDS),
    (&["fsl,imx21-uart", "fsl,imx53-uart", "fsl,imx6q-uart"], &IMX, Layout::WORDS),
    (
        &["fsl,imx7ulp-lpuart", "fsl,imx8ulp-lpuart", "fsl,imx8qxp-lpuart", "fsl,imxrt1050-lpuart"],
        &LPUART,
        Layout { offset: 0x10, ..Layout::WORDS },
    ),
    (&["fsl,ls1028a-lpuart"], &LPUART, Layout::WORDS),
    (&["fsl,ls1021a-lpuart"], &LPUART, Layout { big_endian: true, ..Layout::WORDS }),
];

/// Those whose tree says how the registers lie.
const IS_16550: [&Uart; 4] = [&NS16550, &DW, &TI, &PXA];

/// Those of which no more is to be known.
const NS16550S: &[&str] = &[
    "ns8250",
    "ns16450",
    "ns16550",
    "ns16550a",
    "ns16750",
    "ns16850",
    "altr,16550-FIFO32",
    "altr,16550-FIFO64",
    "altr,16550-FIFO128",
    "nuvoton,npcm750-uart",
    "nvidia,tegra20-uart",
    "ti,da830-uart",
];

impl HostPlatform {
    /// Says why nothing is shown and no key is taken, if the tree names a console all the same: for `explain`.
    pub(super) fn mute(&self) -> Option<Oddity<'_>> {
        let undriven = self.console.as_ref().filter(|console| console.wired.is_none());
        if let Some(console) = undriven {
            let reason = "stdout-path names it, and Assay has no driver for it, or its registers are wired as no driver here can reach them, so that nothing is shown and no key is taken: name another UART there";
            return Some(Oddity { node: &console.path, reason: reason.into() });
        }
        let path = self.lost_console.as_ref()?;
        let reason = format!(
            "stdout-path is \"{}\", which is neither the path of a device nor one of /aliases: nothing is shown and no key is taken; name a UART there",
            path.escape_default()
        );
        Some(Oddity { node: "/chosen", reason: reason.into() })
    }
}

/// Returns what `/chosen/stdout-path` is, but for its options.
pub(super) fn path<'a>(tree: &Tree<'a>) -> Option<&'a str> {
    tree.find("/chosen").and_then(|node| stdout_path(&node.bare()))
}

/// Reads the chosen console.
pub(super) fn chosen<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>) -> Result<Option<Console>, PlatformError> {
    let aliases = || tree.find("/aliases").map(|node| node.bare());
    let path = path(tree).and_then(|path| full_path(path, aliases));
    let Some(node) = path.and_then(|path| tree.find(path)) else {
        return Ok(None);
    };
    let Some(wired) = wired(&node.bare()) else {
        let regions = bus::registers(node).unwrap_or_default();
        let undriven = |registers| Console { path: node.path(), wired: None, registers, intid: None };
        return Ok(regions.first().copied().map(undriven));
    };
    let Some(&registers) = bus::registers(node)?.first() else {
        return Ok(None);
    };
    let wired = fitting(wired, registers.size);
    // Nobody would take back the interrupt of one that is not driven.
    let intid = if wired.is_some() { interrupts::nth(node, gic, 0)? } else { None };
    Ok(Some(Console { path: node.path(), wired, registers, intid }))
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
        let registers = Region::new(Pa(start), size)?;
        let wired = fitting(wired(&node)?, size)?;
        Some(Console { path: String::new(), wired: Some(wired), registers, intid: None })
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

/// Tells whether a node is a UART of a kind that is known, none of which makes accesses of its own.
pub(super) fn is_uart(node: &Bare<'_>) -> bool {
    KNOWN.iter().any(|(names, ..)| node.is_compatible(names))
}

/// Finds out which UART a node is, and how it is wired; `None` if no driver can reach its registers.
fn wired(node: &Bare<'_>) -> Option<Wired> {
    let (_, uart, layout) = KNOWN.iter().find(|(names, ..)| node.is_compatible(names))?;
    let mut layout = *layout;
    if IS_16550.contains(uart) {
        let number = |name, default| node.property(name).map_or(Some(default), decode::u32);
        layout.offset = number("reg-offset", 0)?.try_into().ok()?;
        layout.shift = number("reg-shift", layout.shift.into())?.try_into().ok()?;
        layout.width = number("reg-io-width", layout.width.into())?.try_into().ok()?;
        layout.big_endian = node.property("big-endian").is_some();
        let words = layout.width == 4 && layout.shift >= 2 && layout.offset.is_multiple_of(4);
        if layout.shift > 4 || !(words || layout.width == 1) {
            return None;
        }
    }
    Some(Wired { uart, layout })
}

/// Returns it if its registers fit. Where just DesignWare's status does not, what is left is a plain 16550.
fn fitting(wired: Wired, size: u64) -> Option<Wired> {
    let plain = (*wired.uart == DW).then_some(Wired { uart: &NS16550, ..wired });
    [Some(wired), plain].into_iter().flatten().find(|wired| wired.bytes() <= size)
}
