//! PCI host bridges, by the MCFG: where configuration space is. Windows and wired interrupts are AML's.

use anyhow::{Context as _, Result};
use dtoolkit::model::DeviceTreeNode;

use super::iort::Iort;
use super::layout::{Ecam, Mcfg};
use super::nodes::{at, cells, put, reg};
use super::tables::{Tables, part};

/// Configuration space of a bus.
const BUS: u64 = 0x10_0000;

/// Adds a node for each entry.
///
/// # Errors
/// It is malformed.
pub(super) fn hosts(root: &mut DeviceTreeNode, tables: &Tables, iort: &Iort, notes: &mut Vec<String>) -> Result<()> {
    let Some(table) = tables.find("MCFG") else { return Ok(()) };
    let list = table.get(size_of::<Mcfg>()..).unwrap_or_default();
    for entry in list.chunks_exact(size_of::<Ecam>()) {
        let ecam: &Ecam = part(entry, "MCFG")?;
        let buses = ecam.last.checked_sub(ecam.first).context("MCFG: the last bus is below the first")?;
        let base = ecam.base.get().checked_add(u64::from(ecam.first) * BUS).context("MCFG: an address beyond 2^64")?;
        let segment = u32::from(ecam.segment.get());
        let mut host = at("pcie", base);
        put(&mut host, "compatible", "pci-host-ecam-generic");
        put(&mut host, "device_type", "pci");
        cells(&mut host, 3, 2);
        reg(&mut host, &[(base, (u64::from(buses) + 1) * BUS)]);
        put(&mut host, "bus-range", &[u32::from(ecam.first), u32::from(ecam.last)][..]);
        put(&mut host, "linux,pci-domain", segment);
        iort.describe(&mut host, segment);
        root.add_child(host);
    }
    if !list.is_empty() {
        notes.push(
            "the memory windows and wired interrupts of PCI host bridges are in AML, which is not run: for BARs \
            and for functions of VMs an overlay must give `ranges` and `interrupt-map`"
                .into(),
        );
    }
    Ok(())
}
