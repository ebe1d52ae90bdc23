//! `build`: the firmware, the bare guests and the bundle.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use assay_harness::home::Home;
use assay_harness::manifest::Manifest;
use assay_harness::{bundle, cache, image, programs};

use crate::{compile, preflight};

/// What a build leaves.
pub(crate) struct Artifacts {
    /// What QEMU and boards load.
    pub(crate) image: PathBuf,
    /// The same with symbols.
    pub(crate) elf: PathBuf,
    /// The VMs.
    pub(crate) bundle: PathBuf,
    /// The platform tree with VMs in it, where there is no bundle.
    pub(crate) tree: PathBuf,
}

impl Artifacts {
    /// Where they are, built or not: `target/assay/`.
    pub(crate) fn locate() -> Result<Self> {
        let folder = target()?.join("assay");
        Ok(Self {
            image: folder.join("assay.img"),
            elf: folder.join("assay.elf"),
            bundle: folder.join("bundle.cpio"),
            tree: folder.join("vm-tree.dtb"),
        })
    }
}

/// How the firmware is compiled: a profile of the root `Cargo.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What boards boot and figures are measured with.
    #[default]
    Release,
    /// Built in seconds after a change, larger and slower: for tries in QEMU.
    Fast,
}

impl Profile {
    /// What `--fast` asks for.
    pub(crate) const fn fast(asked: bool) -> Self {
        if asked { Self::Fast } else { Self::Release }
    }

    /// Its name, as cargo and its folder have it.
    const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Fast => "fast",
        }
    }
}

/// This program's file. Where it was compiled anew while it ran, the kernel says that its file is deleted: the new one is
/// at the same place.
///
/// # Errors
/// The system does not tell.
pub(crate) fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe()?;
    let name = path.to_string_lossy().into_owned();
    Ok(name.strip_suffix(" (deleted)").map_or(path, PathBuf::from))
}

/// cargo's target folder.
pub(crate) fn target() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Ok(std::path::absolute(PathBuf::from(folder))?),
        None => Ok(cache::repository()?.join("target")),
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Builds the firmware into `target/assay/assay.elf` and `assay.img`.
///
/// # Errors
/// The compiler's, or an ELF that is no firmware.
pub(crate) fn firmware(profile: Profile) -> Result<Artifacts> {
    let mut command = cargo();
    command
        .args(["build", "--profile", profile.name(), "--package", "assay", "--target", programs::TARGET])
        .current_dir(cache::repository()?);
    let artifacts = Artifacts::locate()?;
    let built = target()?.join(programs::TARGET).join(profile.name()).join("assay");
    let status = compile::run(command, "the firmware", !built.is_file())?;
    ensure!(status.success(), "the firmware doesn't build");
    let bytes = fs::read(&built).with_context(|| format!("can't read {}", built.display()))?;
    let image = image::flatten(&bytes).with_context(|| built.display().to_string())?;
    if let Some(folder) = artifacts.image.parent() {
        fs::create_dir_all(folder)?;
    }
    replace(&artifacts.elf, &bytes)?;
    replace(&artifacts.image, &image)?;
    Home::remember(&cache::repository()?);
    Ok(artifacts)
}

/// Builds the programs of `guests/`, all or the named ones.
///
/// # Errors
/// The compiler's.
pub(crate) fn guests(names: &[&str]) -> Result<()> {
    let folder = cache::repository()?.join("guests");
    if !folder.join("Cargo.toml").is_file() {
        bail!("{} has no Cargo.toml: there are no guests to build", folder.display());
    }
    let mut command = cargo();
    command.args(["build", "--release", "--target", programs::TARGET]).current_dir(&folder);
    let is_shared = std::env::var_os("CARGO_TARGET_DIR").is_some();
    let target = if is_shared { target()?.join("guests") } else { folder.join("target") };
    command.env("CARGO_TARGET_DIR", &target);
    for name in names {
        command.args(["--bin", name]);
    }
    let is_first = !target.join(programs::TARGET).is_dir();
    let status = compile::run(command, "the programs of guests/", is_first)?;
    ensure!(status.success(), "the guests don't build");
    Ok(())
}

/// Builds those of the manifest's kernels that are programs of `guests/`.
///
/// # Errors
/// As [`guests`].
pub(crate) fn guests_of(manifest: &Manifest, folder: &Path) -> Result<()> {
    let bare = |name: &&str| !folder.join(name).is_file() && programs::is_one(name);
    let mut names: Vec<&str> = manifest.vm.iter().map(|vm| vm.kernel.as_str()).filter(bare).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { Ok(()) } else { guests(&names) }
}

/// Says on stderr what is odd in the manifest.
pub(crate) fn warn(manifest: &Manifest) {
    for warning in manifest.warnings() {
        eprintln!("warning: {warning}");
    }
}

/// Makes the manifest's bundle and checks it.
///
/// # Errors
/// As [`bundle::build`], or a VM that no machine starts.
pub(crate) fn bundle(manifest: &Manifest, folder: &Path) -> Result<Vec<u8>> {
    let bytes = bundle::build(manifest, folder)?;
    preflight::check(&bytes)?;
    Ok(bytes)
}

/// Writes the manifest's bundle to `to` and gives its length.
///
/// # Errors
/// As [`bundle()`].
pub(crate) fn write_bundle(manifest: &Manifest, folder: &Path, to: &Path) -> Result<u64> {
    let bytes = bundle(manifest, folder)?;
    replace(to, &bytes)?;
    Ok(bytes.len() as u64)
}

/// Through a file beside it, so that a QEMU that still reads the old one keeps it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("can't write {}", partial.display()))?;
    Ok(fs::rename(partial, path)?)
}
