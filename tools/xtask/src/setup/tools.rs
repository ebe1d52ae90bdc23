//! Programs of Debian's packages that build something for the guests, unpacked beside and removed again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::apt::{self, Apt};

/// Packages unpacked into a folder, which their programs don't mind.
pub(super) struct Tools {
    pub(super) root: PathBuf,
}

impl Tools {
    /// Fetches packages with all that they need, and unpacks them.
    ///
    /// # Errors
    /// apt's or dpkg's own words.
    pub(super) fn fetch(private: &Apt, what: &str, packages: &[&str], root: &Path) -> Result<Self> {
        let tools = Self { root: root.to_path_buf() };
        for archive in private.closure(what, packages)? {
            // The host's own C library runs these programs: two of one kind in one process don't get along.
            let name = archive.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("libc6_") {
                apt::unpack(&archive, &tools.root)?;
            }
        }
        Ok(tools)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.root.join("usr/bin").join(name)
    }

    /// A command that finds these programs and their libraries before the host's.
    pub(super) fn command(&self, program: &Path) -> Command {
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        let libraries = ["usr/lib", "lib"].map(|folder| self.root.join(folder).join(&triple));
        let libraries = libraries.map(|folder| folder.display().to_string());
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.root.join("usr/bin");
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }
}

/// Runs a command to its end.
///
/// # Errors
/// What it said on stderr.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("can't run {program}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed:\n{complaint}");
    Ok(())
}
