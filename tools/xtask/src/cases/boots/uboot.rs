//! U-Boot: Debian's, as the machine's firmware, starts Assay from a disk that it finds by itself, or by commands.

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::{Builder, Machine};

use super::{HELLO, LIMIT, Parts, TWO, fetched, to_debian_and_off, wait_for};
use crate::board::Board;
use crate::cases::{Case, is_power_off};
use crate::image::UBoot;
use crate::setup::Extra;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("boots/u-boot-extlinux", || hello(UBoot::Extlinux)),
        Case::new("boots/u-boot-script", || hello(UBoot::Script)),
        Case::new("boots/u-boot-fit", || hello(UBoot::Fit)),
        Case::linux("boots/u-boot-linux-beside-another", linux),
        Case::new("boots/u-boot-bootefi", by_bootefi),
        Case::new("boots/u-boot-on-the-pis-card", card).wants(Extra::Trees),
    ]
}

/// A machine with U-Boot as firmware and this disk.
fn machine(manifest: &str, disk: &str) -> Result<Builder> {
    let arguments = ["-bios", &fetched("u-boot")?, "-drive", disk];
    Ok(Machine::builder().manifest_text(manifest).by_firmware().arguments(arguments))
}

fn hello(way: UBoot) -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let _ = machine(HELLO, &parts.whole_disk(way)?)?.start()?.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

fn linux() -> Result<String> {
    let parts = Parts::new(TWO)?;
    to_debian_and_off(machine(TWO, &parts.whole_disk(UBoot::Extlinux)?)?)
}

/// U-Boot's own UEFI starts the image, which finds its bundle beside it.
fn by_bootefi() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let mut machine = machine(HELLO, &parts.whole_disk(UBoot::Extlinux)?)?.start()?;
    wait_for(&machine, "Hit any key to stop autoboot")?;
    machine.send("hello", "\r")?;
    wait_for(&machine, "=> ")?;
    let load = "load virtio 0:1 ${kernel_addr_r} /EFI/BOOT/BOOTAA64.EFI";
    machine.send("hello", &format!("{load}; bootefi ${{kernel_addr_r}} ${{fdt_addr}}\r"))?;
    let _ = machine.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

/// The card that a user would flash for a Raspberry Pi 4, without the Pi's own firmware: QEMU is that, and starts U-Boot.
fn card() -> Result<String> {
    let (parts, board) = (Parts::new(HELLO)?, Board::read("raspi4b")?);
    let path = parts.flashable(&board, UBoot::Extlinux, &[])?;
    let qemu = board.qemu.context("QEMU plays it")?;
    let mut arguments = qemu.board(&Cache::locate()?.trees()).context("it is a board")?;
    let card = format!("if=sd,format=raw,file={}", path.display());
    arguments.extend(["-kernel", &fetched("u-boot-rpi")?, "-drive", &card].map(str::to_owned));
    let mut machine = Machine::builder().manifest_text(HELLO).by_firmware().board(arguments).start()?;
    let _ = machine.expect_event("that the VM has stopped", LIMIT, is_power_off)?;
    ensure!(machine.output("hello").contains("ok 1"), "the guest has said: {}", machine.output("hello"));
    Ok(String::new())
}
