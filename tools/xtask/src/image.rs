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

use crate::board::Board;
use crate::failure::unusable;
use crate::setup::Extra;
use crate::{build, setup};
use disk::Table;
use uboot::Start;

/// What UEFI starts from a disk that it knows nothing of.
pub(crate) const REMOVABLE: &str = "EFI/BOOT/BOOTAA64.EFI";
/// Where the image looks for the bundle then, and for a tree if firmware has none.
pub(crate) const BESIDE: &str = "EFI/BOOT/bundle.cpio";
pub(crate) const TREE: &str = "EFI/BOOT/platform.dtb";

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
    let board = Board::read(&options.platform).map_err(unusable)?;
    let names = &board.boot;
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
    if board.tree_name().is_some() {
        setup::fetch(Extra::Trees)?;
    }
    build::guests_of(&manifest, folder)?;
    let firmware = fs::read(build::firmware(build::Profile::Release)?.image)?;
    let archive = build::bundle(&manifest, folder).map_err(unusable)?;
    fs::create_dir_all(&options.output).with_context(|| format!("can't make {}", options.output.display()))?;
    let whole = image::append_bundle(&firmware, &archive)?;
    let fit = names.fit.as_ref().map(|fit| (fit.file.clone(), uboot::fit(&firmware, &archive, fit.load)));
    let tree = board.tree()?;
    let start = start(&board);
    let files = [
        (names.firmware.clone(), firmware.clone()),
        (names.bundle.clone(), archive.clone()),
        (names.whole.clone(), whole),
        (uboot::SCRIPT.to_owned(), uboot::script(&start.commands())),
        ("extlinux.conf".to_owned(), start.menu().into_bytes()),
    ];
    for (name, bytes) in files.into_iter().chain(fit).chain(tree) {
        let path = options.output.join(name);
        fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))?;
        println!("{}", path.display());
    }
    let path = options.output.join(&names.disk);
    write_disk(&path, &board, options.u_boot, &firmware, &archive, &[])?;
    println!("{}", path.display());
    Ok(())
}

/// What U-Boot starts from the board's disk. Firmware of the board's own has completed a tree, and gives it to U-Boot.
fn start(board: &Board) -> Start<'_> {
    let names = &board.boot;
    match names.card {
        Some(_) => Start { image: &names.firmware, bundle: &names.bundle, tree: None },
        None => Start { image: REMOVABLE, bundle: BESIDE, tree: board.tree_name().map(|_| TREE) },
    }
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

/// Writes the disk that a user flashes, with further files: one that both UEFI firmware and U-Boot start from, or, where the
/// board has firmware of its own, a card for that and for U-Boot.
///
/// # Errors
/// It can't be written, or there is no FIT or tree.
pub(crate) fn write_disk(
    path: &Path,
    board: &Board,
    way: UBoot,
    image: &[u8],
    bundle: &[u8],
    further: &[(&str, &[u8])],
) -> Result<()> {
    let tree = board.tree()?;
    let start = start(board);
    let (name, text) = match way {
        UBoot::Extlinux => (uboot::MENU, start.menu().into_bytes()),
        UBoot::Script => (uboot::SCRIPT, uboot::script(&start.commands())),
        UBoot::Fit => (uboot::SCRIPT, uboot::script(&uboot::fit_commands())),
    };
    let mut files: Vec<(&str, &[u8])> = vec![(start.image, image), (start.bundle, bundle), (name, &text)];
    files
        .extend(tree.as_ref().map(|(own, tree)| (if board.boot.card.is_some() { own } else { TREE }, tree.as_slice())));
    let fit;
    if way == UBoot::Fit {
        let wanted =
            board.boot.fit.as_ref().context("the platform's board.toml has no [boot.fit]").map_err(unusable)?;
        fit = uboot::fit(image, bundle, wanted.load);
        files.push((uboot::FIT, &fit));
    }
    files.extend(board.boot.card.iter().flatten().map(|(name, text)| (name.as_str(), text.as_bytes())));
    files.extend(further);
    disk::write(path, if board.boot.card.is_some() { Table::Mbr } else { Table::Gpt }, &files)
}
