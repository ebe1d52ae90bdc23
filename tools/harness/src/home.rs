//! Which checkout of Assay is used, and where its firmware and its guests were built.
//!
//! Inside a checkout it is that one. A crate elsewhere, which tests a guest of its own, names one
//! ([`crate::Builder::checkout`], or the variable `ASSAY_HOME`), or gets the one that this library was compiled from, or
//! the one that was built last, which the cache remembers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::programs::{self, TARGET};

/// The variable that names a checkout.
const VARIABLE: &str = "ASSAY_HOME";
/// The firmware, below a target folder.
const IMAGE: &str = "assay/assay.img";

#[doc(hidden)]
/// A checkout and what was built of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    top: PathBuf,
    /// Where what was built may be, the likeliest first.
    targets: Vec<Target>,
}

/// Where cargo put things.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Into the checkout.
    Inside,
    /// To where `CARGO_TARGET_DIR` pointed.
    Folder(PathBuf),
}

impl Home {
    /// The checkout to use: `given` if there is one, else by the rules of this module.
    ///
    /// # Errors
    /// What was named is no checkout, or none was named and none is found.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        Surroundings::look(given)?.choose()
    }

    /// The top of its work tree.
    #[must_use]
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// The firmware that `cargo xtask build` left.
    ///
    /// # Errors
    /// It isn't built.
    pub fn image(&self) -> Result<PathBuf> {
        let places = self.targets.iter().map(|target| target.of(&self.top, "").join(IMAGE));
        self.first(places, "the firmware")
    }

    /// The names of the bare-metal programs of `guests/`, sorted.
    ///
    /// # Errors
    /// The sources can't be listed.
    pub fn programs(&self) -> Result<Vec<String>> {
        programs::sources(&self.top)
    }

    /// The ELF file of the program `name`.
    ///
    /// # Errors
    /// It isn't built.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let places = self.targets.iter().map(|target| target.of(&self.top, "guests").join(TARGET).join("release"));
        self.first(places.map(|folder| folder.join(name)), &format!("the program {name} of guests/"))
    }

    fn first(&self, places: impl Iterator<Item = PathBuf>, what: &str) -> Result<PathBuf> {
        let mut looked = String::new();
        for place in places {
            if place.is_file() {
                return Ok(place);
            }
            let gap = if looked.is_empty() { "" } else { " and " };
            let _ = write!(looked, "{gap}{}", place.display());
        }
        bail!("{what} is not built: {looked} is not there; `cargo xtask build` in {} builds it", self.top.display())
    }

    /// Remembers in the cache that `top` was built, into `$CARGO_TARGET_DIR` where that is set. A cache that can't be
    /// written to remembers nothing.
    pub fn remember(top: &Path) {
        let write = || -> Result<()> {
            let path = record(&Cache::locate()?);
            let target = target_variable()?.map(|folder| folder.display().to_string()).unwrap_or_default();
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            let partial = path.with_extension(std::process::id().to_string());
            std::fs::write(&partial, format!("{}\n{target}\n", top.display()))?;
            Ok(std::fs::rename(partial, path)?)
        };
        let _ = write();
    }
}

impl Target {
    /// cargo's target folder of the workspace `below` the top; a workspace of its own has its own, or a part of the
    /// shared one.
    fn of(&self, top: &Path, below: &str) -> PathBuf {
        match self {
            Self::Inside => top.join(below).join("target"),
            Self::Folder(folder) => folder.join(below),
        }
    }
}

/// Where a build is remembered.
fn record(cache: &Cache) -> PathBuf {
    cache.root().join("built")
}

fn target_variable() -> Result<Option<PathBuf>> {
    let folder = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    Ok(folder.map(std::path::absolute).transpose()?)
}

/// What the choice depends on.
#[derive(Clone, Debug, Default)]
struct Surroundings {
    given: Option<PathBuf>,
    /// `ASSAY_HOME`.
    variable: Option<PathBuf>,
    /// The current directory.
    here: PathBuf,
    /// Where this library's source was when it was compiled.
    source: PathBuf,
    /// What was built last, and into which target folder if not its own.
    built: Option<(PathBuf, Option<PathBuf>)>,
    /// `CARGO_TARGET_DIR`.
    target: Option<PathBuf>,
}

impl Surroundings {
    fn look(given: Option<&Path>) -> Result<Self> {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let built = Cache::locate().ok().and_then(|cache| std::fs::read_to_string(record(&cache)).ok());
        let built = built.and_then(|text| {
            let mut lines = text.lines();
            let top = PathBuf::from(lines.next()?);
            Some((top, lines.next().filter(|line| !line.is_empty()).map(PathBuf::from)))
        });
        Ok(Self {
            given: given.map(std::path::absolute).transpose()?,
            variable: variable.map(std::path::absolute).transpose()?,
            here: std::env::current_dir()?,
            source: Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default(),
            built,
            target: target_variable()?,
        })
    }

    fn choose(&self) -> Result<Home> {
        if let Some(given) = &self.given {
            return self.named(given, "Builder::checkout");
        }
        // Whoever works in a checkout tests that one, whatever other crates are told.
        if let Some(top) = above(&self.here) {
            let target = self.target.clone().map_or(Target::Inside, Target::Folder);
            return Ok(Home { top, targets: vec![target] });
        }
        if let Some(named) = &self.variable {
            return self.named(named, VARIABLE);
        }
        let found = [Some(&self.source), self.built.as_ref().map(|(top, _)| top)];
        let homes: Vec<Home> =
            found.into_iter().flatten().filter(|top| is_top(top)).map(|top| self.home(top)).collect();
        let is_built = |home: &&Home| home.image().is_ok();
        homes.iter().find(is_built).or(homes.first()).cloned().with_context(|| {
            let here = self.here.display();
            format!(
                "{here} is not inside a checkout of Assay: name one by {VARIABLE} or Builder::checkout, or run \
                     `cargo xtask build` in one, which is remembered"
            )
        })
    }

    fn named(&self, top: &Path, by: &str) -> Result<Home> {
        if !is_top(top) {
            let top = top.display();
            bail!("{by} names {top}, which is no checkout of Assay: it lacks hypervisor/ or tools/xtask/");
        }
        Ok(self.home(top))
    }

    /// One that is used from elsewhere: `CARGO_TARGET_DIR` may be another crate's.
    fn home(&self, top: &Path) -> Home {
        let built = self.built.as_ref().filter(|(built, _)| built == top).and_then(|(_, target)| target.clone());
        let last = built.map(Target::Folder);
        let shared = self.target.clone().map(Target::Folder).filter(|shared| last.as_ref() != Some(shared));
        let targets = last.into_iter().chain([Target::Inside]).chain(shared).collect();
        Home { top: top.to_path_buf(), targets }
    }
}

fn is_top(path: &Path) -> bool {
    path.join("hypervisor").is_dir() && path.join("tools/xtask").is_dir()
}

/// The top of the work tree that `path` is in.
pub(crate) fn above(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|path| is_top(path)).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests;
