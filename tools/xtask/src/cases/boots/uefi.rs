//! UEFI: Debian's AAVMF starts the image itself, or GRUB or systemd-boot does.

use anyhow::{Result, ensure};
use assay_harness::cache::{self, Cache};
use assay_harness::{Builder, Machine, image, qemu};

use super::{HELLO, LIMIT, Parts, TWO, fetched, to_debian_and_off, wait_for};
use crate::build::Artifacts;
use crate::cases::Case;
use crate::image::{BESIDE, REMOVABLE, UBoot};

/// Firmware gives its device tree, or ACPI's tables instead.
pub(super) const TREE: &str = "acpi=off";
const ACPI: &str = "acpi=on";

const GRUB: &str =
    "search --set=root --file /assay.img\nlinux /assay.img quiet assay.console=prefix\ninitrd /bundle.cpio\nboot\n";

const ENTRY: &str = "title Assay\nlinux /assay.img\ninitrd /bundle.cpio\noptions assay.console=prefix\n";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("boots/uefi-from-a-disk", from_a_disk),
        Case::new("boots/uefi-with-the-tree-of-the-disk", with_a_tree),
        Case::new("boots/uefi-with-a-tree-of-its-acpi-tables", with_tables),
        Case::new("boots/uefi-one-file", one_file),
        Case::new("boots/uefi-initrd-by-loadfile2", by_loadfile2),
        Case::linux("boots/uefi-linux-beside-another", linux),
        Case::new("boots/grub-linux-and-initrd", grub),
        Case::new("boots/systemd-boot-linux-and-initrd", systemd_boot),
        Case::new("boots/uefi-says-why-not-at-el1", || {
            refused("virtualization=off,acpi=off", "assay: started at EL1, ")
        }),
        Case::new("boots/uefi-says-that-no-tree-is-there", || refused(ACPI, "assay: firmware has no device tree; ")),
    ]
}

/// A machine with AAVMF in its flash and this disk.
pub(super) fn machine(manifest: &str, options: &str, disk: &str) -> Result<Builder> {
    let arguments = ["-M", options, "-bios", &fetched("aavmf")?, "-drive", disk];
    Ok(Machine::builder().manifest_text(manifest).by_firmware().arguments(arguments))
}

fn hello(options: &str, disk: &str) -> Result<String> {
    let _ = machine(HELLO, options, disk)?.start()?.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

fn from_a_disk() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    hello(TREE, &parts.whole_disk(UBoot::Extlinux)?)
}

/// Firmware has ACPI only, so the tree is a file.
fn with_a_tree() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let program = qemu::find(None, &Cache::locate()?)?;
    let hardware =
        ["-M", "virt,virtualization=on,gic-version=3", "-cpu", "max", "-smp", "1", "-m", "1G", "-nic", "none"];
    let tree = qemu::own_tree(&program, &hardware.map(str::to_owned), &parts.folder)?;
    let files = [(REMOVABLE, &parts.image), (BESIDE, &parts.bundle), ("EFI/BOOT/platform.dtb", &tree)];
    hello(ACPI, &parts.disk(&files.map(|(name, bytes)| (name, bytes.as_slice())))?)
}

/// Firmware has ACPI only, and the tree was made of the tables that it has for this machine.
fn with_tables() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let iomem = parts.folder.join("iomem");
    std::fs::write(&iomem, "40000000-7fffffff : System RAM\n")?;
    let tables = cache::repository()?.join("tools/xtask/tests/acpi/plain");
    let tree = crate::acpi::tree(&tables, Some(&iomem))?.0.to_dtb();
    let files = [(REMOVABLE, &parts.image), (BESIDE, &parts.bundle), ("EFI/BOOT/platform.dtb", &tree)];
    let disk = parts.disk(&files.map(|(name, bytes)| (name, bytes.as_slice())))?;
    let machine = machine(HELLO, ACPI, &disk)?.physical_cpus(2).physical_memory(1 << 30).machine_mte(true).start()?;
    wait_for(&machine, "by its ACPI tables")?;
    let _ = machine.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

fn one_file() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let whole = image::append_bundle(&parts.image, &parts.bundle)?;
    hello(TREE, &parts.disk(&[(REMOVABLE, &whole)])?)
}

/// QEMU hands kernel and initrd to firmware, which serves the initrd as boot loaders do.
fn by_loadfile2() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let bundle = parts.folder.join("initrd");
    std::fs::write(&bundle, &parts.bundle)?;
    let image = Artifacts::locate()?.image;
    let builder = machine(HELLO, TREE, &parts.disk(&[])?)?;
    let files = ["-kernel", &image.to_string_lossy(), "-initrd", &bundle.to_string_lossy()].map(str::to_owned);
    let _ = builder.arguments(files.iter().map(String::as_str)).start()?.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

/// Firmware's memory is larger and its map longer, and a VM runs Linux to its shell and back.
fn linux() -> Result<String> {
    let parts = Parts::new(TWO)?;
    let disk = parts.disk(&[(REMOVABLE, &parts.image), (BESIDE, &parts.bundle)])?;
    to_debian_and_off(machine(TWO, TREE, &disk)?)
}

/// The VM's lines are marked only if the arguments say so, which come from the boot loader.
fn unmarked() -> String {
    HELLO.replace("console = \"prefix\"\n", "")
}

/// GRUB takes the image as a kernel, and serves the bundle or says in the tree where it is.
fn grub() -> Result<String> {
    let parts = Parts::new(&unmarked())?;
    let loader = std::fs::read(fetched("grub")?)?;
    let files: [(&str, &[u8]); 4] = [
        (REMOVABLE, &loader),
        ("EFI/debian/grub.cfg", GRUB.as_bytes()),
        ("assay.img", &parts.image),
        ("bundle.cpio", &parts.bundle),
    ];
    hello(TREE, &parts.disk(&files)?)
}

/// systemd-boot starts the image as a program, and serves the bundle.
fn systemd_boot() -> Result<String> {
    let parts = Parts::new(&unmarked())?;
    let loader = std::fs::read(fetched("systemd-boot")?)?;
    let files: [(&str, &[u8]); 5] = [
        (REMOVABLE, &loader),
        ("loader/loader.conf", b"timeout 0\n"),
        ("loader/entries/assay.conf", ENTRY.as_bytes()),
        ("assay.img", &parts.image),
        ("bundle.cpio", &parts.bundle),
    ];
    hello(TREE, &parts.disk(&files)?)
}

/// The machine stays firmware's, which says what the image said.
fn refused(options: &str, text: &str) -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let disk = parts.disk(&[(REMOVABLE, &parts.image), (BESIDE, &parts.bundle)])?;
    let machine = machine(HELLO, options, &disk)?.start()?;
    wait_for(&machine, text)?;
    wait_for(&machine, "Shell> ")?;
    ensure!(machine.events().iter().all(|event| event.kind != "boot"), "Assay has started: {}", machine.log());
    Ok(String::new())
}
