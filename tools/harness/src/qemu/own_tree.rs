//! The device tree that QEMU makes for a machine.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use super::refusal;
use crate::process;

/// Has QEMU write the tree of the machine that `arguments` describe, and gives it. `folder` must exist.
///
/// # Errors
/// QEMU doesn't run, or not with these arguments.
pub fn own_tree(program: &Path, arguments: &[String], folder: &Path) -> Result<Vec<u8>> {
    let file = folder.join("machine.dtb");
    let option = format!("dumpdtb={}", file.display().to_string().replace(',', ",,"));
    let output = process::dies_with_us(program)
        .args(arguments)
        .args(["-display", "none", "-serial", "none", "-monitor", "none"])
        .args(["-machine", &option])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run {}", program.display()))?;
    ensure!(output.status.success(), "{}", refusal(&String::from_utf8_lossy(&output.stderr), &[], "of this machine"));
    std::fs::read(&file).with_context(|| format!("QEMU left no {}", file.display()))
}
