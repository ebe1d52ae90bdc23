//! What scripts and users rely on: the example manifests, the console's lines, the commands' exit status.

mod sockets;

use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Machine, cache, programs};

use super::Case;
use crate::build;

const LIMIT: Duration = Duration::from_secs(120);
/// `run` writes one bundle, `target/assay/bundle.cpio`: no case may write another while it is looked at.
static BUNDLE: Mutex<()> = Mutex::new(());

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("contract/two-vms-run-side-by-side", two_vms),
        Case::new("contract/every-mapping-has-its-decision-line", decisions),
        Case::new("contract/run-hello-exits-with-0", || {
            let _alone = BUNDLE.lock().unwrap_or_else(PoisonError::into_inner);
            let output = xtask(&["run", "--guest", "hello"])?;
            ensure!(output.status.code() == Some(0), "{}", told(&output));
            ensure!(told(&output).contains("[hello] "), "no prefix where a script drives:\n{}", told(&output));
            Ok(String::new())
        }),
        Case::new("contract/run-has-a-socket-and-a-file-for-each-vm", sockets::both),
        Case::new("contract/run-of-a-refused-vm-exits-with-1", || {
            let _alone = BUNDLE.lock().unwrap_or_else(PoisonError::into_inner);
            let output = xtask(&["run", "--guest", "hello", "--", "-m", "64M"])?;
            ensure!(output.status.code() == Some(1), "{}", told(&output));
            Ok(String::new())
        }),
        Case::new("contract/unusable-input-exits-with-2", unusable_input),
        Case::new("contract/run-print-gives-a-line-that-boots", || {
            let _alone = BUNDLE.lock().unwrap_or_else(PoisonError::into_inner);
            let output = xtask(&["run", "--guest", "hello", "--print"])?;
            ensure!(output.status.success(), "{}", told(&output));
            let line = String::from_utf8(output.stdout)?;
            let output = Command::new("timeout").args(["60", "sh", "-c", &line]).stdin(Stdio::null()).output()?;
            ensure!(told(&output).contains("Hello from EL1"), "{line}{}", told(&output));
            Ok(String::new())
        }),
        Case::new("contract/the-harness-example-runs", || {
            let mut command = build::cargo();
            command.args(["run", "--quiet", "--package", "assay-harness", "--example", "own_guest", "--"]);
            let output = command.arg(programs::path("hello")?).current_dir(cache::repository()?).output()?;
            ensure!(output.status.success(), "{}", told(&output));
            Ok(String::new())
        }),
    ]
}

fn two_vms() -> Result<String> {
    let path = cache::repository()?.join("guests/manifests/two.toml");
    let mut machine = Machine::builder().manifest(path).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let hint = events.iter().find(|event| event.kind == "hint").context("nobody says who has the input")?;
    ensure!(hint.get("input") == Some("hello") && hint.get("key") == Some("Ctrl-]"), "{hint}");
    machine.finish(LIMIT)?;
    Ok(String::new())
}

fn decisions() -> Result<String> {
    let path = cache::repository()?.join("guests/manifests/hello.toml");
    let mut machine = Machine::builder().manifest(path).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let event = events.iter().find(|event| event.kind == "decision").context("no decision line")?;
    for key in ["vm", "region", "use", "ipa", "size", "attr", "exec", "mte", "rule", "proof"] {
        ensure!(event.get(key).is_some(), "no {key} in: {event}");
    }
    ensure!(event.get("attr") == Some("normal-wb"), "RAM is not Normal WB: {event}");
    ensure!(!events.iter().any(|event| event.kind == "hint"), "a hint about the only VM's input");
    // What `explain --cpu LOG` reads.
    let cpu = events.iter().find(|event| event.kind == "cpu").context("no cpu line")?;
    let has = |key| cpu.get(key).is_some_and(|value| value.starts_with("0x"));
    ensure!(has("ID_AA64PFR1_EL1") && has("ID_AA64MMFR2_EL1") && cpu.get("count") == Some("1"), "{cpu}");
    machine.finish(LIMIT)?;
    Ok(String::new())
}

fn unusable_input() -> Result<String> {
    let _alone = BUNDLE.lock().unwrap_or_else(PoisonError::into_inner);
    for words in [
        &["run", "--guest", "nobody"] as &[&str],
        &["run", "--manifest", "nowhere.toml"],
        &["run", "--manifest", "nowhere.toml", "--cpus", "2"],
        &["run", "--guest", "hello", "--memory", "lots"],
        &["run", "--guest", "hello", "--platform", "toaster"],
        &["run", "--kernel", "nowhere.img"],
        &["run", "--frobnicate"],
        &["run", "--guest", "hello", "--mte", "on", "--cpu", "cortex-a72"],
        &["run", "--guest", "hello", "--cpu", "z80"],
        &["run", "--guest", "hello", "--cpus", "9", "--gic", "2"],
        &["run", "--guest", "hello", "--", "-frobnicate"],
        &["run", "--guest", "hello", "--memory", "4K"],
        &["run", "--kernel", "/bin/sh"],
    ] {
        let output = xtask(words)?;
        ensure!(output.status.code() == Some(2), "{words:?}: {}", told(&output));
        ensure!(!output.stderr.is_empty(), "{words:?} says nothing on stderr");
    }
    Ok(String::new())
}

/// This program again, as a script runs it.
pub(super) fn xtask(words: &[&str]) -> Result<Output> {
    let program = crate::build::this_program()?;
    Command::new(program).args(words).stdin(Stdio::null()).output().context("can't run this program")
}

/// All that it said.
pub(super) fn told(output: &Output) -> String {
    format!("{}: {}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use assay_harness::cache;
    use assay_harness::manifest::Manifest;

    /// All documents of the work tree.
    fn documents() -> Vec<PathBuf> {
        let top = cache::repository().unwrap();
        let mut folders: Vec<PathBuf> =
            ["docs", "guests", "hypervisor", "platforms", "tools", "boot", "linker"].map(|name| top.join(name)).into();
        let mut files = vec![top.join("README.md"), top.join("CONTRIBUTING.md")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() && !entry.ends_with("target") {
                    folders.push(entry);
                } else if entry.extension().is_some_and(|extension| extension == "md") {
                    files.push(entry);
                }
            }
        }
        files
    }

    #[test]
    fn every_qemu_line_of_the_documents_says_that_there_is_no_network_card() {
        let mut count = 0;
        for file in documents() {
            let text = std::fs::read_to_string(&file).unwrap().replace("\\\n", " ");
            for line in text.lines().filter(|line| line.contains("qemu-system-aarch64 -")) {
                assert!(line.contains("-nic none"), "{}: {line}", file.display());
                count += 1;
            }
        }
        assert!(count > 2, "{count} lines");
    }

    /// "What was seen" is what a case shows: those that documents name are there, and each board is in the table.
    #[test]
    fn every_case_that_a_document_names_is_there_and_every_board_has_a_row() {
        let cases = crate::cases::all().unwrap();
        let mut count = 0;
        for file in documents() {
            let text = std::fs::read_to_string(&file).unwrap();
            for name in text.split('`').filter(|name| name.starts_with("boots/") || name.starts_with("board/")) {
                let is_there = match name.strip_suffix('…') {
                    Some(start) => cases.iter().any(|case| case.name.starts_with(start)),
                    None => cases.iter().any(|case| case.name == name),
                };
                assert!(is_there, "{}: no case {name}", file.display());
                count += 1;
            }
        }
        assert!(count > 20, "{count} names");
        let table = std::fs::read_to_string(cache::repository().unwrap().join("docs/porting.md")).unwrap();
        for name in crate::board::all().unwrap().iter().filter(|name| *name != "qemu-virt") {
            assert!(
                table.contains(&format!("\n| `{name}` (")) && table.contains(&format!("`--board {name}`")),
                "{name}"
            );
        }
    }

    #[test]
    fn every_example_manifest_is_readable() {
        let folder = cache::repository().unwrap().join("guests/manifests");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            Manifest::read(&file).unwrap();
        }
    }
}
