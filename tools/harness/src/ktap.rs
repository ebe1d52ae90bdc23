//! Results in the Kernel Test Anything Protocol: a guest's own report of what it tested.
//!
//! Reads versions 1 of KTAP and 13 of TAP, nested plans included. Lines that are neither are a boot log
//! and passed over. A report counts only whole: a missing result is a failure, not a pass.

/// What became of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `ok`
    Passed,
    /// `not ok`
    Failed,
    /// `ok … # SKIP`
    Skipped,
}

/// One result line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How deep its plan is nested; 0 is the outermost.
    pub depth: usize,
    /// Its number in its plan.
    pub number: u64,
    /// What it says it tested.
    pub name: String,
    /// Whether it passed.
    pub status: Status,
    /// What follows the `#`.
    pub detail: String,
}

/// A whole report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All results, in the order of their lines.
    pub outcomes: Vec<Outcome>,
    /// What is wrong with the report itself.
    pub faults: Vec<String>,
}

/// How many results of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

/// One plan under way.
struct Level {
    planned: Option<u64>,
    seen: u64,
}

impl Report {
    /// Reads a console's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut report = Self::default();
        let mut levels: Vec<Level> = Vec::new();
        for line in text.lines() {
            let line = line.trim_end_matches('\r');
            let body = line.trim_start_matches(' ');
            let depth = (line.len() - body.len()) / 2;
            if body.starts_with("KTAP version ") || body.starts_with("TAP version ") {
                report.close(&mut levels, depth);
                levels.push(Level { planned: None, seen: 0 });
            } else if let Some(planned) = plan(body) {
                // Some suites leave the version line of a nested plan out.
                report.close(&mut levels, depth + 1);
                if levels.len() == depth {
                    levels.push(Level { planned: None, seen: 0 });
                }
                if let Some(level) = levels.get_mut(depth) {
                    level.planned = Some(planned);
                }
            } else if let Some(outcome) = result(body, depth) {
                report.close(&mut levels, depth + 1);
                match levels.get_mut(depth) {
                    Some(level) => {
                        level.seen += 1;
                        if outcome.number != level.seen {
                            report.faults.push(format!("result {} came where {} was due", outcome.number, level.seen));
                            level.seen = outcome.number;
                        }
                        report.outcomes.push(outcome);
                    }
                    None => report.faults.push(format!("a result outside any plan: {body}")),
                }
            }
        }
        report.close(&mut levels, 0);
        if report.outcomes.is_empty() {
            report.faults.push("no result at all".to_owned());
        }
        report
    }

    /// Ends the plans deeper than `depth` levels.
    fn close(&mut self, levels: &mut Vec<Level>, depth: usize) {
        while levels.len() > depth {
            let Some(level) = levels.pop() else { return };
            match level.planned {
                Some(planned) if planned == level.seen => {}
                Some(planned) => self.faults.push(format!("{planned} results planned, {} came", level.seen)),
                None => self.faults.push("a plan line is missing".to_owned()),
            }
        }
    }

    /// Results without nested ones under them are counted once, and their parents too.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |status| self.outcomes.iter().filter(|outcome| outcome.status == status).count();
        Counts { passed: of(Status::Passed), failed: of(Status::Failed), skipped: of(Status::Skipped) }
    }

    /// The counts of a report that is whole and has no failure.
    ///
    /// # Errors
    /// What failed or is missing, one a line.
    pub fn check(&self) -> Result<Counts, String> {
        let mut complaints = self.faults.clone();
        let failed = self.outcomes.iter().filter(|outcome| outcome.status == Status::Failed);
        complaints.extend(failed.map(|outcome| {
            let gap = if outcome.detail.is_empty() { "" } else { ": " };
            format!("not ok {} {}{gap}{}", outcome.number, outcome.name, outcome.detail)
        }));
        if complaints.is_empty() { Ok(self.counts()) } else { Err(complaints.join("\n")) }
    }
}

/// `1..N`
fn plan(body: &str) -> Option<u64> {
    let count = body.strip_prefix("1..")?;
    count.split([' ', '#']).next()?.parse().ok()
}

/// `ok N - name # detail` or `not ok …`; the dash is optional.
fn result(body: &str, depth: usize) -> Option<Outcome> {
    let (passed, rest) = match body.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, body.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (name, detail) = rest.split_once('#').unwrap_or((rest, ""));
    let (name, detail) = (name.trim(), detail.trim());
    let name = name.strip_prefix("- ").unwrap_or(name);
    let skipped = detail.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("skip"));
    let status = match (passed, skipped) {
        (false, _) => Status::Failed,
        (true, true) => Status::Skipped,
        (true, false) => Status::Passed,
    };
    let (name, detail) = (name.to_owned(), detail.to_owned());
    Some(Outcome { depth, number: number.parse().ok()?, name, status, detail })
}

#[cfg(test)]
mod tests;
