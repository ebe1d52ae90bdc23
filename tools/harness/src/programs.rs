//! The bare-metal programs of `guests/` in the checkout that is used: which there are and where cargo puts them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::home::Home;

/// The target that they are built for.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";
/// Each is a binary of one package, below this folder.
const SOURCES: &str = "guests/programs/src/bin";

/// Their names, sorted.
///
/// # Errors
/// There is no checkout, or the sources can't be listed.
pub fn list() -> Result<Vec<String>> {
    Home::find(None)?.programs()
}

/// Whether `name` is one of them.
#[must_use]
pub fn is_one(name: &str) -> bool {
    list().is_ok_and(|names| names.iter().any(|known| known == name))
}

/// The ELF file of the program `name`.
///
/// # Errors
/// There is no checkout, or the program isn't built.
pub fn path(name: &str) -> Result<PathBuf> {
    Home::find(None)?.program(name)
}

/// Their names in the work tree at `top`, sorted.
pub(crate) fn sources(top: &Path) -> Result<Vec<String>> {
    let folder = top.join(SOURCES);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            && (is_source || path.join("main.rs").is_file())
        {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
