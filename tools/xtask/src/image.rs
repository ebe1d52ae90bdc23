//! `image`: the files that a board boots: firmware and bundle, apart and as one file, and on a disk.

pub(crate) mod disk;
pub(crate) mod fip;
pub(crate) mod uboot;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use assay_harness::image;
use assay_harness::manifest::Manifest;
use clap::{Args, ValueEnum};

use crate::board::{Board, Boot};
use crate::failure::unusable;
use crate::{build, setup};
use disk::Table;

/// What UEFI starts from a disk that it knows nothing of.
pub(crate) const REMOVABLE: &str = "EFI/BOOT/BOOTAA64.EFI";
/// Where the image looks for the bundle then.
pub(crate) const BESIDE: &str = "EFI/BOOT/bundle.cpio";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The board: a folder of platforms/
    #[arg(long, value_name = "NAME", default_value = "qemu-virt")]
    platform: String,
    /// The VMs
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// How U-Boot starts it from the disk
    #[arg(long, value_name = "WAY", value_enum, default_value_t)]
    u_boot: UBoot,
    /// The folder to write to; made if missing
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Unusable input, or a build that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let names = Board::read(&options.platform).map_err(unusable)?.boot;
    if names.card.is_some() && options.u_boot != UBoot::Extlinux {
        return Err(unusable(anyhow!(
            "{}'s card has a menu for U-Boot, and no script: leave --u-boot out",
            options.platform
        )));
    }
    let manifest = Manifest::read(&options.manifest).map_err(unusable)?;
    build::warn(&manifest);
    let folder = options.manifest.parent().unwrap_or(Path::new(""));
    setup::ensure(setup::Needs { qemu: false, guests: &setup::guests_of(&manifest) })?;
    build::guests_of(&manifest, folder)?;
    let firmware = fs::read(build::firmware(build::Profile::Release)?.image)?;
    let archive = build::bundle(&manifest, folder).map_err(unusable)?;
    fs::create_dir_all(&options.output).with_context(|| format!("can't make {}", options.output.display()))?;
    let whole = image::append_bundle(&firmware, &archive)?;
    let fit = names.fit.as_ref().map(|fit| (fit.file.as_str(), uboot::fit(&firmware, &archive, fit.load)));
    let (of_image, of_bundle) =
        if names.card.is_some() { (&*names.firmware, &*names.bundle) } else { (REMOVABLE, BESIDE) };
    let script = uboot::script(&uboot::commands(of_image, of_bundle));
    let menu = uboot::menu(of_image, of_bundle).into_bytes();
    let files = [
        (names.firmware.as_str(), &firmware),
        (&names.bundle, &archive),
        (&names.whole, &whole),
        (uboot::SCRIPT, &script),
        ("extlinux.conf", &menu),
    ];
    for (name, bytes) in files.into_iter().chain(fit.iter().map(|(name, fit)| (*name, fit))) {
        let path = options.output.join(name);
        fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))?;
        println!("{}", path.display());
    }
    let path = options.output.join(&names.disk);
    if names.card.is_some() {
        write_card(&path, &names, &firmware, &archive)?;
    } else {
        write_disk(&path, options.u_boot, &firmware, &archive, fit.as_ref().map(|(_, fit)| fit.as_slice()))?;
    }
    println!("{}", path.display());
    Ok(())
}

/// How U-Boot starts Assay from a disk. UEFI firmware starts all of them.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UBoot {
    /// By the menu extlinux/extlinux.conf
    #[default]
    Extlinux,
    /// By the script boot.scr, with `booti`
    Script,
    /// By the script boot.scr, from a FIT with `bootm`
    Fit,
}

/// Writes a disk that both UEFI firmware and U-Boot start from.
///
/// # Errors
/// It can't be written, or there is no FIT.
pub(crate) fn write_disk(path: &Path, way: UBoot, firmware: &[u8], bundle: &[u8], fit: Option<&[u8]>) -> Result<()> {
    let text = match way {
        UBoot::Extlinux => uboot::menu(REMOVABLE, BESIDE).into_bytes(),
        UBoot::Script => uboot::script(&uboot::commands(REMOVABLE, BESIDE)),
        UBoot::Fit => uboot::script(&uboot::fit_commands()),
    };
    let name = if way == UBoot::Extlinux { uboot::MENU } else { uboot::SCRIPT };
    let mut files: Vec<(&str, &[u8])> = vec![(REMOVABLE, firmware), (BESIDE, bundle), (name, &text)];
    if way == UBoot::Fit {
        files.push((uboot::FIT, fit.context("the platform's board.toml has no [boot.fit]").map_err(unusable)?));
    }
    disk::write(path, Table::Gpt, &files)
}

/// Writes a card that firmware of the board's own starts from, once that is on it too, or U-Boot by its menu.
///
/// # Errors
/// It can't be written.
pub(crate) fn write_card(path: &Path, names: &Boot, firmware: &[u8], bundle: &[u8]) -> Result<()> {
    let menu = uboot::menu(&names.firmware, &names.bundle);
    let mut files: Vec<(&str, &[u8])> =
        vec![(&names.firmware, firmware), (&names.bundle, bundle), (uboot::MENU, menu.as_bytes())];
    files.extend(names.card.iter().flatten().map(|(name, text)| (name.as_str(), text.as_bytes())));
    disk::write(path, Table::Mbr, &files)
}
