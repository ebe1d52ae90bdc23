//! What Rust's test programs print under cargo, as results by name.

use std::time::Duration;

use super::junit::{End, Outcome, Suites};

/// Reads the output line by line.
pub(super) struct Reader<'s> {
    suites: &'s mut Suites,
    /// The program that runs.
    suite: String,
    /// Its tests that failed, with what they said.
    failed: Vec<(String, String)>,
    /// Which of them the lines are from.
    speaker: Option<usize>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(suites: &'s mut Suites) -> Self {
        Self { suites, suite: "host".to_owned(), failed: Vec::new(), speaker: None }
    }

    /// Takes the next line; returns whether it is for people too: a test's success is not.
    pub(super) fn take(&mut self, line: &str) -> bool {
        if let Some(name) = program(line) {
            self.suite = name;
            return false;
        }
        if let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            return self.result(name, result);
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.speaker = self.failed.iter().position(|(failed, _)| failed == name);
        } else if line == "failures:" {
            self.speaker = None;
        } else if line.starts_with("test result: ") {
            self.speaker = None;
            for (name, said) in std::mem::take(&mut self.failed) {
                self.add(&name, End::Failed(said.trim().to_owned()));
            }
        } else if let Some((_, said)) = self.speaker.and_then(|speaker| self.failed.get_mut(speaker)) {
            said.push_str(line);
            said.push('\n');
        }
        true
    }

    fn result(&mut self, name: &str, result: &str) -> bool {
        match result.split([',', ' ']).next() {
            Some("ok") => self.add(name, End::Passed),
            Some("ignored") => {
                let why = result.split_once(", ").map_or("", |(_, why)| why);
                self.add(name, End::Skipped(why.to_owned()));
            }
            Some("FAILED") => {
                self.failed.push((name.to_owned(), String::new()));
                return true;
            }
            _ => return true,
        }
        false
    }

    fn add(&mut self, name: &str, end: End) {
        self.suites.add(&self.suite, Outcome { name: name.to_owned(), end, time: Duration::ZERO });
    }
}

/// The program that cargo says runs next: `Running unittests src/lib.rs (target/debug/deps/NAME-HASH)`.
fn program(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} documentation"));
    }
    let path = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit(['/', '(']).next()?;
    Some(path.rsplit_once('-')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Reader;
    use crate::test::junit::{End, Suites};

    const OUTPUT: &str = "   Compiling x v0.1.0
     Running unittests src/lib.rs (target/debug/deps/assay_model-0a1b)

running 3 tests
test vgic::a_row ... ok
test vgic::slow ... ignored, takes hours
test psci::tests::far ... FAILED

failures:

---- psci::tests::far stdout ----
thread 'psci::tests::far' panicked at src/psci.rs:1:
left: 1

failures:
    psci::tests::far

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests assay_harness
test src/lib.rs - (line 5) - compile ... ok
";

    #[test]
    fn each_test_is_a_result_of_its_program() {
        let mut suites = Suites::default();
        let mut reader = Reader::new(&mut suites);
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| reader.take(line)).collect();
        let all: Vec<(&str, &str, &End)> = suites
            .0
            .iter()
            .flat_map(|(suite, results)| results.iter().map(|one| (suite.as_str(), one.name.as_str(), &one.end)))
            .collect();
        let said = "thread 'psci::tests::far' panicked at src/psci.rs:1:\nleft: 1".to_owned();
        assert_eq!(
            all,
            [
                ("assay_model", "vgic::a_row", &End::Passed),
                ("assay_model", "vgic::slow", &End::Skipped("takes hours".to_owned())),
                ("assay_model", "psci::tests::far", &End::Failed(said)),
                ("assay_harness documentation", "src/lib.rs - (line 5) - compile", &End::Passed),
            ]
        );
        assert!(shown.contains(&"test psci::tests::far ... FAILED") && !shown.contains(&"test vgic::a_row ... ok"));
    }
}
