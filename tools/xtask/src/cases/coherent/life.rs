//! A region through resets: data and tags are gone each time.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use assay_harness::{Event, Machine, Report};

use super::facts::{Facts, MARKED, UNMARKED};
use super::{LIMIT, RAM, REGION, vm};
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
        Case::new("coherent/all-cpus-clear", || clearers("own", "", 4)),
        Case::new("coherent/all-shared-cpus-clear", || clearers("shared", "sched = \"shared\"\n", 2)),
    ]
}

/// The VM's `vcpus` CPUs clear the region together, at the first start and at each restart.
fn clearers(name: &str, lines: &str, vcpus: usize) -> Result<String> {
    let text = format!(
        "platform = [{:?}]\n[[vm]]\nname = \"look\"\ncpus = {vcpus}\nmemory = \"16M\"\nkernel = \"crash\"\n\
         cmdline = \"crash=spin\"\nmte = true\n{lines}[[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"ram\"\n",
        MARKED.file(&format!("clear-{name}"))?
    );
    let mut machine = Machine::builder().manifest_text(&text).physical_memory(RAM).machine_mte(true).start()?;
    machine.expect("look", "crash: spin", LIMIT)?;
    machine.open_monitor()?;
    for lives in 2..5 {
        machine.monitor("restart look")?;
        until(&mut machine, lives)?;
    }
    let stats = machine.monitor("stats look")?;
    let cleared = |event: &Event| event.get("cleared_mib").and_then(|mib| mib.parse::<u64>().ok());
    let cleared: Vec<u64> = stats.iter().filter_map(cleared).collect();
    ensure!(cleared.len() == vcpus && cleared.iter().all(|mib| *mib != 0), "somebody has cleared nothing: {cleared:?}");
    // Each count is rounded down.
    let sum: u64 = cleared.iter().sum();
    ensure!((4 * 128 - 4..=4 * 128).contains(&sum), "{sum} MiB were cleared: {cleared:?}");
    machine.monitor("stop look")?;
    machine.leave_monitor("quit")?;
    machine.wait(LIMIT)?;
    Ok(format!("{cleared:?} MiB"))
}

/// Waits until VM `look` runs its life number `lives`.
pub(super) fn until(machine: &mut Machine, lives: u64) -> Result<()> {
    for _ in 0..1000 {
        let vms = machine.monitor("vms")?;
        let is_it =
            |event: &Event| event.get("name") == Some("look") && event.get("lives") == Some(&*lives.to_string());
        if vms.iter().any(is_it) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("life {lives} does not begin: {}", machine.log())
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
