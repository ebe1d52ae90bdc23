//! Where the set-up leaves what it fetched: QEMU, guests' kernels and ramdisks.
//!
//! Only names and places. What fills them is `cargo xtask setup`; what is missing is an error here
//! that says so. The cache is outside the work tree, so that clones share it and `git clean` keeps it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::home;

/// Raised when the layout below changes, so that an old cache is fetched anew and not misread.
const LAYOUT: &str = "v1";

/// The cache directory of this machine's user.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$ASSAY_CACHE`, or `$XDG_CACHE_HOME/assay`, or `~/.cache/assay`. Nothing is created.
    ///
    /// # Errors
    /// None of the three variables gives a place.
    pub fn locate() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = variable("ASSAY_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("assay")))
            .or_else(|| variable("HOME").map(|path| path.join(".cache/assay")))
            .context("no cache directory: set ASSAY_CACHE, XDG_CACHE_HOME or HOME")?;
        let base = std::path::absolute(base)?;
        Ok(Self { root: base.join(LAYOUT) })
    }

    /// The versioned root of the cache.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The wrapper that runs the QEMU unpacked here; `next` is the newer one.
    #[must_use]
    pub fn qemu(&self, next: bool) -> PathBuf {
        let folder = if next { "qemu-next" } else { "qemu" };
        self.root.join(folder).join("qemu-system-aarch64")
    }

    /// The kernel known by this name (`debian`, `debian-6.12`).
    #[must_use]
    pub fn kernel(&self, name: &str) -> PathBuf {
        self.root.join("guests").join(name).join("Image")
    }

    /// The ramdisk known by this name (`busybox`, `busybox-dax`, `busybox-disk`).
    #[must_use]
    pub fn ramdisk(&self, name: &str) -> PathBuf {
        self.root.join("guests").join(name).join("initrd.cpio")
    }

    /// The file of a firmware known by this name (`u-boot`, `aavmf`, `aavmf-vars`).
    #[must_use]
    pub fn firmware(&self, name: &str) -> PathBuf {
        self.root.join("guests/firmware").join(name)
    }

    /// The stages of Trusted Firmware-A for QEMU's `virt`.
    #[must_use]
    pub fn tfa(&self) -> PathBuf {
        self.root.join("guests/tf-a")
    }

    /// Debian's Xen, as an arm64 Image.
    #[must_use]
    pub fn xen(&self) -> PathBuf {
        self.root.join("guests/xen/Image")
    }

    /// The boards' device trees, a folder for each maker.
    #[must_use]
    pub fn trees(&self) -> PathBuf {
        self.root.join("guests/trees")
    }

    /// The kernel's self-tests of arm64: a folder for each suite (`mte`, `pauth`, `fp`), with its programs.
    #[must_use]
    pub fn selftests(&self) -> PathBuf {
        self.root.join("guests/selftests")
    }
}

/// Kernels that the set-up knows how to fetch.
pub const KERNELS: &[&str] = &["debian", "debian-6.12"];
/// Firmware that the set-up fetches where it is asked for.
pub const FIRMWARE: &[&str] = &["u-boot", "aavmf", "aavmf-vars"];
/// Ramdisks that the set-up builds.
pub const RAMDISKS: &[&str] = &["busybox", "busybox-dax", "busybox-disk"];

/// The top of the repository's work tree, found upwards from the current directory.
///
/// # Errors
/// The current directory is outside a checkout.
pub fn repository() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let top = home::above(&here);
    top.with_context(|| format!("{} is not inside a checkout of Assay: change into one", here.display()))
}
