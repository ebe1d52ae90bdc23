//! The tests that need no guest, by cargo.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use assay_harness::cache;

use super::Tally;
use super::junit::Suites;
use super::libtest::Reader;
use crate::{build, compile, source};

/// Runs the host crates' tests whose name contains `filter`, and counts. With `suites` each one is told there, and by
/// name to nobody else.
///
/// # Errors
/// cargo can't be run, or the sources can't be read.
pub(super) fn run(filter: &str, suites: Option<&mut Suites>) -> Result<Tally> {
    println!("host tests");
    let mut command = build::cargo();
    command.arg("test").current_dir(cache::repository()?);
    if !filter.is_empty() {
        let crates = crates_with(filter)?;
        if crates.is_empty() {
            return Ok(Tally::default());
        }
        command.args(crates.iter().flat_map(|name| ["--package", name]));
    }
    // Compiled apart, so that minutes of it are no silence.
    if !compile::run(again(&command, &["--no-run"]), "the host tests", false)?.success() {
        println!("host tests ... FAILED: they don't build");
        return Ok(Tally { failed: 1, ..Tally::default() });
    }
    // Quiet, it has a dot for each test.
    let quiet: &[&str] = if suites.is_some() { &[] } else { &["--quiet"] };
    let mut command = again(&again(&command, &["--no-fail-fast"]), quiet);
    if !filter.is_empty() {
        command.args(["--", filter]);
    }
    let (lines, pipe) = std::io::pipe()?;
    if suites.is_some() {
        // One pipe for both, so that cargo's word of whose tests follow comes before them.
        command.stderr(pipe.try_clone()?);
    }
    let mut child = command.stdout(pipe).spawn().context("can't run cargo")?;
    // It has ends of the pipe, which would stay open.
    drop(command);
    let mut reader = suites.map(Reader::new);
    let mut tally = Tally::default();
    for line in BufReader::new(lines).lines() {
        let line = line?;
        if reader.as_mut().is_none_or(|reader| reader.take(&line)) {
            println!("{line}");
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.add(read(counts));
        }
    }
    // A crate that doesn't compile prints no counts.
    if !child.wait()?.success() && tally.failed == 0 {
        println!("host tests ... FAILED: they don't build");
        tally.failed = 1;
    }
    Ok(tally)
}

/// The command with more arguments.
fn again(command: &Command, more: &[&str]) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args()).args(more);
    if let Some(folder) = command.get_current_dir() {
        copy.current_dir(folder);
    }
    copy
}

/// The host crates that may have a test whose name contains `filter`: only they are built.
fn crates_with(filter: &str) -> Result<Vec<String>> {
    let top = cache::repository()?;
    let manifest = |path: &Path| -> Result<toml::Table> { Ok(fs::read_to_string(path.join("Cargo.toml"))?.parse()?) };
    let root = manifest(&top)?;
    let members = root["workspace"]["default-members"].as_array().context("no default members")?;
    let mut names = Vec::new();
    for folder in members.iter().filter_map(toml::Value::as_str) {
        if source::read(&top.join(folder))?.iter().any(|(file, text)| may_have(&file.path, text, filter)) {
            names.extend(manifest(&top.join(folder))?["package"]["name"].as_str().map(str::to_owned));
        }
    }
    Ok(names)
}

/// Whether a file may have such a test: by the last part of the name that is asked for.
fn may_have(path: &Path, text: &str, filter: &str) -> bool {
    let part = filter.rsplit("::").find(|part| !part.is_empty()).unwrap_or("");
    let names = || text.split(['\n', '{', ';']).filter_map(|line| line.split_once("fn ").or(line.split_once("mod ")));
    path.to_string_lossy().contains(part)
        || names().any(|(_, name)| name.split(['(', '<']).next().is_some_and(|name| name.contains(part)))
}

/// `ok. 5 passed; 0 failed; 1 ignored; …`
fn read(counts: &str) -> Tally {
    let number = |what: &str| {
        let parts = counts.split([';', '.']).map(str::trim);
        parts.filter_map(|part| part.strip_suffix(what)?.trim().parse().ok()).next().unwrap_or(0)
    };
    Tally { passed: number(" passed"), failed: number(" failed"), skipped: number(" ignored"), ..Tally::default() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Tally, may_have, read};

    #[test]
    fn the_counts_of_a_result_line_are_read() {
        let line = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s";
        assert_eq!(read(line), Tally { passed: 12, failed: 3, skipped: 1, ..Tally::default() });
    }

    #[test]
    fn a_files_tests_are_found_by_part_of_their_name() {
        let has =
            |filter| may_have(Path::new("src/psci/tests.rs"), "mod far {\n    fn a_cpu_is_on() { call() }\n}", filter);
        assert!(["psci", "psci::tests::far::a_cpu", "cpu_is", "far::"].into_iter().all(has));
        assert!(!["vgic", "psci::tests::call"].into_iter().any(has));
    }
}
