//! The Raspberry Pi 4 with Debian's Trusted Firmware-A as its `armstub8.bin`: EL3 is firmware's, and CPUs start by PSCI, where
//! the tree of Debian's kernel alone has a spin-table.

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};

use super::card::{self, Found};
use super::{LIMIT, Parts, fetched, wait_for};
use crate::board::Board;
use crate::cases::Case;
use crate::cases::linux::{PROMPT, SOON, wait_for_shell};
use crate::image::UBoot;
use crate::setup::Extra;

/// As many CPUs as the board has: that of the VM's own, and two more that are started by firmware.
const HELLO: &str = "console = \"prefix\"\n[[vm]]\nname = \"hello\"\nmemory = \"64M\"\ncpus = 3\nkernel = \"hello\"\n";

const LINUX: &str = "console = \"prefix\"\n[[vm]]\nname = \"linux\"\nmemory = \"256M\"\ncpus = 4\n\
    kernel = \"debian\"\ninitrd = \"busybox\"\ncmdline = \"console=ttyAMA0\"\n";

/// Where the board's boot loader puts tree and kernel.
const TREE: u32 = 0x2e00_0000;
const KERNEL: u32 = 0x20_0000;
/// RAM below the GPU's.
const RAM: u32 = 0x3b40_0000;
/// In the stub: a mark that the boot loader clears once it has written the two addresses behind it.
const MARK: usize = 0xf0;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("boots/raspi4b-by-tf-a-as-armstub", hello).wants(Extra::Trees),
        Case::linux("boots/raspi4b-by-tf-a-linux-resets-and-powers-off", linux).wants(Extra::Trees),
    ]
}

fn hello() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let machine = start(HELLO, &parts)?;
    let _ = machine.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

/// A VM with all CPUs, which PSCI starts in each of its lives; the board is off at the end.
fn linux() -> Result<String> {
    let parts = Parts::new(LINUX)?;
    let mut machine = start(LINUX, &parts)?;
    for life in 0..2 {
        wait_for_shell(&mut machine, "linux", LIMIT)?;
        let cpus = machine.shell("linux", "nproc", PROMPT, SOON)?;
        ensure!(cpus.trim() == "4", "nproc says {cpus:?} in life {life}");
        machine.send("linux", if life == 0 { "reboot -f\r" } else { "poweroff -f\r" })?;
    }
    machine.finish(LIMIT)?;
    Ok(String::new())
}

/// What the Pi's boot loader does with a card that has Trusted Firmware-A on it. The parts must outlive the machine.
fn start(manifest: &str, parts: &Parts) -> Result<Machine> {
    let mut board = Board::read("raspi4b")?;
    let config =
        board.boot.card.as_mut().and_then(|files| files.get_mut("config.txt")).context("the card's config.txt")?;
    config.push_str("armstub=bl31.bin\n");
    let card = parts.flashable(&board, UBoot::Extlinux, &[("bl31.bin", &std::fs::read(fetched("rpi4-bl31")?)?)])?;
    let Found { kernel, ramdisk, tree, stub } = card::by_config(&card)?;
    // Behind the kernel and the memory that its header counts.
    let size = kernel.get(16..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let place = KERNEL + u32::try_from(size.max(kernel.len() as u64).next_multiple_of(0x1000))?;
    let ramdisk_end = place + u32::try_from(ramdisk.len())?;
    ensure!(ramdisk_end <= TREE, "kernel and ramdisk end at {ramdisk_end:#x}, behind the tree's place");
    let tree = complete(&tree.context("no tree")?, place..ramdisk_end)?;
    let stub = addressed(stub.context("no stub")?)?;
    let mut arguments = ["-M", "raspi4b", "-smp", "4"].map(str::to_owned).to_vec();
    let files = [("stub", &stub, 0), ("tree", &tree, TREE), ("kernel", &kernel, KERNEL), ("ramdisk", &ramdisk, place)];
    for (name, bytes, address) in files {
        let path = parts.folder.join(name);
        std::fs::write(&path, bytes)?;
        let loader = format!("loader,file={},addr={address:#x},force-raw=on", path.display());
        arguments.extend(["-device".to_owned(), loader]);
    }
    let machine = Machine::builder().manifest_text(manifest).by_firmware().board(arguments).start()?;
    wait_for(&machine, "BL31: v")?;
    Ok(machine)
}

/// The stub with the addresses.
fn addressed(mut stub: Vec<u8>) -> Result<Vec<u8>> {
    let header = stub.get_mut(MARK..MARK + 16).context("no armstub: it is too short")?;
    ensure!(header[..4] == 0x5afe_570b_u32.to_le_bytes(), "no armstub: its mark is missing");
    header.copy_from_slice(&[0, 0, TREE, KERNEL].map(u32::to_le_bytes).concat());
    Ok(stub)
}

/// The tree with RAM and the ramdisk's place, which the boot loader fills in.
fn complete(blob: &[u8], ramdisk: Range<u32>) -> Result<Vec<u8>> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(blob)?);
    let memory = tree.find_node_mut("/memory@0").context("the tree has no /memory@0")?;
    let reg = memory.property_mut("reg").context("/memory@0 has no reg")?;
    reg.set_value(&[0, 0, RAM][..]);
    let chosen = tree.find_node_mut("/chosen").context("the tree has no /chosen")?;
    for (name, address) in [("linux,initrd-start", ramdisk.start), ("linux,initrd-end", ramdisk.end)] {
        chosen.add_property(DeviceTreeProperty::new_unchecked(name, address));
    }
    let mut blob = tree.to_dtb();
    // Firmware adds PSCI to it where it lies.
    blob.resize(blob.len() + 0x1000, 0);
    let size = u32::try_from(blob.len())?;
    blob[4..8].copy_from_slice(&size.to_be_bytes());
    Ok(blob)
}
