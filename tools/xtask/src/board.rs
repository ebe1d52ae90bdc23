//! A platform's `board.toml`: what the tools must know to start it. Hardware's facts are in its device tree.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use assay_harness::cache;
use serde::Deserialize;

/// `platforms/NAME/board.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Board {
    /// For people.
    #[serde(rename = "description")]
    _description: String,
    /// For people: what was tested where.
    #[serde(rename = "tested")]
    _tested: String,
    /// The QEMU machine, if there is one.
    pub(crate) qemu: Option<Qemu>,
    /// The names of the files that it boots.
    pub(crate) boot: Boot,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Qemu {
    /// QEMU's name of the model; of a board, with its options.
    pub(crate) machine: String,
    /// The CPU if none is asked for; a board has its own.
    #[serde(default)]
    pub(crate) cpu: String,
    /// A board's device tree, below the folder of Debian's kernel package that holds them; its disk has it too. Some models
    /// make their own.
    pub(crate) tree: Option<String>,
    /// Needs the QEMU of `setup --qemu-next`.
    #[serde(default)]
    pub(crate) next: bool,
    /// What makes it a board: further arguments, of CPUs, memory, and the serial ports before the console (`-serial null`).
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
}

impl Qemu {
    /// Tells whether it is a board, with its own CPUs and memory, and not `virt`.
    pub(crate) fn is_board(&self) -> bool {
        !self.arguments.is_empty()
    }

    /// All of QEMU's arguments for a board, with trees in `trees`; `None` for `virt`.
    pub(crate) fn board(&self, trees: &Path) -> Option<Vec<String>> {
        let tree = self.tree.iter().flat_map(|tree| ["-dtb".to_owned(), trees.join(tree).display().to_string()]);
        self.is_board().then(|| self.bare().chain(tree).collect())
    }

    /// QEMU's arguments for a board without its tree.
    pub(crate) fn bare(&self) -> impl Iterator<Item = String> {
        ["-M".to_owned(), self.machine.clone()].into_iter().chain(self.arguments.iter().cloned())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Boot {
    /// The firmware alone.
    pub(crate) firmware: String,
    /// The bundle alone.
    pub(crate) bundle: String,
    /// Both as one file.
    pub(crate) whole: String,
    /// Both on a disk.
    pub(crate) disk: String,
    /// What firmware of the board's own, which is no UEFI, finds on that: files by name, beside firmware and bundle at the
    /// top of a disk with an MBR.
    #[serde(default)]
    pub(crate) card: Option<BTreeMap<String, String>>,
    /// Both as a FIT, where U-Boot starts one.
    pub(crate) fit: Option<Fit>,
}

/// A FIT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fit {
    /// Its name.
    pub(crate) file: String,
    /// Where U-Boot puts the image: a multiple of 2 MiB, clear of the tree and of where it loads files.
    pub(crate) load: u32,
}

impl Board {
    /// Where the board's tree is among those.
    pub(crate) fn tree_name(&self) -> Option<&str> {
        self.qemu.as_ref()?.tree.as_deref()
    }

    /// The board's tree by its file's name, out of those that the set-up fetched; none where QEMU makes it.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn tree(&self) -> Result<Option<(String, Vec<u8>)>> {
        let Some(tree) = self.tree_name() else { return Ok(None) };
        let path = cache::Cache::locate()?.trees().join(tree);
        let bytes = std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        Ok(Some((name, bytes)))
    }

    /// Reads the platform's file.
    ///
    /// # Errors
    /// There is no such platform, or its file is wrong.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let folder = cache::repository()?.join("platforms");
        let path = folder.join(name).join("board.toml");
        if name.contains('/') || !path.is_file() {
            bail!("no platform is named {name}: there are {}", list(&folder)?.join(", "));
        }
        let text = std::fs::read_to_string(&path)?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// The platforms, by name.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn all() -> Result<Vec<String>> {
    list(&cache::repository()?.join("platforms"))
}

fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("board.toml").is_file() {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{Board, list};

    #[test]
    fn every_boards_file_is_readable() {
        let folder = assay_harness::cache::repository().unwrap().join("platforms");
        let names = list(&folder).unwrap();
        assert!(names.iter().any(|name| name == "qemu-virt"));
        for name in names {
            Board::read(&name).unwrap();
        }
    }

    #[test]
    fn an_unknown_board_is_an_error_that_lists_the_known_ones() {
        assert!(Board::read("toaster").unwrap_err().to_string().contains("qemu-virt"));
        assert!(Board::read("../platforms/qemu-virt").is_err());
    }
}
