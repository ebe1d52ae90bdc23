//! Debian's Xen, which `bench --peer xen` measures beside Assay.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use assay_harness::cache::Cache;

use super::apt::{self, Apt, Suites};
use super::fill;

/// The release whose Xen it is, whatever the host runs.
const RELEASE: Suites<'_> = Suites { architecture: "arm64", archive: &["trixie"], security: &[], prefer: None };
const PACKAGE: &str = "xen-hypervisor-4.20-arm64";
const FILE: &str = "boot/xen-4.20-arm64";

/// Fetches it; gives its file.
///
/// # Errors
/// The package can't be fetched, or has no such file.
pub(crate) fn install(cache: &Cache) -> Result<PathBuf> {
    let path = cache.xen();
    let folder = path.parent().context("the cache has no folder")?;
    fill(folder, |work| {
        let kept = work.join("kept");
        fs::create_dir_all(&kept)?;
        let private = Apt::open(&work.join("apt"), &RELEASE)?;
        let tree = work.join("tree");
        apt::unpack(&private.download(PACKAGE)?, &tree)?;
        let _ = fs::copy(tree.join(FILE), kept.join("Image")).with_context(|| format!("{PACKAGE} has no {FILE}"))?;
        private.discard()?;
        Ok(kept)
    })?;
    Ok(path)
}
