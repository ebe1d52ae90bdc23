//! `tree-from-acpi`: a platform's device tree from its ACPI tables, for servers whose firmware has no tree.
//!
//! It writes what the tables state and nothing else: what they leave to AML or don't know is said on stderr, and is for
//! an overlay to add. docs/acpi.md has the rules, table by table.

mod dsd;
mod interrupts;
mod iort;
mod layout;
mod machine;
mod memory;
mod nodes;
mod pci;
mod tables;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use dtoolkit::model::DeviceTree;

use crate::failure::unusable;
use tables::Tables;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A folder of ACPI tables, as /sys/firmware/acpi/tables has them or `acpidump -b` writes them
    #[arg(value_name = "TABLES")]
    tables: PathBuf,
    /// Where the tree goes: a blob, or source to read
    #[arg(short, long, value_name = "FILE.dtb|FILE.dts")]
    output: PathBuf,
    /// The machine's /proc/iomem, read by root: its lines "System RAM" say where RAM is, better than SRAT does
    #[arg(long, value_name = "FILE")]
    iomem: Option<PathBuf>,
}

/// A tree, and what one has to know of it.
struct Written {
    tree: DeviceTree,
    notes: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// Tables that are missing or malformed; the output can't be written.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (tree, notes) = tree(&options.tables, options.iomem.as_deref()).map_err(unusable)?;
    let bytes = match options.output.extension().and_then(|ending| ending.to_str()) {
        Some("dtb") => tree.to_dtb(),
        Some("dts") => tree.to_string().into_bytes(),
        _ => return Err(unusable(anyhow::anyhow!("{}: give a .dtb or .dts file", options.output.display()))),
    };
    fs::write(&options.output, bytes).with_context(|| format!("can't write {}", options.output.display()))?;
    for note in notes {
        eprintln!("warning: {note}");
    }
    Ok(())
}

/// The tree of a folder of tables, which EL2's parser takes, and what one has to know of it.
///
/// # Errors
/// Tables that are missing or malformed.
pub(crate) fn tree(tables: &Path, iomem: Option<&Path>) -> Result<(DeviceTree, Vec<String>)> {
    let tables = Tables::read(tables)?;
    let iomem = iomem.map(read_iomem).transpose()?;
    let Written { tree, notes } = write(&tables, iomem.as_deref())?;
    // A tree that EL2 refuses would only be refused later.
    let _ = assay_plan::platform::parse(&tree.to_dtb()).context("the tables do not describe a machine for Assay")?;
    Ok((tree, notes))
}

fn read_iomem(path: &Path) -> Result<Vec<memory::Range>> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let ram = memory::iomem(&text);
    if ram.is_empty() {
        bail!("{}: no line of System RAM with an address: read /proc/iomem as root", path.display());
    }
    Ok(ram)
}

fn write(tables: &Tables, iomem: Option<&[memory::Range]>) -> Result<Written> {
    let mut notes = Vec::new();
    let mut tree = DeviceTree::new();
    machine::root(&mut tree.root, tables)?;
    let memory = memory::Memory::of(tables, iomem, &mut notes)?;
    machine::cpus(&mut tree.root, tables, &mut notes)?;
    memory.write(&mut tree.root);
    machine::distances(&mut tree.root, tables)?;
    machine::timer(&mut tree.root, tables)?;
    machine::gic(&mut tree.root, tables, &mut notes)?;
    machine::console(&mut tree.root, tables, &mut notes)?;
    let smmus = iort::Iort::of(tables)?;
    smmus.write(&mut tree.root)?;
    pci::hosts(&mut tree.root, tables, &smmus, &mut notes)?;
    Ok(Written { tree, notes })
}
