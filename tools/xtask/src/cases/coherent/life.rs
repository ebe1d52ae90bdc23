//! A region through resets: data and tags are gone each time.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Machine, Report};

use super::facts::{Facts, MARKED, UNMARKED};
use super::{LIMIT, RAM, vm};
use crate::cases::Case;

/// How often each VM resets.
const TIMES: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("coherent/resets-find-data-and-tags-clear", || {
            resets("tags", &MARKED, true, "ram", "wb-tagged exec=yes", "")
        }),
        Case::new("coherent/resets-find-a-dax-region-clear", || {
            resets("dax", &MARKED, true, "dax", "wb-tagged exec=no", "")
        }),
        Case::new("coherent/resets-find-untagged-memory-clear", || {
            let allow = "allow = [\"mte-hidden\"]";
            resets("plain", &UNMARKED, false, "ram", "wb-untagged exec=yes", allow)
        }),
    ]
}

fn resets(name: &str, facts: &Facts, mte: bool, use_: &str, sees: &str, claim: &str) -> Result<String> {
    let lines = format!("mte = {mte}\ncmdline = \"reset use={use_} expect={sees}\"");
    let text = format!(
        "platform = [{:?}]\n{}",
        facts.file(&format!("reset-{name}"))?,
        vm("look", &lines, &format!("use = \"{use_}\"\n{claim}"))
    );
    let builder = Machine::builder().manifest_text(&text);
    let mut machine = builder.physical_memory(RAM).machine_mte(true).start()?;
    for time in 1..=TIMES {
        machine.expect("look", "coherent: again", LIMIT).with_context(|| format!("reset {time}"))?;
    }
    // It listens for a short while at each boot only.
    for _ in 0..1000 {
        if machine.ended() {
            break;
        }
        let _ = machine.send("look", "q");
        std::thread::sleep(Duration::from_millis(20));
    }
    machine.wait(LIMIT)?;
    let report = Report::parse(&machine.output("look"));
    let counts = report.check().map_err(anyhow::Error::msg)?;
    let restarts = machine.events().iter().filter(|event| event.is_vm("look", "restarted")).count();
    ensure!(restarts >= TIMES, "{restarts} restarts, not {TIMES}");
    machine.finish(LIMIT)?;
    Ok(format!("{restarts} resets, {} results", counts.passed))
}
