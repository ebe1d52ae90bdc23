//! Runs cases, a few at a time, and prints each result as it comes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::Tally;
use crate::cases::Case;

/// Runs all, `jobs` at once. The words of a failed case also go to a file in `logs`.
pub(super) fn run(cases: Vec<Case>, jobs: usize, logs: &Path) -> Tally {
    println!("{} cases in QEMU, {jobs} at a time", cases.len());
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let result = (case.run)();
                    let seconds = start.elapsed().as_secs_f32();
                    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match result {
                        Ok(note) => {
                            tally.passed += 1;
                            let gap = if note.is_empty() { "" } else { ", " };
                            println!("{} ... ok ({seconds:.1} s{gap}{note})", case.name);
                        }
                        Err(error) => {
                            tally.failed += 1;
                            let complaint = format!("{error:#}");
                            println!("{} ... FAILED ({seconds:.1} s)", case.name);
                            complaint.lines().for_each(|line| println!("    {line}"));
                            let file = logs.join(case.name.replace('/', "-")).with_extension("log");
                            let _ = std::fs::write(file, complaint);
                        }
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
