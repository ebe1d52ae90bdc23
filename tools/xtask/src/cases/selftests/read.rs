//! What a run of a suite printed: a TAP report for each program, between lines that begin with `== `.

use anyhow::{Context as _, Result, bail};
use assay_harness::Report;
use assay_harness::ktap::{Outcome, Status};

/// kselftest's exit status of a program that has nothing to test here.
const SKIPPED: i32 = 4;

/// One program's end and results.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Program {
    name: String,
    status: i32,
    report: Report,
}

/// Reads the programs of a run.
///
/// # Errors
/// A line is missing or is none of these.
pub(super) fn programs(text: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        let Some(words) = line.trim_end().strip_prefix("== ") else {
            if let Some((_, report)) = &mut open {
                report.push_str(line);
                report.push('\n');
            }
            continue;
        };
        match words.split_once(' ') {
            Some(("ended", status)) => {
                let (name, report) = open.take().context("an end without a program")?;
                let report = Report::parse(&report);
                let status = status.parse().with_context(|| line.to_owned())?;
                programs.push(Program { name, status, report });
            }
            Some(("pages", _)) => {}
            Some(_) => bail!("what is this: {line}"),
            None => open = Some((words.to_owned(), String::new())),
        }
    }
    if let Some((name, _)) = open {
        bail!("{name} didn't end");
    }
    Ok(programs)
}

/// How many pages of the node were given out during the run.
pub(super) fn pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_end().strip_prefix("== pages "))?;
    line.parse().ok()
}

/// In what the runs differ, one line each.
pub(super) fn differences(natives: &[Program], ours: &[Program]) -> Vec<String> {
    let names = |programs: &[Program]| -> Vec<String> { programs.iter().map(|program| program.name.clone()).collect() };
    if names(natives) != names(ours) {
        return vec![format!("{:?} and {:?}", names(natives), names(ours))];
    }
    let results = |program: &Program| -> Vec<(Status, String)> {
        let words = |outcome: &Outcome| (outcome.status, outcome.name.clone());
        program.report.outcomes.iter().map(words).collect()
    };
    let mut differences = Vec::new();
    for (native, here) in natives.iter().zip(ours) {
        let name = &native.name;
        if native.status != here.status {
            differences.push(format!("{name} ended with {}, not {}", here.status, native.status));
        }
        let (before, after) = (results(native), results(here));
        let gone = before.iter().filter(|result| !after.contains(result));
        differences.extend(gone.map(|result| format!("{name}: only natively: {result:?}")));
        let new = after.iter().filter(|result| !before.contains(result));
        differences.extend(new.map(|result| format!("{name}: only here: {result:?}")));
        if before.len() != after.len() {
            let (before, after) = (before.len(), after.len());
            differences.push(format!("{name}: {after} results, not {before}"));
        }
    }
    differences
}

/// What failed, or is no whole report.
pub(super) fn failures(programs: &[Program]) -> Vec<String> {
    let complaint = |program: &Program| match (program.status, program.report.check()) {
        // A program that skips itself says so in its plan, and has no results.
        (SKIPPED, _) if program.report.counts().failed == 0 => None,
        (0, Ok(_)) => None,
        (status, Ok(_)) => Some(format!("{} ended with {status}", program.name)),
        (_, Err(words)) => Some(format!("{}: {words}", program.name)),
    };
    programs.iter().filter_map(complaint).collect()
}

/// How many passed and how many were skipped, a program that skips itself being one.
pub(super) fn counts(programs: &[Program]) -> (usize, usize) {
    programs.iter().fold((0, 0), |(passed, skipped), program| {
        let counts = program.report.counts();
        let whole = usize::from(program.report.outcomes.is_empty());
        (passed + counts.passed, skipped + counts.skipped + whole)
    })
}

#[cfg(test)]
mod tests {
    use super::{counts, differences, failures, pages, programs};

    const RUN: &str = "noise\n== first\nTAP version 13\n1..2\nok 1 a\nok 2 b # SKIP no\n== ended 0\n\
                       == second\nTAP version 13\n1..0 # SKIP none\n== ended 4\n== pages 12\n";

    #[test]
    fn a_run_is_read_by_program() {
        let found = programs(RUN).unwrap();
        assert_eq!(failures(&found), [""; 0]);
        assert_eq!(counts(&found), (1, 2));
        assert_eq!(pages(RUN), Some(12));
    }

    #[test]
    fn a_run_that_breaks_off_is_none() {
        assert!(programs("== first\nTAP version 13\n1..1\nok 1 a\n").is_err());
        assert!(programs("== ended 0\n").is_err());
    }

    #[test]
    fn what_fails_skips_or_is_missing_here_is_a_difference() {
        let native = programs(RUN).unwrap();
        assert_eq!(differences(&native, &native), [""; 0]);
        for (old, new) in [
            ("ok 1 a", "not ok 1 a"),
            ("ok 1 a\n", ""),
            ("ok 1 a", "ok 1 a # SKIP why"),
            ("== ended 4", "== ended 1"),
            ("== second", "== third"),
            ("ok 1 a", "ok 1 another"),
        ] {
            let ours = programs(&RUN.replace(old, new)).unwrap();
            assert_ne!(differences(&native, &ours), [""; 0], "{new}");
        }
    }

    #[test]
    fn a_failure_a_hole_and_a_bad_end_are_told() {
        for (old, new) in [
            ("ok 1 a", "not ok 1 a"),
            ("ok 1 a\n", ""),
            ("== ended 0", "== ended 139"),
            ("1..0 # SKIP none\n== ended 4", "1..0 # SKIP none\n== ended 0"),
        ] {
            let ours = programs(&RUN.replace(old, new)).unwrap();
            assert_eq!(failures(&ours).len(), 1, "{new}");
        }
    }
}
