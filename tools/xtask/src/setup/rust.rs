//! Rust's targets, by rustup.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// EL2 and the bare guests; programs in Linux guests' ramdisks.
pub(crate) const TARGETS: &[&str] = &["aarch64-unknown-none-softfloat", "aarch64-unknown-linux-musl"];

/// Whether the standard library of `target` is installed, by looking into the compiler's own folder:
/// so that a toolchain without rustup counts too.
pub(crate) fn has_target(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| {
        output.status.success() && std::path::Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// Adds the targets that are missing.
///
/// # Errors
/// No rustup, or it fails.
pub(crate) fn ensure_targets() -> Result<()> {
    let missing: Vec<&str> = TARGETS.iter().copied().filter(|target| !has_target(target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let status = Command::new("rustup")
        .args(["target", "add"])
        .args(&missing)
        .status()
        .with_context(|| format!("rustup isn't here: install the Rust targets {} yourself", missing.join(" ")))?;
    if !status.success() {
        bail!("`rustup target add {}` failed", missing.join(" "));
    }
    Ok(())
}
