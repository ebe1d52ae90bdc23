//! cargo at work for the user: what it builds, and that it lives.
//!
//! On a terminal cargo shows its own bar. Into a pipe or a log it would write a line for each crate, so there it is
//! quiet, and a line now and then says how long it has been at it.

use std::io::IsTerminal as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// When something is said.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// What takes no longer was built before and is not worth a word.
    first: Duration,
    then: Duration,
    /// How often cargo is looked after.
    step: Duration,
}

const PACE: Pace =
    Pace { first: Duration::from_secs(2), then: Duration::from_secs(30), step: Duration::from_millis(20) };

/// Runs a cargo `command` that takes `--quiet` and builds `what`; `is_first` if that was not built before.
///
/// # Errors
/// cargo can't be run.
pub(crate) fn run(mut command: Command, what: &str, is_first: bool) -> Result<ExitStatus> {
    if is_first {
        eprintln!("building {what} for the first time, which takes minutes");
    }
    if std::io::stderr().is_terminal() {
        return command.status().context("can't run cargo");
    }
    let child = command.arg("--quiet").spawn().context("can't run cargo")?;
    watch(child, what, PACE, |line| eprintln!("{line}"))
}

/// Waits for `child` and says now and then that it is still at work.
fn watch(mut child: Child, what: &str, pace: Pace, mut say: impl FnMut(String)) -> Result<ExitStatus> {
    let start = Instant::now();
    let mut next = pace.first;
    loop {
        if let Some(status) = child.try_wait()? {
            if next > pace.first && status.success() {
                say(format!("{what}: built in {:.0} s", start.elapsed().as_secs_f64()));
            }
            return Ok(status);
        }
        let passed = start.elapsed();
        if passed >= next {
            say(if next == pace.first { format!("building {what} ...") } else { still(what, passed) });
            next += pace.then;
        }
        std::thread::sleep(pace.step);
    }
}

fn still(what: &str, passed: Duration) -> String {
    format!("building {what}: for {} s so far", passed.as_secs())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Pace, watch};

    fn said(seconds: &str, end: &str) -> Vec<String> {
        let pace =
            Pace { first: Duration::from_millis(200), then: Duration::from_secs(1), step: Duration::from_millis(5) };
        let child = Command::new("sh").args(["-c", &format!("sleep {seconds}; {end}")]).spawn().unwrap();
        let mut lines = Vec::new();
        watch(child, "it", pace, |line| lines.push(line)).unwrap();
        lines
    }

    #[test]
    fn what_takes_long_is_named_then_counted_and_its_end_told() {
        let lines = said("1.7", "true");
        assert_eq!(lines[..2], ["building it ...", "building it: for 1 s so far"]);
        assert!(lines.last().unwrap().starts_with("it: built in "), "{lines:?}");
    }

    #[test]
    fn what_was_built_before_is_not_worth_a_word_and_no_failure_is_called_built() {
        assert_eq!(said("0", "true"), [""; 0]);
        let failed = said("0.5", "false");
        assert_eq!(failed.len(), 1, "{failed:?}");
    }
}
