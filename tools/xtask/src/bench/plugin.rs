//! A plugin of QEMU's that counts the instructions of EL2, compiled by the C compiler that links everything else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const SOURCE: &str = include_str!("el2.c");

/// The plugin, and where it writes.
pub(super) struct Plugin {
    argument: String,
    out: PathBuf,
}

impl Plugin {
    /// Compiles it into `folder`.
    ///
    /// # Errors
    /// There is no C compiler, or it has something to say.
    pub(super) fn build(folder: &Path) -> Result<Self> {
        let (source, object, out) = (folder.join("el2.c"), folder.join("el2.so"), folder.join("el2_insns"));
        std::fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&object).arg(&source);
        let status = compiler.status().context("`cc` cannot be run: install gcc")?;
        ensure!(status.success(), "the plugin {} does not compile", source.display());
        Ok(Self { argument: format!("{},out={}", object.display(), out.display()), out })
    }

    /// Has it count to the end instead of to the first instruction of EL0.
    pub(super) fn whole(mut self) -> Self {
        self.argument.push_str(",whole=on");
        self
    }

    /// What QEMU is told.
    pub(super) fn arguments(&self) -> [&str; 2] {
        ["-plugin", &self.argument]
    }

    /// Reads what it has written, once QEMU has ended.
    pub(super) fn read(&self) -> Result<u64> {
        let text = std::fs::read_to_string(&self.out).context("the plugin has counted nothing")?;
        Ok(text.trim().parse()?)
    }
}
