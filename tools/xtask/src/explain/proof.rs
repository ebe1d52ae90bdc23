//! `--proof`: what the boot finds of memory, where somebody knows or wants to know what if.

use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use assay_plan::platform::HostPlatform;
use assay_plan::policy::Proof;

/// The word for RAM, as the decision line has it.
const RAM: &str = "memory";

/// One `--proof`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    /// A region's name or path, or `memory`; `None`: all regions.
    region: Option<String>,
    result: Proof,
}

impl FromStr for Given {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (region, word) = match text.split_once('=') {
            Some((region, word)) => (Some(region.to_owned()), word),
            None => (None, text),
        };
        let all = [Proof::NotRun, Proof::Passed, Proof::FailedTags, Proof::FailedMemory];
        let result = all.into_iter().find(|proof| proof.to_string() == word);
        let result = result.with_context(|| format!("{word} is not passed, failed-tags, failed-memory or not-run"))?;
        ensure!(
            region.as_deref() != Some(RAM) || result != Proof::FailedMemory,
            "RAM has no memory part: say {RAM}=passed or {RAM}=failed-tags"
        );
        Ok(Self { region, result })
    }
}

/// What all `--proof`s say together.
pub(super) struct Proofs {
    by_path: Vec<(String, Proof)>,
}

impl Proofs {
    /// Looks the regions up; the later `--proof` wins. One for all regions says nothing bad of RAM, whose
    /// failure would take MTE from the whole machine.
    ///
    /// # Errors
    /// A region that the platform does not have.
    pub(super) fn new(given: &[Given], machine: &HostPlatform) -> Result<Self> {
        let mut by_path = Vec::new();
        let ram = || machine.memory.iter().map(|node| node.path.clone());
        for Given { region, result } in given {
            match region.as_deref() {
                None => {
                    by_path.extend(ram().map(|path| (path, Proof::Passed)));
                    let regions = machine.coherent.iter();
                    by_path.extend(regions.map(|node| (node.path.clone(), *result)));
                }
                Some(RAM) => by_path.extend(ram().map(|path| (path, *result))),
                Some(name) => {
                    let named = machine.coherent.iter().filter(|node| node.name == name || node.path == name);
                    let before = by_path.len();
                    by_path.extend(named.map(|node| (node.path.clone(), *result)));
                    if by_path.len() == before {
                        let known = machine.coherent.iter().map(|node| node.name.as_str());
                        let known: Vec<&str> = [RAM].into_iter().chain(known).collect();
                        bail!("--proof: the platform has no coherent region {name}; it has {}", known.join(", "));
                    }
                }
            }
        }
        Ok(Self { by_path })
    }

    /// The result for a node.
    pub(super) fn of(&self, path: &str) -> Proof {
        let found = self.by_path.iter().rev().find(|(known, _)| known == path);
        found.map_or(Proof::NotRun, |(_, proof)| *proof)
    }
}
