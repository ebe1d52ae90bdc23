//! The guests' files: Debian's arm64 kernels and a ramdisk around its static busybox.
//!
//! Kernels and busybox are unchanged; only the ramdisk's archive and its few scripts are ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use assay_harness::cache::Cache;

use super::apt::{self, Apt, Suites};
use super::initramfs;

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

/// Fetches and builds what is missing. Gives the names of what it made.
///
/// # Errors
/// A package can't be fetched or isn't what it should be.
pub(crate) fn install(cache: &Cache) -> Result<Vec<String>> {
    let guests = cache.root().join("guests");
    let work = guests.join("apt");
    let private = Apt::open(&work, &RELEASE)?;
    let mut made = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| !cache.kernel(kernel.name).is_file()) {
        fetch_kernel(&private, kernel, &cache.kernel(kernel.name))?;
        made.push(kernel.name.to_owned());
    }
    let ramdisk = cache.ramdisk("busybox");
    if !ramdisk.is_file() {
        let archive = private.download("busybox-static")?;
        let tree = fresh(&work.join("tree"))?;
        apt::unpack(&archive, &tree)?;
        let busybox = [tree.join("bin/busybox"), tree.join("usr/bin/busybox")];
        let busybox = busybox.iter().find(|path| path.is_file()).context("busybox-static has no busybox")?;
        store(&ramdisk, &initramfs::build(&fs::read(busybox)?)?)?;
        made.push("busybox".to_owned());
    }
    private.discard()?;
    Ok(made)
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
