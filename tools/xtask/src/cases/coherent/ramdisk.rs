//! A ramdisk for Debian with the programs of `guests/linux` and the kernel's modules that they need.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache;

use crate::build;
use crate::cases::ramdisk::{Entry, PROGRAM, with_modules};
use crate::setup::modules;

const TARGET: &str = "aarch64-unknown-linux-musl";
const PROGRAMS: &[&str] = &["aperture", "bind", "dax", "edu", "node"];

/// Scripts, so that a terminal's echo of a long line is not taken for what it printed.
const SCRIPTS: &[(&str, &str)] = &[
    ("movable", "awk '/^Node 1, zone +Movable/ { here = 1 } here && /managed/ { print $2; exit }' /proc/zoneinfo\n"),
    ("soiled", "dd if=/dev/pmem0 bs=1M count=16 2>/dev/null | tr -d '\\0' | wc -c\n"),
];

/// Builds programs and archive for `kernel`, and gives the archive's path.
pub(in crate::cases) fn make(kernel: &str) -> Result<PathBuf> {
    with_modules("coherent", kernel, &modules::DAX, ours)
}

/// The same with what lets a program drive a PCI function.
pub(in crate::cases) fn with_uio(kernel: &str) -> Result<PathBuf> {
    with_modules("accelerator", kernel, &modules::ACCELERATOR, ours)
}

fn ours() -> Result<Vec<Entry>> {
    let programs = programs()?;
    let mut entries = Vec::new();
    for name in PROGRAMS {
        entries.push((format!("assay/{name}"), PROGRAM, fs::read(programs.join(name))?));
    }
    for (name, text) in SCRIPTS {
        entries.push((format!("assay/{name}"), PROGRAM, format!("#!/bin/sh\n{text}").into_bytes()));
    }
    Ok(entries)
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
