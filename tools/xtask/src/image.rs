//! `image`: the files that a board boots: firmware and bundle, apart and as one file, and on a disk.

pub(crate) mod disk;
pub(crate) mod fip;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use assay_harness::image;
use assay_harness::manifest::Manifest;
use clap::Args;

use crate::board::Board;
use crate::failure::unusable;
use crate::{build, setup};

/// What UEFI starts from a disk that it knows nothing of.
pub(crate) const REMOVABLE: &str = "EFI/BOOT/BOOTAA64.EFI";
/// Where the image looks for the bundle then.
pub(crate) const BESIDE: &str = "EFI/BOOT/bundle.cpio";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The board: qemu-virt
    #[arg(long, value_name = "NAME", default_value = "qemu-virt")]
    platform: String,
    /// The VMs
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
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
    let manifest = Manifest::read(&options.manifest).map_err(unusable)?;
    build::warn(&manifest);
    let folder = options.manifest.parent().unwrap_or(Path::new(""));
    setup::ensure(setup::Needs { qemu: false, guests: &setup::guests_of(&manifest) })?;
    build::guests_of(&manifest, folder)?;
    let firmware = fs::read(build::firmware(build::Profile::Release)?.image)?;
    let archive = build::bundle(&manifest, folder).map_err(unusable)?;
    fs::create_dir_all(&options.output).with_context(|| format!("can't make {}", options.output.display()))?;
    let whole = image::append_bundle(&firmware, &archive)?;
    for (name, bytes) in [(names.firmware, &firmware), (names.bundle, &archive), (names.whole, &whole)] {
        let path = options.output.join(name);
        fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))?;
        println!("{}", path.display());
    }
    let path = options.output.join(names.disk);
    disk::write(&path, &[(REMOVABLE, &firmware), (BESIDE, &archive)])?;
    println!("{}", path.display());
    Ok(())
}
