//! The kernel's modules that make memory of a `pmem-region`, or drive disks and networks, out of the package that the kernel
//! came in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;

/// Modules that belong together.
pub(crate) struct Set {
    name: &'static str,
    /// Where they are in the package.
    patterns: &'static [&'static str],
    /// In the order of loading. Some kernels have some of them built in, or not at all.
    modules: &'static [&'static [&'static str]],
    /// How many there are at least.
    least: usize,
}

/// What memory of a `pmem-region` takes. 6.1 has no `dax_pmem`, and 6.12 has `dax` built in.
const PMEM: &[&str] = &["libnvdimm", "dax", "nd_btt", "nd_pmem", "of_pmem", "dax_pmem", "device_dax"];
/// What lets a program drive a PCI function.
const UIO: &[&str] = &["uio", "uio_pci_generic"];

/// Memory as a device or as more RAM.
pub(crate) const DAX: Set = Set {
    name: "modules",
    patterns: &["*/drivers/nvdimm/*", "*/drivers/dax/*"],
    modules: &[PMEM, &["kmem"]],
    least: 7,
};

/// The same, and a PCI function for a program.
pub(crate) const ACCELERATOR: Set = Set {
    name: "accelerator-modules",
    patterns: &["*/drivers/nvdimm/*", "*/drivers/dax/*", "*/kernel/drivers/uio/*"],
    modules: &[PMEM, &["kmem"], UIO],
    least: 9,
};

/// What the backend of another VM's virtio devices works with.
pub(crate) const BACKEND: Set = Set {
    name: "backend-modules",
    patterns: &[
        "*/drivers/nvdimm/*",
        "*/drivers/dax/*",
        "*/drivers/uio/*",
        "*/drivers/net/tap.*",
        "*/drivers/net/macv*",
        "*/drivers/net/veth.*",
    ],
    modules: &[PMEM, UIO, &["tap", "macvlan", "macvtap", "veth"]],
    least: 11,
};

/// The drivers of virtio devices over MMIO. 6.12 has the core and the console built in.
pub(crate) const FRONT: Set = Set {
    name: "front-modules",
    patterns: &[
        "*/drivers/virtio/*",
        "*/drivers/block/virtio_blk*",
        "*/drivers/net/virtio_net*",
        "*/drivers/net/net_failover*",
        "*/kernel/net/core/*",
    ],
    modules: &[&["virtio_blk", "failover", "net_failover", "virtio_net", "virtio_mmio"]],
    least: 5,
};

/// Disks, networks, and a file system. 6.12 has the checksums and `virtio_pci` built in, and 6.1 has no `nvme_auth`.
pub(crate) const DEVICES: Set = Set {
    name: "device-modules",
    patterns: &[
        "*/kernel/drivers/nvme/*",
        "*/kernel/drivers/virtio/*",
        "*/kernel/drivers/block/virtio_blk*",
        "*/kernel/drivers/net/virtio_net*",
        "*/kernel/drivers/net/net_failover*",
        "*/kernel/drivers/net/ethernet/intel/*",
        "*/kernel/drivers/i2c/algos/*",
        "*/kernel/net/core/*",
        "*/kernel/fs/ext4/*",
        "*/kernel/fs/jbd2/*",
        "*/kernel/fs/mbcache*",
        "*/kernel/lib/*",
        "*/kernel/crypto/*",
        "*/kernel/block/*",
    ],
    modules: &[&[
        "crct10dif_common",
        "crc_t10dif",
        "crc64",
        "crc64_rocksoft",
        "t10_pi",
        "nvme_auth",
        "nvme_core",
        "nvme",
        "virtio_pci_modern_dev",
        "virtio_pci_legacy_dev",
        "virtio_pci",
        "virtio_blk",
        "failover",
        "net_failover",
        "virtio_net",
        "e1000e",
        "i2c_algo_bit",
        "igb",
        "crc16",
        "crc32c_generic",
        "mbcache",
        "jbd2",
        "ext4",
    ]],
    least: 15,
};

/// Unpacks the modules of `kernel` below `folder`, and gives them with names that sort in the order of loading. They are kept
/// as long as it is that kernel.
///
/// # Errors
/// The kernel was not fetched, or its package has other modules.
pub(crate) fn unpack(cache: &Cache, kernel: &str, folder: &Path, set: &Set) -> Result<Vec<(String, PathBuf)>> {
    let image = cache.kernel(kernel);
    let package = image.with_file_name("modules.deb");
    let version = fs::read_to_string(image.with_file_name("version"))
        .with_context(|| format!("{} has no version beside it", image.display()))?;
    let tree = folder.join(format!("{}-{kernel}-{}", set.name, version.trim()));
    if !tree.is_dir() {
        let partial = tree.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial)?;
        extract(&package, &partial, set.patterns)?;
        fs::rename(&partial, &tree)?;
    }
    let mut files = Vec::new();
    collect(&tree, &mut files)?;
    let mut found = Vec::new();
    for (number, module) in set.modules.iter().copied().flatten().enumerate() {
        let ours = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.split('.').next().is_some_and(|name| name.replace('-', "_") == *module)
        };
        if let Some(path) = files.iter().find(ours) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.push((format!("{number:02}-{name}"), path.clone()));
        }
    }
    ensure!(found.len() >= set.least, "{} has only the modules {found:?}", package.display());
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
