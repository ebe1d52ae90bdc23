//! A ramdisk for Debian with the kernel's modules for disks and networks, behind the shell's.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use assay_harness::cache::Cache;

use crate::build;
use crate::cases::coherent::ramdisk::{DIRECTORY, FILE, PROGRAM, pack, store};
use crate::setup::modules;

/// A script, so that a terminal's echo of a long line is not taken for what it printed.
const LOAD: &str = "#!/bin/sh\ncd /assay/modules\nunxz *.xz 2>/dev/null\n\
     for module in *.ko; do insmod $module || echo bad $module; done\necho loaded\n";

/// Gives the archive's path, made for `kernel`.
pub(super) fn make(kernel: &str) -> Result<PathBuf> {
    // Two cases at once would write one file.
    static BUSY: Mutex<()> = Mutex::new(());
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = build::target()?.join("assay/ramdisks");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("devices-{kernel}.cpio"));
    let cache = Cache::locate()?;
    let shell = cache.ramdisk("busybox");
    let mut archive = fs::read(&shell).with_context(|| format!("can't read {}", shell.display()))?;
    archive.resize(archive.len().next_multiple_of(4), 0);
    let mut entries = vec![
        ("assay".to_owned(), DIRECTORY, Vec::new()),
        ("assay/modules".to_owned(), DIRECTORY, Vec::new()),
        ("assay/load".to_owned(), PROGRAM, LOAD.as_bytes().to_vec()),
    ];
    for (name, path) in modules::unpack(&cache, kernel, &folder, &modules::DEVICES)? {
        entries.push((format!("assay/modules/{name}"), FILE, fs::read(path)?));
    }
    archive.extend(pack(&entries)?);
    store(&path, &archive)?;
    Ok(path)
}
