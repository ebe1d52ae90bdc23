//! The guests' files: Debian's arm64 kernels and a ramdisk around its static busybox.
//!
//! Kernels and busybox are unchanged; only the ramdisk's archive and its few scripts are ours.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use assay_harness::cache::Cache;
use cpio::newc::Reader;

use super::apt::{self, Apt, Suites};
use super::initramfs::With;
use super::{initramfs, modules};

/// The release whose kernels are the tested guests, whatever the host runs.
const RELEASE: Suites<'_> = Suites {
    architecture: "arm64",
    archive: &["bookworm", "bookworm-backports"],
    security: &["bookworm-security"],
    prefer: None,
};

/// A kernel's name here, the package that names the image of the day, and the version that it must be.
struct Kernel {
    name: &'static str,
    package: &'static str,
    version: &'static str,
}

const KERNELS: &[Kernel] = &[
    Kernel { name: "debian", package: "linux-image-arm64", version: "6.1." },
    Kernel { name: "debian-6.12", package: "linux-image-arm64/bookworm-backports", version: "6.12." },
];

/// The kernel whose modules are in ramdisks.
const MODULES_KERNEL: &str = "debian-6.12";

/// The ramdisks with modules.
const WITH_MODULES: &[(&str, With, &modules::Set)] =
    &[("busybox-dax", With::Dax, &modules::DAX), ("busybox-disk", With::Disk, &modules::DEVICES)];

/// What has to be there for these guests: a ramdisk with modules is made of two others.
pub(super) fn with_parts<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let mut all = wanted.to_vec();
    if WITH_MODULES.iter().any(|(name, ..)| wanted.contains(name)) {
        all.extend([MODULES_KERNEL, "busybox"]);
    }
    all
}

/// Fetches and builds what is missing of `wanted`. Gives the names of what it made.
///
/// # Errors
/// A package can't be fetched or isn't what it should be.
pub(crate) fn install(cache: &Cache, wanted: &[&str]) -> Result<Vec<String>> {
    let wanted = with_parts(wanted);
    let work = cache.root().join("guests/apt");
    let mut made = Vec::new();
    let is_missing = |kernel: &&Kernel| wanted.contains(&kernel.name) && !cache.kernel(kernel.name).is_file();
    let kernels: Vec<&Kernel> = KERNELS.iter().filter(is_missing).collect();
    let wants_busybox = wanted.contains(&"busybox") && !cache.ramdisk("busybox").is_file();
    if wants_busybox || !kernels.is_empty() {
        let private = Apt::open(&work, &RELEASE)?;
        for kernel in kernels {
            fetch_kernel(&private, kernel, &cache.kernel(kernel.name))?;
            made.push(kernel.name.to_owned());
        }
        if wants_busybox {
            fetch_busybox(&private, &work, &cache.ramdisk("busybox"))?;
            made.push("busybox".to_owned());
        }
        private.discard()?;
    }
    for (name, with, set) in WITH_MODULES {
        let path = cache.ramdisk(name);
        if made.iter().any(|name| name == MODULES_KERNEL) && path.is_file() {
            // Its modules are another kernel's.
            fs::remove_file(&path)?;
        }
        if wanted.contains(name) && !path.is_file() {
            let folder = fresh(&path.with_file_name("modules"))?;
            let modules = modules::unpack(cache, MODULES_KERNEL, &folder, set)?.into_iter();
            let modules = modules.map(|(name, path)| Ok((name, fs::read(path)?))).collect::<Result<Vec<_>>>()?;
            store(&path, &initramfs::build(&busybox_of(&cache.ramdisk("busybox"))?, *with, &modules)?)?;
            fs::remove_dir_all(&folder)?;
            made.push((*name).to_owned());
        }
    }
    Ok(made)
}

fn fetch_busybox(private: &Apt, work: &Path, to: &Path) -> Result<()> {
    let archive = private.download("busybox-static")?;
    let tree = fresh(&work.join("tree"))?;
    apt::unpack(&archive, &tree)?;
    let busybox = [tree.join("bin/busybox"), tree.join("usr/bin/busybox")];
    let busybox = busybox.iter().find(|path| path.is_file()).context("busybox-static has no busybox")?;
    store(to, &initramfs::build(&fs::read(busybox)?, With::Nothing, &[])?)
}

/// The program in a ramdisk that was made here.
pub(crate) fn busybox_of(ramdisk: &Path) -> Result<Vec<u8>> {
    let archive = fs::read(ramdisk)?;
    let mut rest = archive.as_slice();
    loop {
        let mut entry = Reader::new(rest)?;
        if entry.entry().is_trailer() {
            bail!("{} has no busybox", ramdisk.display());
        }
        if entry.entry().name() == "bin/busybox" {
            let mut program = Vec::new();
            entry.read_to_end(&mut program)?;
            return Ok(program);
        }
        rest = entry.finish()?;
    }
}

fn fetch_kernel(private: &Apt, kernel: &Kernel, to: &Path) -> Result<()> {
    let names = private.depends(kernel.package)?;
    let start = format!("linux-image-{}", kernel.version);
    let package = names.iter().find(|name| name.starts_with(&start));
    let package = package.with_context(|| format!("{} names {names:?}, none of them {start}…", kernel.package))?;
    let archive = private.download(package)?;
    let tree = fresh(&to.with_file_name("tree"))?;
    apt::unpack(&archive, &tree)?;
    let boot = fs::read_dir(tree.join("boot"))?.flatten().map(|entry| entry.path());
    let image = boot
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    let image = fs::read(image.with_context(|| format!("{package} has no vmlinuz"))?)?;
    if image.get(56..60) != Some(b"ARM\x64") {
        bail!("{package}'s vmlinuz is not an arm64 Image");
    }
    fs::write(to.with_file_name("version"), format!("{package}\n"))?;
    // Later tests load modules of exactly this kernel: the archive stays, its unpacked tree doesn't.
    fs::rename(&archive, to.with_file_name("modules.deb"))?;
    fs::remove_dir_all(&tree)?;
    store(to, &image)
}

/// An empty directory.
fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_path_buf())
}

/// Written beside and renamed, so that an interrupted set-up leaves no half file of this name.
fn store(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)?;
    Ok(fs::rename(partial, path)?)
}
