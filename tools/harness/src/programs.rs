//! The bare-metal programs of this repository's `guests/`: which there are and where cargo puts them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cache;

/// The target that they are built for.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";
/// Each is a binary of one package, below this folder.
const SOURCES: &str = "guests/programs/src/bin";

/// Their names, sorted.
///
/// # Errors
/// The current directory is outside the repository, or the sources can't be listed.
pub fn list() -> Result<Vec<String>> {
    let folder = cache::repository()?.join(SOURCES);
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

/// Whether `name` is one of them.
#[must_use]
pub fn is_one(name: &str) -> bool {
    list().is_ok_and(|names| names.iter().any(|known| known == name))
}

/// The ELF file of the program `name`, built or not.
///
/// # Errors
/// The current directory is outside the repository.
pub fn path(name: &str) -> Result<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(PathBuf::from(folder).join("guests"))?,
        None => cache::repository()?.join("guests/target"),
    };
    Ok(target.join(TARGET).join("release").join(name))
}
