//! The operator's side: the monitor and the life cycle.

mod life;
mod monitor;
mod offline;
mod siege;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use assay_harness::events::Event;
use assay_harness::{Builder, Machine};

use super::Case;

const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = monitor::cases();
    cases.extend(life::cases());
    cases.extend(siege::cases());
    cases.extend(offline::cases());
    cases
}

fn vm(name: &str, program: &str, lines: &str) -> String {
    format!("[[vm]]\nname = \"{name}\"\nmemory = \"16M\"\nkernel = \"{program}\"\n{lines}\n")
}

/// A heartbeat `a`, and `b`, which spins.
fn pair() -> Builder {
    let a = vm("a", "heartbeat", "cmdline = \"beat\"");
    let b = vm("b", "crash", "cmdline = \"crash=spin\"");
    Machine::builder().manifest_text(&(a + &b))
}

fn start(builder: Builder) -> Result<Machine> {
    let mut machine = builder.start()?;
    machine.expect("a", "heartbeat: goes on", LIMIT)?;
    machine.expect("b", "crash: spin", LIMIT)?;
    Ok(machine)
}

/// The value of `key` in the first line of this kind about this VM.
fn value(events: &[Event], kind: &str, vm: &str, key: &str) -> Result<String> {
    let found = events.iter().find(|event| {
        let name = event.get("name").or(event.get("vm"));
        event.kind == kind && name == Some(vm)
    });
    let value = found.and_then(|event| event.get(key));
    Ok(value.with_context(|| format!("no {key} of {vm} in {events:?}"))?.to_owned())
}

fn state(machine: &mut Machine, vm: &str) -> Result<String> {
    value(&machine.monitor("vms")?, "vms", vm, "state")
}

fn wait_for_state(machine: &mut Machine, vm: &str, wanted: &str) -> Result<()> {
    for _ in 0..1000 {
        if state(machine, vm)? == wanted {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("{vm} is never {wanted}")
}

fn power_off(machine: &mut Machine) -> Result<()> {
    machine.send("a", "q")?;
    machine.wait(LIMIT)?;
    Ok(())
}
