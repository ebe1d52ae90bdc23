//! Ramdisks for Debian: the shell's archive, and more archives behind it. Linux unpacks all that follow each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use assay_harness::cache::Cache;
use cpio::newc::{Builder, trailer};

use crate::build;
use crate::setup::modules;

pub(super) const DIRECTORY: u32 = 0o040755;
pub(super) const PROGRAM: u32 = 0o100755;
const FILE: u32 = 0o100644;

/// A file of an archive: name, mode and content.
pub(super) type Entry = (String, u32, Vec<u8>);

/// A script, so that a terminal's echo of a long line is not taken for what it printed.
const LOAD: &str = "#!/bin/sh\ncd /assay/modules\nunxz *.xz 2>/dev/null\n\
     for module in *.ko; do insmod $module || echo bad $module; done\necho loaded\n";

/// Makes the ramdisk `name` for `kernel`, and gives its path: what `files` gives, `kernel`'s modules of `set`, and
/// `/assay/load`, which loads them.
pub(super) fn with_modules(
    name: &str,
    kernel: &str,
    set: &modules::Set,
    files: impl FnOnce() -> Result<Vec<Entry>>,
) -> Result<PathBuf> {
    // Two cases at once would write one file.
    static BUSY: Mutex<()> = Mutex::new(());
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = build::target()?.join("assay/ramdisks");
    fs::create_dir_all(&folder)?;
    let cache = Cache::locate()?;
    let mut entries = vec![
        ("assay".to_owned(), DIRECTORY, Vec::new()),
        ("assay/modules".to_owned(), DIRECTORY, Vec::new()),
        ("assay/load".to_owned(), PROGRAM, LOAD.into()),
    ];
    entries.extend(files()?);
    for (name, path) in modules::unpack(&cache, kernel, &folder, set)? {
        entries.push((format!("assay/modules/{name}"), FILE, fs::read(path)?));
    }
    let path = folder.join(format!("{name}-{kernel}.cpio"));
    append(&cache.ramdisk("busybox"), &entries, &path)?;
    Ok(path)
}

/// Writes at `path` the ramdisk `base`, and behind it an archive of these files.
pub(super) fn append(base: &Path, entries: &[Entry], path: &Path) -> Result<()> {
    let mut archive = fs::read(base).with_context(|| format!("can't read {}", base.display()))?;
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(pack(entries)?);
    // Renamed in place: another case may be reading the one that was there.
    let partial = path.with_extension("partial");
    fs::write(&partial, archive).with_context(|| format!("can't write {}", partial.display()))?;
    Ok(fs::rename(partial, path)?)
}

fn pack(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (inode, (name, mode, data)) in (1u32..).zip(entries) {
        let builder = Builder::new(name).ino(inode).mode(*mode);
        let mut writer = builder.write(archive, u32::try_from(data.len())?);
        std::io::Write::write_all(&mut writer, data)?;
        archive = writer.finish()?;
    }
    Ok(trailer(archive)?)
}
