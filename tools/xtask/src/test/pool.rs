//! Runs cases, a few at a time, and prints each result as it comes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::Tally;
use super::junit::{End, Outcome, Suites};
use crate::cases::{Case, Success};

/// The suite of the cases.
pub(super) const SUITE: &str = "qemu";

/// Runs all, `jobs` at once. The words of a failed case also go to a file in `logs`.
pub(super) fn run(cases: &[Case], jobs: usize, logs: &Path, suites: &mut Suites) -> Tally {
    println!("{} cases in QEMU, {jobs} at a time", cases.len());
    let next = AtomicUsize::new(0);
    let all = Mutex::new((Tally::default(), suites));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let result = (case.run)();
                    let time = start.elapsed();
                    let seconds = time.as_secs_f32();
                    let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let (tally, suites) = &mut *all;
                    let end = match result {
                        Ok(Success { note, report }) => {
                            tally.passed += 1;
                            let gap = if note.is_empty() { "" } else { ", " };
                            println!("{} ... ok ({seconds:.1} s{gap}{note})", case.name);
                            if let Some(report) = report {
                                suites.add_report(&case.name, &report);
                            }
                            End::Passed
                        }
                        Err(error) => {
                            tally.failed += 1;
                            let complaint = format!("{error:#}");
                            println!("{} ... FAILED ({seconds:.1} s)", case.name);
                            complaint.lines().for_each(|line| println!("    {line}"));
                            let file = logs.join(case.name.replace('/', "-")).with_extension("log");
                            let _ = std::fs::write(file, &complaint);
                            End::Failed(complaint)
                        }
                    };
                    suites.add(SUITE, Outcome { name: case.name.clone(), end, time });
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).0
}
