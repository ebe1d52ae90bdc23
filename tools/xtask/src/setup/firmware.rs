//! Firmware that guests can run and that Assay starts from: Debian's U-Boot and AAVMF for QEMU's `virt`, its GRUB and
//! systemd-boot, and its U-Boot and Trusted Firmware-A for the Raspberry Pi 4, unchanged.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use assay_harness::cache::Cache;

use super::apt::{self, Apt, Suites};
use super::fill;

/// The release whose firmware is tested, whatever the host runs.
const RELEASE: Suites<'_> =
    Suites { architecture: "arm64", archive: &["bookworm"], security: &["bookworm-security"], prefer: None };

/// The file that came last: a folder without it is an older version's.
pub(crate) const LAST: &str = "u-boot-rpi";

/// Each file: its name here, the package that has it, and where.
const FILES: [(&str, &str, &str); 7] = [
    ("u-boot", "u-boot-qemu", "usr/lib/u-boot/qemu_arm64/u-boot.bin"),
    ("aavmf", "qemu-efi-aarch64", "usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),
    ("aavmf-vars", "qemu-efi-aarch64", "usr/share/AAVMF/AAVMF_VARS.fd"),
    ("grub", "grub-efi-arm64-bin", "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi"),
    ("rpi4-bl31", "arm-trusted-firmware", "usr/lib/arm-trusted-firmware/rpi4/bl31.bin"),
    ("systemd-boot", "systemd-boot-efi", "usr/lib/systemd/boot/efi/systemd-bootaa64.efi"),
    (LAST, "u-boot-rpi", "usr/lib/u-boot/rpi_4/u-boot.bin"),
];

/// Fetches the files; gives their folder.
///
/// # Errors
/// A package can't be fetched, or has no such file.
pub(crate) fn install(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.root().join("guests/firmware");
    fill(&folder, |work| {
        let kept = work.join("kept");
        fs::create_dir_all(&kept)?;
        let private = Apt::open(&work.join("apt"), &RELEASE)?;
        let tree = work.join("tree");
        for (name, package, path) in FILES {
            let from = tree.join(path);
            if !from.is_file() {
                apt::unpack(&private.download(package)?, &tree)?;
            }
            let _ = fs::copy(&from, kept.join(name)).with_context(|| format!("{package} has no {path}"))?;
        }
        private.discard()?;
        Ok(kept)
    })?;
    Ok(folder)
}
