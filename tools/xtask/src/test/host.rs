//! The tests that need no guest, by cargo.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use assay_harness::cache;

use super::Tally;
use crate::build;

/// Runs the host crates' tests whose name contains `filter`, and counts.
///
/// # Errors
/// cargo can't be run.
pub(super) fn run(filter: &str) -> Result<Tally> {
    println!("host tests");
    let mut command = build::cargo();
    command.args(["test", "--no-fail-fast", "--quiet"]).current_dir(cache::repository()?);
    if !filter.is_empty() {
        command.args(["--", filter]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("can't run cargo")?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("no pipe")?).lines() {
        let line = line?;
        println!("{line}");
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

/// `ok. 5 passed; 0 failed; 1 ignored; …`
fn read(counts: &str) -> Tally {
    let number = |what: &str| {
        let parts = counts.split([';', '.']).map(str::trim);
        parts.filter_map(|part| part.strip_suffix(what)?.trim().parse().ok()).next().unwrap_or(0)
    };
    Tally { passed: number(" passed"), failed: number(" failed"), skipped: number(" ignored") }
}

#[cfg(test)]
mod tests {
    use super::{Tally, read};

    #[test]
    fn the_counts_of_a_result_line_are_read() {
        let line = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s";
        assert_eq!(read(line), Tally { passed: 12, failed: 3, skipped: 1 });
    }
}
