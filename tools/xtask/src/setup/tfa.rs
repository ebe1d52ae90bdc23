//! Trusted Firmware-A for QEMU's `virt` with EL3, built from Debian's source: Debian has no binary of it for this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use assay_harness::cache::Cache;

use super::apt::{Apt, Suites};
use super::fill;
use super::tools::{Tools, run};
use crate::progress::Progress;

/// The release whose compiler is used: its programs run on an older host too.
const TOOLS_OF: Suites<'_> =
    Suites { architecture: "", archive: &["bookworm"], security: &["bookworm-security"], prefer: None };
const TOOLS: &[&str] = &["gcc-aarch64-linux-gnu", "make", "xz-utils"];
/// The release whose source is built.
const SOURCE_OF: Suites<'_> = Suites { architecture: "", archive: &["trixie"], security: &[], prefer: None };
const SOURCE: &str = "arm-trusted-firmware";
/// What is kept.
pub(crate) const STAGES: [&str; 3] = ["bl1.bin", "bl2.bin", "bl31.bin"];

/// Fetches and builds it; gives the folder of its stages.
///
/// # Errors
/// A package can't be fetched, or it doesn't build.
pub(crate) fn install(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.tfa();
    fill(&folder, |work| {
        fs::create_dir_all(work.join("source"))?;
        let private = Apt::open(&work.join("apt"), &TOOLS_OF)?;
        let tools = Tools::fetch(&private, "compiler for arm64", TOOLS, &work.join("tools"))?;
        private.discard()?;
        let sources = Apt::open_sources(&work.join("sources"), &SOURCE_OF)?;
        let archive = sources.source(SOURCE)?;
        let built = build(&tools, &archive, work)?;
        sources.discard()?;
        let kept = work.join("kept");
        fs::create_dir_all(&kept)?;
        for stage in STAGES {
            let from = built.join(stage);
            let _ = fs::copy(from, kept.join(stage)).with_context(|| format!("the build left no {stage}"))?;
        }
        Ok(kept)
    })?;
    Ok(folder)
}

fn build(tools: &Tools, archive: &Path, work: &Path) -> Result<PathBuf> {
    let progress = Progress::start("building Trusted Firmware-A");
    let source = work.join("source");
    let mut tar = tools.command(Path::new("tar"));
    tar.arg("-x").arg("-C").arg(&source).arg("--strip-components=1").arg("--use-compress-program");
    run(tar.arg(tools.program("xz")).arg("-f").arg(archive))?;
    let mut make = tools.command(&tools.program("make"));
    make.arg("-C").arg(&source).args(["-s", "-j2", "CROSS_COMPILE=aarch64-linux-gnu-", "PLAT=qemu"]);
    // BL33 gets the device tree in x0, as a kernel does; it is put into the flash later.
    make.args(["QEMU_USE_GIC_DRIVER=QEMU_GICV3", "ARM_LINUX_KERNEL_AS_BL33=1", "BL33=/dev/null"]);
    run(make.args(["bl1", "bl2", "bl31"]))?;
    progress.done("done");
    Ok(source.join("build/qemu/release"))
}
