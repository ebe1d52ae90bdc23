//! The kernel's modules that make memory of a `pmem-region`, out of the package that the kernel came in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;

/// In the order of loading; 6.1 has no `dax_pmem`, and 6.12 has `dax` built in.
const MODULES: &[&str] = &["libnvdimm", "dax", "nd_btt", "nd_pmem", "of_pmem", "dax_pmem", "device_dax", "kmem"];

/// Unpacks the modules of `kernel` below `folder`, and gives them with names that sort in the order of loading. They are kept
/// as long as it is that kernel.
///
/// # Errors
/// The kernel was not fetched, or its package has other modules.
pub(crate) fn unpack(cache: &Cache, kernel: &str, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let image = cache.kernel(kernel);
    let package = image.with_file_name("modules.deb");
    let version = fs::read_to_string(image.with_file_name("version"))
        .with_context(|| format!("{} has no version beside it", image.display()))?;
    let tree = folder.join(format!("modules-{kernel}-{}", version.trim()));
    if !tree.is_dir() {
        let partial = tree.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial)?;
        extract(&package, &partial, &["*/drivers/nvdimm/*", "*/drivers/dax/*"])?;
        fs::rename(&partial, &tree)?;
    }
    let mut files = Vec::new();
    collect(&tree, &mut files)?;
    let mut found = Vec::new();
    for (number, module) in MODULES.iter().enumerate() {
        let ours = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.split('.').next() == Some(module)
        };
        if let Some(path) = files.iter().find(ours) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.push((format!("{number}-{name}"), path.clone()));
        }
    }
    ensure!(found.len() + 1 >= MODULES.len(), "{} has only the modules {found:?}", package.display());
    Ok(found)
}

/// Unpacks what one of `patterns` means by `dpkg-deb` and `tar`, which are wherever the set-up's `dpkg` is: the whole
/// package is large.
pub(super) fn extract(package: &Path, to: &Path, patterns: &[&str]) -> Result<()> {
    let mut unpacked = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("can't run dpkg-deb")?;
    let pipe = unpacked.stdout.take().context("no pipe")?;
    let status = Command::new("tar")
        .arg("-x")
        .arg("-C")
        .arg(to)
        .arg("--wildcards")
        .args(patterns)
        .stdin(pipe)
        .status()
        .context("can't run tar")?;
    let whole = unpacked.wait()?.success();
    ensure!(status.success() && whole, "{} can't be unpacked", package.display());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
