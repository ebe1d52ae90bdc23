//! `run --vm-tree`: VMs from a dom0less tree, with their files loaded at the addresses that it gives.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use assay_harness::cache::{KERNELS, RAMDISKS};
use assay_harness::dom0less::{Dom0less, console_argument};
use assay_harness::{programs, qemu};

use super::{Options, Start, prepare, start};
use crate::build;
use crate::failure::unusable;

/// A file and where it goes, `ADDR=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    address: u64,
    file: String,
}

/// Reads `ADDR=FILE`.
pub(super) fn module(text: &str) -> Result<Module, String> {
    let wants = || format!("{text:?} is not ADDR=FILE, such as 0x48000000=debian");
    let (address, file) = text.split_once('=').ok_or_else(wants)?;
    let address = match address.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => address.parse(),
    };
    let address = address.map_err(|_| wants())?;
    if file.is_empty() {
        return Err(wants());
    }
    Ok(Module { address, file: file.to_owned() })
}

/// Runs the VMs of the tree at `path`.
pub(super) fn run(options: &Options, path: &Path) -> Result<()> {
    let tree = Dom0less::read(path).map_err(unusable)?;
    let board = options.board().map_err(unusable)?;
    if board.is_board() {
        return Err(unusable(anyhow!("{}'s tree has its VMs in a bundle: give --manifest", board.machine)));
    }
    let files: Vec<(u64, String)> =
        options.modules.iter().map(|module| (module.address, module.file.clone())).collect();
    let known = |name: &&str| KERNELS.contains(name) || RAMDISKS.contains(name);
    let names = || files.iter().map(|(_, name)| name.as_str());
    let qemu = prepare(options, &names().collect::<Vec<_>>())?;
    let mut ours: Vec<&str> =
        names().filter(|name| !known(name) && !Path::new(name).is_file() && programs::is_one(name)).collect();
    ours.sort_unstable();
    ours.dedup();
    if !ours.is_empty() {
        build::guests(&ours)?;
    }
    let artifacts = build::firmware(build::Profile::fast(options.fast))?;

    let mut hardware = options.hardware(board, tree.hardware())?;
    // A whole tree's controller is a fact; a fragment's machine has the one that is asked for.
    if let Some(gic) = tree.gic().filter(|_| tree.is_whole()) {
        hardware.gic = gic;
    }
    let mut machine = hardware.arguments();
    machine.extend(options.qemu_arguments.iter().cloned());
    let folder = artifacts.tree.parent().context("a folder")?;
    let own = if tree.is_whole() { Vec::new() } else { qemu::own_tree(&qemu, &machine, folder).map_err(unusable)? };
    build::replace(&artifacts.tree, &tree.complete(&own)?)?;

    let mut arguments = hardware.arguments();
    arguments.extend(["-nographic", "-kernel"].map(str::to_owned));
    arguments.push(artifacts.image.display().to_string());
    arguments.extend(tree.arguments(&artifacts.tree, &files).map_err(unusable)?);
    if let Some(style) = options.outputs.style(tree.vms().len()) {
        arguments.extend(["-append".to_owned(), console_argument(style)]);
    }
    let names: Vec<&str> = tree.vms().iter().map(|vm| vm.name.as_str()).collect();
    let cpu = &hardware.cpu;
    let start_with = Start { qemu: &qemu, elf: &artifacts.elf, image: &artifacts.image, names: &names, mte: &[], cpu };
    start(options, &start_with, arguments)
}

#[cfg(test)]
mod tests {
    use super::module;

    #[test]
    fn a_module_is_an_address_and_a_file() {
        let read = module("0x48000000=a=b").unwrap();
        assert_eq!((read.address, read.file.as_str()), (0x4800_0000, "a=b"));
        assert_eq!(module("4096=x").unwrap().address, 4096);
        for text in ["debian", "0x48000000=", "=x", "48g=x"] {
            assert!(module(text).unwrap_err().contains("ADDR=FILE"), "{text}");
        }
    }
}
