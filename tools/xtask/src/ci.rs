//! `ci`: everything that a change must pass. Each step is a command that a person can run alone.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use assay_harness::{cache, programs};

use crate::{floors, setup, size, test};

/// Property tests under Miri run a few cases only: each is hundreds of times slower there.
const MIRI_PROPTEST_CASES: &str = "4";

/// One step: what it is called, and the command.
struct Step {
    name: &'static str,
    words: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    folder: &'static str,
}

const fn step(name: &'static str, words: &'static [&'static str]) -> Step {
    Step { name, words, variables: &[], folder: "." }
}

const CHECKS: &[Step] = &[
    step("formatting", &["fmt", "--all", "--check"]),
    Step { folder: "guests", ..step("formatting of the guests", &["fmt", "--all", "--check"]) },
    step("lints on the host", &["clippy", "--all-targets", "--", "-D", "warnings"]),
    step(
        "lints of the firmware",
        &[
            "clippy",
            "--release",
            "-p",
            "assay",
            "-p",
            "assay-el2",
            "-p",
            "assay-monitor",
            "--target",
            programs::TARGET,
            "--",
            "-D",
            "warnings",
        ],
    ),
    Step {
        folder: "guests",
        ..step("lints of the guests", &["clippy", "--release", "--target", programs::TARGET, "--", "-D", "warnings"])
    },
    Step { folder: "guests/linux", ..step("formatting of the Linux programs", &["fmt", "--all", "--check"]) },
    Step { folder: "guests/linux", ..step("lints of the Linux programs", &["clippy", "--", "-D", "warnings"]) },
    Step {
        variables: &[("RUSTDOCFLAGS", "-D warnings")],
        ..step("documentation", &["doc", "--no-deps", "--document-private-items"])
    },
];

/// Miri takes hours for all tests of `model` and `plan`: exhaustive sweeps and megabytes of memory are what it is slow at.
/// These are the modules that it gets through, and the rest is said not to be run.
const MIRI: Step = Step {
    variables: &[("PROPTEST_CASES", MIRI_PROPTEST_CASES), ("MIRIFLAGS", "-Zmiri-disable-isolation")],
    ..step(
        "Miri on assay-model and assay-plan",
        &[
            "+nightly",
            "miri",
            "test",
            "-p",
            "assay-model",
            "-p",
            "assay-plan",
            "--lib",
            "--",
            "bundle::",
            "gate::tests::nodes",
            "gate::tests::reg",
            "gate::tests::values",
            "gate::tests::children",
            "guest_tree::",
            "kernel::tests::identify",
            "psci::",
            "smccc::",
            "ptimer::",
            "vcpus::",
            "exits::",
            "inject::",
            "vgic::tests::linked",
            "vgic::tests::remote",
            "vm::tests",
            "watchdog::",
        ],
    )
};

/// The whole of `spec`.
const MIRI_SPEC: Step = Step {
    variables: &[("PROPTEST_CASES", "2"), ("MIRIFLAGS", "-Zmiri-disable-isolation")],
    ..step("Miri on assay-spec", &["+nightly", "miri", "test", "-p", "assay-spec", "--lib"])
};

/// Runs all steps and says at the end what failed and what was not run.
///
/// # Errors
/// A step failed.
pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::ALL)?;
    let mut failed = Vec::new();
    let mut not_run = Vec::new();
    let mut note = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            println!("{name} ... FAILED: {error:#}");
            failed.push(name);
        }
    };
    for step in CHECKS {
        note(step.name, cargo(step));
    }
    note("floors", timed("floors", || floors::run(floors::Options::default())));
    if has_miri() {
        note(MIRI_SPEC.name, cargo(&MIRI_SPEC));
        note(MIRI.name, cargo(&MIRI));
        not_run.push("Miri on the other modules of assay-model and assay-plan");
    } else {
        println!(
            "Miri ... not run: no nightly toolchain with the component miri (rustup +nightly component add miri rust-src)"
        );
        not_run.push(MIRI.name);
    }
    note("sizes", timed("sizes", || size::run(size::Options::default())));
    note("tests", timed("tests", || test::run(&test::Options { jobs: 2, retry: true, ..test::Options::default() })));
    if !not_run.is_empty() {
        println!("not run: {}", not_run.join(", "));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("all steps passed");
    Ok(())
}

fn timed(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    println!("== {name}");
    work()?;
    println!("== {name} ... ok ({:.0} s)", start.elapsed().as_secs_f32());
    Ok(())
}

fn cargo(step: &Step) -> Result<()> {
    let folder = cache::repository()?.join(step.folder);
    // Through rustup's cargo, not the one that runs this program: `+nightly` is rustup's.
    let mut command = Command::new("cargo");
    command.args(step.words).envs(step.variables.iter().copied()).env_remove("RUSTUP_TOOLCHAIN").current_dir(&folder);
    if let (Some(target), "guests") = (std::env::var_os("CARGO_TARGET_DIR"), step.folder) {
        command.env("CARGO_TARGET_DIR", std::path::absolute(std::path::Path::new(&target).join("guests"))?);
    }
    let line = step.words.join(" ");
    timed(step.name, || {
        println!("   cargo {line}");
        let status = command.status().context("can't run cargo")?;
        if status.success() { Ok(()) } else { bail!("`cargo {line}` in {}", folder.display()) }
    })
}

/// Whether Miri can run. Nothing is installed for it but the component, and only into a nightly that is there.
fn has_miri() -> bool {
    let works = |words: &[&str]| {
        Command::new("cargo")
            .args(words)
            .env_remove("RUSTUP_TOOLCHAIN")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if works(&["+nightly", "miri", "--version"]) {
        return true;
    }
    let nightly = Command::new("rustup").args(["toolchain", "list"]).output();
    if !nightly.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nightly")) {
        return false;
    }
    let added =
        Command::new("rustup").args(["component", "add", "miri", "rust-src", "--toolchain", "nightly"]).status();
    added.is_ok_and(|status| status.success()) && works(&["+nightly", "miri", "--version"])
}
