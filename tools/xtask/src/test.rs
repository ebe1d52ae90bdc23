//! `test`: host tests, then guests in QEMU. What is not run is printed as not run.

mod host;
mod junit;
mod libtest;
mod pool;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use junit::{End, Outcome, Suites};

use crate::board::Board;
use crate::cases::{self, Case};
use crate::failure::unusable;
use crate::setup::Extra;
use crate::{build, setup};

#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Only tests on the host
    #[arg(long)]
    pub(crate) host: bool,
    /// Only guests in QEMU
    #[arg(long)]
    pub(crate) qemu: bool,
    /// Only cases of this board
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// Compile the firmware in seconds, larger and slower
    #[arg(long)]
    pub(crate) fast: bool,
    /// Also what takes hours; fetches what that needs (the kernel's self-tests)
    #[arg(long)]
    pub(crate) long: bool,
    /// Only list the cases
    #[arg(long)]
    pub(crate) list: bool,
    /// How many machines run at once
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) jobs: usize,
    /// Run what failed in QEMU once more, alone, and name what passes then
    #[arg(long, conflicts_with = "list")]
    pub(crate) retry: bool,
    /// Also write the results to FILE, as JUnit's XML
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub(crate) junit: Option<PathBuf>,
    /// Only tests whose name contains this
    pub(crate) filter: Option<String>,
}

/// What came of the tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// The cases in QEMU that failed, and failed once more if they ran again.
    pub(crate) failures: Vec<String>,
    /// Those of `passed` that failed first.
    pub(crate) flaky: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
        self.flaky.extend(other.flaky);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (names, what) in [(&self.failures, "failed"), (&self.flaky, "failed first and passed alone")] {
            if !names.is_empty() {
                writeln!(f, "{what}: {}", names.join(", "))?;
            }
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs the command.
///
/// # Errors
/// A test failed, or what the tests need can't be built or set up.
pub(crate) fn run(options: &Options) -> Result<()> {
    let filter = options.filter.as_deref().unwrap_or("");
    if let Some(board) = &options.board {
        Board::read(board).map_err(unusable)?;
    }
    let (host, qemu) = (options.host || !options.qemu, options.qemu || !options.host);
    let host = host && options.board.is_none();
    if options.list {
        for case in cases::all()? {
            println!("{}{}", case.name, if case.long { " (--long)" } else { "" });
        }
        return Ok(());
    }
    let mut tally = Tally::default();
    let mut suites = Suites::default();
    if host {
        setup::ensure(setup::Needs::default())?;
        tally.add(host::run(filter, options.junit.is_some().then_some(&mut suites))?);
    }
    if qemu {
        tally.add(in_qemu(options, filter, &mut suites)?);
    }
    if let Some(path) = &options.junit {
        suites.write(path)?;
    }
    println!("{tally}");
    match tally {
        Tally { failed: 0, passed: 1.., .. } => Ok(()),
        Tally { failed: 0, .. } => bail!("no test was run"),
        Tally { failed, .. } => bail!("{failed} failed"),
    }
}

fn in_qemu(options: &Options, filter: &str, suites: &mut Suites) -> Result<Tally> {
    // A board's case is named for it, and any other is of QEMU's `virt`.
    let is_meant = |case: &Case| match options.board.as_deref() {
        None => true,
        Some("qemu-virt") => !case.name.starts_with("board/"),
        Some(board) => case.name.starts_with(&format!("board/{board}/")),
    };
    let meant = |case: &Case| case.name.contains(filter) && is_meant(case);
    let chosen: Vec<Case> = cases::all()?.into_iter().filter(meant).collect();
    // Who names a board means all that it needs.
    let long = options.long || options.board.as_deref().is_some_and(|board| board != "qemu-virt");
    if chosen.is_empty() {
        return Ok(Tally::default());
    }
    let (mut run, left): (Vec<Case>, Vec<Case>) = chosen.into_iter().partition(|case| long || !case.long);
    let linux = run.iter().any(|case| case.linux);
    setup::ensure(if linux { setup::ALL } else { setup::Needs { qemu: true, guests: &[] } })?;
    fetch_for(&mut run, setup::fetch);
    build::firmware(build::Profile::fast(options.fast))?;
    build::guests(&[])?;
    let logs = logs()?;
    let mut tally = pool::run(&run, options.jobs.max(1), options.retry, &logs, suites);
    for case in &left {
        let end = End::Skipped("--long runs it".to_owned());
        suites.add(pool::SUITE, Outcome { name: case.name.clone(), end, time: Duration::ZERO });
        println!("{} ... not run (--long runs it)", case.name);
    }
    tally.skipped += left.len();
    Ok(tally)
}

/// Fetches what cases want beside Debian. What can't be had fails those that want it, and the others run.
fn fetch_for(cases: &mut [Case], fetch: impl Fn(Extra) -> Result<()>) {
    for extra in Extra::ALL {
        let mut wanting = cases.iter_mut().filter(|case| case.extras.contains(&extra)).peekable();
        if wanting.peek().is_none() {
            continue;
        }
        if let Err(error) = fetch(extra) {
            wanting.for_each(|case| case.fail(format!("{error:#}")));
        }
    }
}

/// Where the consoles of failed cases are kept.
fn logs() -> Result<PathBuf> {
    let folder = build::target()?.join("assay/failed");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::fetch_for;
    use crate::cases::Case;
    use crate::setup::Extra;

    #[test]
    fn what_cannot_be_fetched_fails_those_that_want_it_and_says_why() {
        let case = |name| Case::new(name, || Ok(String::new()));
        let mut cases = [case("a"), case("b").wants(Extra::Trees), case("c").wants(Extra::NextQemu)];
        fetch_for(&mut cases, |extra| if extra == Extra::NextQemu { bail!("no mirror") } else { Ok(()) });
        let ends = cases.map(|case| (case.run)().map_or_else(|error| error.to_string(), |success| success.note));
        assert_eq!(ends, ["", "", "no mirror"]);
    }
}
