//! Results as JUnit's XML, which CI systems read.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_harness::Report;
use assay_harness::ktap::Status;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestRerun, TestSuite};

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Passed,
    /// With why.
    Skipped(String),
    /// With what it said.
    Failed(String),
    /// It failed, ran once more and passed. With what it said first.
    Flaky(String),
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) end: End,
    pub(super) time: Duration,
}

/// All suites, in the order in which they ran.
#[derive(Debug, Default)]
pub(super) struct Suites(pub(super) Vec<(String, Vec<Outcome>)>);

impl Suites {
    /// Adds a result to the suite of this name.
    pub(super) fn add(&mut self, suite: &str, result: Outcome) {
        match self.0.iter_mut().find(|(name, _)| name == suite) {
            Some((_, results)) => results.push(result),
            None => self.0.push((suite.to_owned(), vec![result])),
        }
    }

    /// Adds what a guest itself reported, as a suite of its own.
    pub(super) fn add_report(&mut self, suite: &str, report: &Report) {
        for outcome in &report.outcomes {
            let end = match outcome.status {
                Status::Passed => End::Passed,
                Status::Skipped => End::Skipped(outcome.detail.clone()),
                Status::Failed => End::Failed(outcome.detail.clone()),
            };
            let name = format!("{} {}", outcome.number, outcome.name);
            self.add(suite, Outcome { name, end, time: Duration::ZERO });
        }
    }

    /// Writes them to a file.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write(self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        self.report().serialize(file).with_context(|| path.display().to_string())
    }

    fn report(self) -> quick_junit::Report {
        let mut report = quick_junit::Report::new("assay");
        for (name, results) in self.0 {
            let mut suite = TestSuite::new(name.as_str());
            suite.add_test_cases(results.into_iter().map(|result| case(&name, result)));
            report.add_test_suite(suite);
        }
        report
    }
}

fn case(suite: &str, result: Outcome) -> TestCase {
    let status = match result.end {
        End::Passed => TestCaseStatus::success(),
        End::Skipped(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why);
            status
        }
        End::Failed(said) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(said.lines().next().unwrap_or_default()).set_description(said);
            status
        }
        End::Flaky(said) => {
            let mut status = TestCaseStatus::success();
            let mut first = TestRerun::new(NonSuccessKind::Failure);
            first.set_message(said.lines().next().unwrap_or_default()).set_description(said);
            status.add_rerun(first);
            status
        }
    };
    let mut case = TestCase::new(result.name, status);
    case.set_classname(suite).set_time(result.time);
    case
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use assay_harness::Report;

    use super::{End, Outcome, Suites};

    #[test]
    fn results_are_junit_with_what_failed_tests_said() {
        let mut suites = Suites::default();
        let result = |name: &str, end| Outcome { name: name.to_owned(), end, time: Duration::from_millis(1500) };
        suites.add("qemu", result("guest/hello", End::Passed));
        suites.add("qemu", result("guest/vgic", End::Failed("expected <1>\nbut".to_owned())));
        suites.add("qemu", result("matrix/x", End::Skipped("--long runs it".to_owned())));
        suites.add("qemu", result("guest/late", End::Flaky("no word for 5 s".to_owned())));
        let report = Report::parse("TAP version 13\n1..2\nok 1 - a\nok 2 - b # SKIP no such CPU\n");
        suites.add_report("guest/hello", &report);
        let xml = suites.report().to_string().unwrap();
        for part in [
            r#"<testsuite name="qemu" tests="4" skipped="1" errors="0" failures="1">"#,
            r#"<testcase name="guest/hello" classname="qemu" time="1.500""#,
            r#"<failure message="expected &lt;1&gt;">"#,
            r#"<flakyFailure message="no word for 5 s">"#,
            r#"<skipped message="--long runs it"/>"#,
            r#"<testcase name="2 b" classname="guest/hello""#,
            r#"<skipped message="SKIP no such CPU"/>"#,
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
    }
}
