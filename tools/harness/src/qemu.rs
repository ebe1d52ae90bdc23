//! Which QEMU is used, and which machine it plays.
//!
//! The program is one named by the caller, else one on `PATH` that is new enough, else the cached one.

mod hardware;
mod own_tree;
mod refusal;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;

pub use hardware::{Gic, Hardware};
pub use own_tree::own_tree;
pub use refusal::refusal;

/// The oldest QEMU whose model of Allocation Tag storage can be relied on.
pub const OLDEST: (u32, u32) = (8, 2);
/// The program's name on `PATH`.
const PROGRAM: &str = "qemu-system-aarch64";

/// The version of a QEMU program, `None` if it doesn't run or doesn't say.
#[must_use]
pub fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let rest = text.strip_prefix("QEMU emulator version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// A new enough QEMU on `PATH`.
#[must_use]
pub fn on_path() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&folders).map(|folder| folder.join(PROGRAM)).find(|path| path.is_file())?;
    version(&program).filter(|found| *found >= OLDEST).map(|_| program)
}

/// The QEMU to run: `given`, or `$ASSAY_QEMU`, or one on `PATH`, or the cached one.
///
/// # Errors
/// The given one is too old or doesn't run, or there is none at all.
pub fn find(given: Option<&Path>, cache: &Cache) -> Result<PathBuf> {
    let given = given.map(Path::to_path_buf).or_else(|| std::env::var_os("ASSAY_QEMU").map(PathBuf::from));
    if let Some(program) = given {
        let found = version(&program)
            .with_context(|| format!("{} is not a QEMU that runs: give another with --qemu", program.display()))?;
        if found < OLDEST {
            bail!(
                "{} is QEMU {}.{}, and {}.{} is the oldest that keeps memory tags right: \
                 `cargo xtask setup` fetches a newer one",
                program.display(),
                found.0,
                found.1,
                OLDEST.0,
                OLDEST.1
            );
        }
        return Ok(program);
    }
    let cached = cache.qemu(false);
    on_path()
        .or_else(|| cached.is_file().then_some(cached))
        .context("no QEMU: `cargo xtask setup` fetches one, or name one (8.2 or newer) with --qemu PATH")
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn the_version_is_read_from_qemus_first_line() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds)\nCopyright"), Some((10, 0)));
        assert_eq!(parse_version("QEMU emulator version 8.2.0"), Some((8, 2)));
        assert_eq!(parse_version("bash: not found"), None);
    }
}
