//! A hostile VM beside one that works: a checksum and a pulse of 1 kHz.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Machine, Report};

use super::{power_off, vm};
use crate::cases::Case;

/// How late a beat may be beside a siege, in virtual nanoseconds. QEMU with `-icount` runs one CPU at a time, and
/// this is more than one of its turns.
const LATEST_NS: u64 = 100_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("siege/two-seconds-beside-a-victim", || short("")),
        Case::new("siege/two-seconds-beside-a-victim-mte", || short("mte = true\n")),
        Case::new("siege/ten-minutes-beside-a-victim", long).long(),
    ]
}

fn hostile(seconds: u32, seed: u32, lines: &str) -> String {
    let lines = format!("cpus = 2\nwatchdog = true\ncmdline = \"siege={seconds} seed={seed}\"\n{lines}");
    vm("hostile", "hostile", &lines).replace("16M", "64M")
}

fn victim() -> String {
    vm("a", "heartbeat", "cmdline = \"beat sum every=500\"")
}

/// In virtual time, where lateness means something.
fn short(lines: &str) -> Result<String> {
    let text = victim() + &hostile(2, 11, lines);
    let machine = Machine::builder().manifest_text(&text).icount().start()?;
    let (note, latest) = besiege(machine, Duration::from_secs(300))?;
    ensure!(latest < LATEST_NS, "a beat came {latest} ns late: {note}");
    Ok(note)
}

/// In real time: beats are late by what else this computer does, and none may be lost.
fn long() -> Result<String> {
    let text = victim() + &hostile(600, 23, "");
    let machine = Machine::builder().manifest_text(&text).start()?;
    Ok(besiege(machine, Duration::from_secs(1200))?.0)
}

/// Waits for the siege's end; returns what the victim says of it, and its latest beat in nanoseconds.
fn besiege(mut machine: Machine, limit: Duration) -> Result<(String, u64)> {
    machine.expect_event("the siege's end", limit, |event| {
        event.is_vm("hostile", "stopped") || event.is_vm("hostile", "crashed")
    })?;
    let report = Report::parse(&machine.output("hostile"));
    let counts = report.check().map_err(anyhow::Error::msg)?;
    ensure!(counts.passed == 1, "the siege did not take place");
    power_off(&mut machine)?;
    let output = machine.output("a");
    let last = output.lines().rfind(|line| line.contains("rounds="));
    let last = last.context("the victim says nothing")?;
    let value = |key: &str| -> Result<u64> {
        let found = last.split_whitespace().find_map(|word| word.strip_prefix(key));
        found.and_then(|value| value.parse().ok()).with_context(|| format!("no {key} in {last}"))
    };
    ensure!(value("rounds=")? > 0, "the victim did not work: {last}");
    ensure!(value("wrong=")? == 0, "a sum is wrong: {last}");
    ensure!(value("lost=")? == 0, "beats are lost: {last}");
    let steps = machine.output("hostile");
    let steps = steps.lines().find(|line| line.ends_with(" steps"));
    let note = format!("{}; {last}", steps.unwrap_or("?"));
    Ok((note, value("late_ns=")?))
}
