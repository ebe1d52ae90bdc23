//! Runs cases, a few at a time, and prints each result as it comes.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Tally;
use super::junit::{End, Outcome, Suites};
use crate::cases::{Case, Success};

/// The suite of the cases.
pub(super) const SUITE: &str = "qemu";

/// What a run of a case came to, and how long it took.
type Ran = (Result<Success>, Duration);

/// Runs all, `jobs` at once. The words of a failed case also go to a file in `logs`.
///
/// With `retry`, what failed runs once more when all else has ended, alone: guests that keep beats by the computer's clock share
/// its CPUs with the other cases. What passes then is named as flaky.
pub(super) fn run(cases: &[Case], jobs: usize, retry: bool, logs: &Path, suites: &mut Suites) -> Tally {
    println!("{} cases in QEMU, {jobs} at a time", cases.len());
    let next = AtomicUsize::new(0);
    let all = Mutex::new((Results { tally: Tally::default(), suites, logs }, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = run_one(case);
                    let (results, again) = &mut *all.lock().unwrap_or_else(PoisonError::into_inner);
                    match &ran.0 {
                        Err(error) if retry => {
                            let complaint = format!("{error:#}");
                            results.complain(case, &ran.1, &complaint);
                            again.push((case, complaint));
                        }
                        _ => results.take(case, ran, None),
                    }
                }
            });
        }
    });
    let (mut results, again) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (case, complaint) in again {
        println!("again, alone:");
        results.take(case, run_one(case), Some(complaint));
    }
    results.tally
}

fn run_one(case: &Case) -> Ran {
    let start = Instant::now();
    ((case.run)(), start.elapsed())
}

/// All results so far, and where they go.
struct Results<'a> {
    tally: Tally,
    suites: &'a mut Suites,
    logs: &'a Path,
}

impl Results<'_> {
    /// Takes the result of a case's last run. `first` is what an earlier run that failed had said.
    fn take(&mut self, case: &Case, (result, time): Ran, first: Option<String>) {
        let end = match result {
            Ok(Success { note, report }) => {
                let gap = if note.is_empty() { "" } else { ", " };
                println!("{} ... ok ({:.1} s{gap}{note})", case.name, time.as_secs_f32());
                if let Some(report) = report {
                    self.suites.add_report(&case.name, &report);
                }
                self.tally.passed += 1;
                self.tally.flaky.extend(first.is_some().then(|| case.name.clone()));
                first.map_or(End::Passed, End::Flaky)
            }
            Err(error) => {
                let complaint = format!("{error:#}");
                self.complain(case, &time, &complaint);
                self.tally.failed += 1;
                self.tally.failures.push(case.name.clone());
                End::Failed(complaint)
            }
        };
        self.suites.add(SUITE, Outcome { name: case.name.clone(), end, time });
    }

    /// Prints what a run that failed said, and keeps it.
    fn complain(&self, case: &Case, time: &Duration, complaint: &str) {
        println!("{} ... FAILED ({:.1} s)", case.name, time.as_secs_f32());
        complaint.lines().for_each(|line| println!("    {line}"));
        let name = case.name.replace('/', "-");
        let log = |end: &str| self.logs.join(format!("{name}{end}.log"));
        let file = Some(log("")).filter(|file| !file.exists()).unwrap_or_else(|| log("-again"));
        let _ = std::fs::write(file, complaint);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use anyhow::bail;

    use super::run;
    use crate::cases::Case;
    use crate::test::junit::Suites;

    /// Cases that fail as often as they say before they pass.
    fn ends(retry: bool) -> (usize, Vec<String>, Vec<String>) {
        let failing = |name, times| {
            let runs = AtomicU32::new(0);
            Case::new(name, move || {
                if runs.fetch_add(1, Ordering::Relaxed) < times { bail!("late") } else { Ok(String::new()) }
            })
        };
        let logs = std::env::temp_dir().join(format!("assay-pool-{}-{retry}", std::process::id()));
        std::fs::create_dir(&logs).unwrap();
        let cases = [failing("never", 0), failing("once", 1), failing("twice", 2)];
        let tally = run(&cases, 2, retry, &logs, &mut Suites::default());
        assert_eq!(tally.failed, tally.failures.len());
        let said = std::fs::read_dir(&logs).unwrap().count();
        assert_eq!(said, if retry { 3 } else { 2 }, "each run that failed has a file");
        std::fs::remove_dir_all(logs).unwrap();
        (tally.passed, tally.failures, tally.flaky)
    }

    #[test]
    fn what_failed_runs_once_more_and_is_named() {
        assert_eq!(ends(true), (2, vec!["twice".to_owned()], vec!["once".to_owned()]));
        let (passed, mut failed, flaky) = ends(false);
        failed.sort_unstable();
        assert_eq!((passed, failed, flaky), (1, vec!["once".to_owned(), "twice".to_owned()], vec![]));
    }
}
