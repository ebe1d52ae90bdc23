//! The device trees of all arm64 boards that Debian's kernel knows, out of the package that the kernel came in.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;

use super::{fill, guests, modules};

/// The newer kernel's.
const KERNEL: &str = "debian-6.12";

/// Unpacks them; gives their folder.
///
/// # Errors
/// The kernel can't be fetched, or its package has no trees.
pub(crate) fn install(cache: &Cache) -> Result<PathBuf> {
    if !cache.kernel(KERNEL).is_file() {
        let _ = guests::install(cache, &[KERNEL])?;
    }
    let folder = cache.trees();
    fill(&folder, |work| {
        modules::extract(&cache.kernel(KERNEL).with_file_name("modules.deb"), work, &["*.dtb"])?;
        let made = fs::read_dir(work.join("usr/lib")).context("the kernel's package has no device trees")?;
        let mut made: Vec<PathBuf> = made.flatten().map(|entry| entry.path()).collect();
        ensure!(made.len() == 1, "the kernel's package has device trees in {made:?}");
        Ok(made.remove(0))
    })?;
    Ok(folder)
}
