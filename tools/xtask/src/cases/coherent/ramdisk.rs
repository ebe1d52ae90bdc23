//! A ramdisk for Debian with the programs of `guests/linux` and the kernel's modules that they need.
//!
//! A second archive behind the shell's: Linux unpacks all that follow each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::{self, Cache};
use cpio::newc::{Builder, trailer};

use crate::build;
use crate::setup::modules;

const TARGET: &str = "aarch64-unknown-linux-musl";
const PROGRAMS: &[&str] = &["aperture", "bind", "dax", "node"];
pub(in crate::cases) const DIRECTORY: u32 = 0o040755;
pub(in crate::cases) const PROGRAM: u32 = 0o100755;
pub(in crate::cases) const FILE: u32 = 0o100644;

/// Scripts, so that a terminal's echo of a long line is not taken for what it printed.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "load",
        "cd /assay/modules\nunxz *.xz 2>/dev/null\n\
         for module in *.ko; do insmod $module || echo bad $module; done\necho loaded\n",
    ),
    ("movable", "awk '/^Node 1, zone +Movable/ { here = 1 } here && /managed/ { print $2; exit }' /proc/zoneinfo\n"),
    ("soiled", "dd if=/dev/pmem0 bs=1M count=16 2>/dev/null | tr -d '\\0' | wc -c\n"),
];

/// Builds programs and archive for `kernel`, and gives the archive's path.
pub(in crate::cases) fn make(kernel: &str) -> Result<PathBuf> {
    // Two cases at once would write one file.
    static BUSY: Mutex<()> = Mutex::new(());
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = build::target()?.join("assay/ramdisks");
    fs::create_dir_all(&folder)?;
    let path = folder.join(kernel).with_extension("cpio");
    let cache = Cache::locate()?;
    let shell = cache.ramdisk("busybox");
    let mut archive = fs::read(&shell).with_context(|| format!("can't read {}", shell.display()))?;
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(ours(&programs()?, &modules::unpack(&cache, kernel, &folder, &modules::DAX)?)?);
    store(&path, &archive)?;
    Ok(path)
}

/// Renamed in place: another case may be reading the one that was there.
pub(in crate::cases) fn store(path: &Path, archive: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, archive).with_context(|| format!("can't write {}", partial.display()))?;
    Ok(fs::rename(partial, path)?)
}

fn programs() -> Result<PathBuf> {
    let source = cache::repository()?.join("guests/linux");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(PathBuf::from(folder))?.join("linux"),
        None => cache::repository()?.join("guests/target/linux"),
    };
    let mut command = build::cargo();
    command.args(["build", "--quiet", "--release", "--target-dir"]);
    let status = command.arg(&target).current_dir(&source).status();
    let status = status.context("can't run cargo")?;
    ensure!(status.success(), "guests/linux doesn't build");
    Ok(target.join(TARGET).join("release"))
}

fn ours(programs: &Path, modules: &[(String, PathBuf)]) -> Result<Vec<u8>> {
    let mut entries =
        vec![("assay".to_owned(), DIRECTORY, Vec::new()), ("assay/modules".to_owned(), DIRECTORY, Vec::new())];
    for name in PROGRAMS {
        entries.push((format!("assay/{name}"), PROGRAM, fs::read(programs.join(name))?));
    }
    for (name, text) in SCRIPTS {
        let text = format!("#!/bin/sh\n{text}").into_bytes();
        entries.push((format!("assay/{name}"), PROGRAM, text));
    }
    for (name, path) in modules {
        entries.push((format!("assay/modules/{name}"), FILE, fs::read(path)?));
    }
    pack(&entries)
}

/// An archive of these files: name, mode and content.
pub(in crate::cases) fn pack(entries: &[(String, u32, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (inode, (name, mode, data)) in (1u32..).zip(entries) {
        let builder = Builder::new(name).ino(inode).mode(*mode);
        let mut writer = builder.write(archive, u32::try_from(data.len())?);
        std::io::Write::write_all(&mut writer, data)?;
        archive = writer.finish()?;
    }
    Ok(trailer(archive)?)
}
