//! `floors`: no circle among a crate's modules, and none that names one on a floor above its own.

mod arrows;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use assay_harness::cache;
use clap::Args;
use serde::Deserialize;

use crate::source::{self, Source};
use arrows::{Arrow, arrows, module_of};

/// What is declared, for each crate that is looked at.
const FILE: &str = "hypervisor/floors.toml";

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Also print which module names which, and where
    #[arg(long)]
    list: bool,
}

/// What is declared of one crate.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    /// The modules at the crate's root, from the lowest floor to the highest. Empty: any order without a circle.
    #[serde(default)]
    floors: Vec<Vec<String>>,
    /// Arrows, `from -> to`, that break the rules and are still to go.
    #[serde(default)]
    known: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A rule is broken, or something can't be read.
pub(crate) fn run(options: Options) -> Result<()> {
    let top = cache::repository()?;
    let text = fs::read_to_string(top.join(FILE)).with_context(|| format!("can't read {FILE}"))?;
    let declared: BTreeMap<String, Declared> = toml::from_str(&text).context(FILE)?;
    let mut broken = 0;
    for (name, declared) in &declared {
        let files = source::read(&top.join("hypervisor").join(name).join("src"))?;
        let files: Vec<Source> = files.into_iter().map(|(file, _)| file).collect();
        if options.list {
            for ((from, to), place) in arrows(&files) {
                println!("{from} -> {to}  ({place})");
            }
        }
        let complaints = judge(declared, &files);
        println!("{name}: {} floors, {} known arrows to go", declared.floors.len(), declared.known.len());
        complaints.iter().for_each(|complaint| println!("    {complaint}"));
        broken += complaints.len();
    }
    if broken > 0 {
        bail!("{broken} breaches of {FILE}");
    }
    Ok(())
}

/// What is wrong with a crate.
fn judge(declared: &Declared, files: &[Source]) -> Vec<String> {
    let floors = floors(&declared.floors);
    let mut complaints = undeclared(&floors, files);
    let all = arrows(files);
    let known: BTreeSet<Arrow> = declared.known.iter().map(|text| arrow(text)).collect();
    let left = Graph(all.iter().filter(|(arrow, _)| !known.contains(arrow)).collect());
    let is_upward = |(from, to): &Arrow| floors.get(from.as_str()) < floors.get(to.as_str());
    let upward = left.0.iter().filter(|(arrow, _)| is_upward(arrow));
    complaints.extend(upward.map(|((from, to), place)| format!("{from} -> {to} goes to a higher floor: {place}")));
    complaints.extend(left.circles());
    for arrow @ (from, to) in &known {
        if !all.contains_key(arrow) {
            complaints.push(format!("{from} -> {to} is gone: delete it from the known ones"));
        } else if !is_upward(arrow) && left.way(to, from).is_none() {
            complaints.push(format!("{from} -> {to} breaks no rule any more: delete it from the known ones"));
        }
    }
    complaints
}

fn arrow(text: &str) -> Arrow {
    let (from, to) = text.split_once(" -> ").unwrap_or((text, ""));
    (from.to_owned(), to.to_owned())
}

/// The floor of each module.
fn floors(declared: &[Vec<String>]) -> BTreeMap<&str, usize> {
    let of_one = |(floor, modules)| std::iter::repeat(floor).zip::<&Vec<String>>(modules);
    declared.iter().enumerate().flat_map(of_one).map(|(floor, module)| (module.as_str(), floor)).collect()
}

/// Modules that have no floor, and floors' modules that are not there.
fn undeclared(floors: &BTreeMap<&str, usize>, files: &[Source]) -> Vec<String> {
    if floors.is_empty() {
        return Vec::new();
    }
    let there: BTreeSet<String> = files.iter().filter_map(|file| module_of(&file.path).into_iter().next()).collect();
    let homeless = there.iter().filter(|module| !floors.contains_key(module.as_str()));
    let gone = floors.keys().filter(|module| !there.contains(**module));
    let homeless = homeless.map(|module| format!("{module} is on no floor: give it one"));
    homeless.chain(gone.map(|module| format!("{module} is on a floor and is no module"))).collect()
}

/// Arrows with their places.
struct Graph<'a>(BTreeMap<&'a Arrow, &'a String>);

impl Graph<'_> {
    /// The shortest way from one module to another, both included.
    fn way(&self, from: &str, to: &str) -> Option<Vec<&str>> {
        let mut ways = vec![vec![self.0.keys().find(|(module, _)| module == from)?.0.as_str()]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let last = *way.last()?;
                for (_, next) in self.0.keys().filter(|(module, _)| module == last) {
                    let further: Vec<&str> = way.iter().copied().chain([next.as_str()]).collect();
                    if next == to {
                        return Some(further);
                    }
                    if seen.insert(next.as_str()) {
                        longer.push(further);
                    }
                }
            }
            ways = longer;
        }
        None
    }

    /// Circles that share no module, the shortest of each module's, with the places that draw them.
    fn circles(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut told = BTreeSet::new();
        for (from, _) in self.0.keys() {
            let Some(circle) = self.way(from, from).filter(|circle| circle.iter().all(|it| !told.contains(it))) else {
                continue;
            };
            let mut complaint = format!("a circle: {}", circle.join(" -> "));
            for pair in circle.windows(2) {
                let place = self.0.get(&(pair[0].to_owned(), pair[1].to_owned()));
                complaint.extend(place.iter().map(|place| format!("\n        {place}")));
            }
            complaints.push(complaint);
            told.extend(circle);
        }
        complaints
    }
}

#[cfg(test)]
mod tests;
