//! The monitor: its commands, its keys, and what is shown when.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use assay_harness::events::Event;
use assay_harness::manifest::Manifest;
use assay_harness::{Machine, bundle};

use super::{LIMIT, pair, power_off, start, value, vm, wait_for_state};
use crate::cases::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("monitor/its-commands-answer", answers),
        Case::new("monitor/guests-output-waits-while-it-is-open", waits),
        Case::new("monitor/one-vm-alone-then-all-again", alone),
        Case::new("monitor/a-person-sees-one-vm-without-prefix", raw),
        Case::new("monitor/people-get-tables-and-scripts-get-keys", tables),
        Case::new("monitor/keys-edit-complete-and-recall", keys),
        Case::new("monitor/exits-are-counted-and-recorded", traced),
        Case::new("monitor/open-it-keeps-the-machine-on", stays_on),
        Case::new("monitor/a-guest-that-reads-nothing-does-not-lock-it-out", deaf),
    ]
}

fn answers() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    let vms = machine.monitor("vms")?;
    ensure!(value(&vms, "vms", "a", "state")? == "running", "{vms:?}");
    ensure!(value(&vms, "vms", "b", "lives")? == "1", "{vms:?}");
    let memory = machine.monitor("memory b")?;
    ensure!(value(&memory, "decision", "b", "attr")? == "normal-wb", "{memory:?}");
    ensure!(value(&memory, "memory", "b", "ipa")? == "0x40000000", "{memory:?}");
    ensure!(!memory.iter().any(|event| event.get("vm") == Some("a")), "more than was asked for: {memory:?}");
    let help = machine.monitor("help")?;
    ensure!(help.len() == 11, "{help:?}");
    let help = machine.monitor("help trace")?;
    ensure!(help.len() == 1, "{help:?}");
    for (wrong, word) in [
        ("frobnicate", "no command"),
        ("stop nobody", "no VM"),
        ("start", "write: start NAME"),
        ("start a", "a is running"),
        ("help nothing", "no command"),
    ] {
        let said = machine.monitor(wrong)?;
        let error = said.first().and_then(|event| event.get("error"));
        ensure!(error.is_some_and(|error| error.contains(word)), "{wrong}: {said:?}");
    }
    machine.monitor("stop b")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(String::new())
}

fn waits() -> Result<String> {
    let a = vm("a", "heartbeat", "cmdline = \"beat every=100\"");
    let b = vm("b", "crash", "cmdline = \"crash=spin\"");
    let mut machine = start(Machine::builder().manifest_text(&(a + &b)))?;
    machine.expect("a", "heartbeat: beats=", LIMIT)?;
    machine.open_monitor()?;
    let before = machine.output("a").len();
    std::thread::sleep(Duration::from_secs(1));
    machine.monitor("stop b")?;
    machine.expect_event("b's end", LIMIT, |event| event.is_vm("b", "stopped"))?;
    ensure!(machine.output("a").len() <= before + 2, "a was shown while the monitor was open");
    machine.leave_monitor("quit")?;
    // What it said meanwhile comes now, in order and whole.
    let mut last = 0;
    for _ in 0..8 {
        machine.expect("a", "heartbeat: beats=", LIMIT)?;
        let text = machine.expect("a", " ", LIMIT)?;
        let beats: u64 = text.trim().parse().context("beats")?;
        // It looks at its count a little after each hundred.
        let is_next = last == 0 || (last + 1..last + 200).contains(&beats);
        ensure!(is_next, "{last}, then {beats}");
        last = beats;
    }
    power_off(&mut machine)?;
    Ok(String::new())
}

fn alone() -> Result<String> {
    let beats = |name| vm(name, "heartbeat", "cmdline = \"beat every=50\"");
    let mut machine = Machine::builder().manifest_text(&(beats("a") + &beats("b"))).start()?;
    machine.expect("a", "heartbeat: beats=", LIMIT)?;
    machine.expect("b", "heartbeat: beats=", LIMIT)?;
    machine.open_monitor()?;
    machine.leave_monitor("console b")?;
    machine.expect("b", "heartbeat: beats=", LIMIT)?;
    let before = machine.output("a").len();
    for _ in 0..5 {
        machine.expect("b", "heartbeat: beats=", LIMIT)?;
    }
    ensure!(machine.output("a").len() == before, "a is shown as well as b");
    machine.open_monitor()?;
    machine.leave_monitor("console all")?;
    for _ in 0..5 {
        machine.expect("a", "heartbeat: beats=", LIMIT)?;
    }
    // Each gets what is meant for it.
    machine.send("b", "q")?;
    machine.expect_event("b's end", LIMIT, |event| event.is_vm("b", "stopped"))?;
    machine.send("a", "q")?;
    machine.finish(LIMIT)?;
    Ok(String::new())
}

fn raw() -> Result<String> {
    // The harness always asks for prefixes: a manifest without them is a bundle of its own.
    let beats = |name| vm(name, "heartbeat", "cmdline = \"beat every=50\"");
    let text = beats("a") + &beats("b");
    let manifest = Manifest::parse(&text)?;
    let archive = bundle::build(&manifest, Path::new(""))?;
    let mut machine = Machine::builder().manifest_text(&text).bundle(archive).start()?;
    machine.expect("b", "heartbeat: beats=", LIMIT)?;
    machine.open_monitor()?;
    let from = machine.log().len();
    machine.leave_monitor("console a")?;
    for _ in 0..1000 {
        let log = machine.log();
        let lines: Vec<&str> = log[from..].lines().skip(1).collect();
        let plain = lines.iter().filter(|line| line.starts_with("heartbeat: beats=")).count();
        if plain >= 3 {
            ensure!(!log[from..].contains("[a] ") && !log[from..].contains("[b] "), "a prefix: {lines:?}");
            return Ok(String::new());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("no line without prefix:\n{}", machine.log())
}

/// The same VM with a manifest that says nothing of the console, and with one that says that scripts read it.
fn tables() -> Result<String> {
    let text = vm("a", "heartbeat", "cmdline = \"beat every=50\"");
    let start = |console: &str| -> Result<Machine> {
        let archive = bundle::build(&Manifest::parse(&format!("{console}{text}"))?, Path::new(""))?;
        let mut machine = Machine::builder().manifest_text(&text).bundle(archive).start()?;
        machine.expect_event("its start", LIMIT, |event| event.is_vm("a", "started"))?;
        machine.open_monitor()?;
        Ok(machine)
    };
    let mut machine = start("")?;
    machine.monitor("vms")?;
    machine.monitor("stats")?;
    let log = machine.log();
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    for (head, row) in [
        ("assay: NAME             STATE ", "assay: a                running "),
        ("assay: VM               VCPU CPU ", "assay: a                0    0 "),
    ] {
        let place = lines.iter().position(|line| line.starts_with(head));
        let below = place.and_then(|place| lines.get(place + 1));
        ensure!(below.is_some_and(|line| line.starts_with(row)), "{head:?}: {log}");
    }
    let mut machine = start("console = \"keys\"\n")?;
    let vms = machine.monitor("vms")?;
    ensure!(value(&vms, "vms", "a", "state")? == "running", "{vms:?}");
    ensure!(!machine.log().contains("[a] "), "a prefix nobody asked for: {}", machine.log());
    Ok(String::new())
}

fn keys() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    // Wrong, corrected by ^A, delete and the end; then the same again from the history.
    let from = machine.events().len();
    machine.send_keys("xvm\x01\x1b[3~\x05s\r")?;
    let vms = |machine: &mut Machine| {
        machine.expect_event("the VMs", LIMIT, |event| event.kind == "vms" && event.get("name") == Some("b"))
    };
    vms(&mut machine).with_context(|| format!("{:?}", &machine.events()[from..]))?;
    machine.send_keys("\x1b[A\r")?;
    vms(&mut machine).context("from the history")?;
    // Completed: a command, an ambiguous one, a VM.
    machine.send_keys("he\t\r")?;
    machine.expect_event("help", LIMIT, |event| event.kind == "help")?;
    machine.send_keys("st\t\x15")?;
    let words = machine.expect_event("words", LIMIT, |event| event.get("words").is_some())?;
    ensure!(words.get("words") == Some("start stop stats"), "{words}");
    machine.send_keys("stop b\t\r")?;
    machine.expect_event("b's end", LIMIT, |event| event.is_vm("b", "stopped"))?;
    machine.send_keys("\x1d")?;
    power_off(&mut machine)?;
    Ok(String::new())
}

fn traced() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    let stats = machine.monitor("stats a")?;
    let timer: u64 = value(&stats, "stats", "a", "timer")?.parse()?;
    ensure!(timer >= 50, "{stats:?}");
    ensure!(value(&stats, "stats", "a", "vcpu")? == "0" && stats.len() == 1, "{stats:?}");
    let none = machine.monitor("trace a show")?;
    ensure!(none.is_empty(), "a record of what was not recorded: {none:?}");
    machine.monitor("trace a on")?;
    std::thread::sleep(Duration::from_millis(300));
    machine.monitor("trace a off")?;
    let exits = machine.monitor("trace a show")?;
    ensure!(exits.len() == 64, "{} exits", exits.len());
    for event in &exits {
        ensure!(event.kind == "trace" && event.get("vm") == Some("a"), "{event}");
    }
    // Its beats are interrupts, and it looks at its UART at each.
    for kind in ["irq", "dabt"] {
        let count = exits.iter().filter(|event| event.get("exit") == Some(kind)).count();
        ensure!(count > 10, "{count} of {kind}: {exits:?}");
    }
    // The guest's virtual timer is PPI 11 of `virt`.
    let beats = exits.iter().filter(|event| event.get("source") == Some("timer") && event.get("intid") == Some("27"));
    ensure!(beats.count() > 10, "{exits:?}");
    let ticks = |event: &Event| event.get("ticks").and_then(|ticks| ticks.parse::<u64>().ok());
    ensure!(exits.is_sorted_by_key(ticks), "not in order: {exits:?}");
    let later: u64 = value(&machine.monitor("stats a")?, "stats", "a", "timer")?.parse()?;
    ensure!(later > timer, "{timer}, then {later}");
    machine.monitor("stop b")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(String::new())
}

fn stays_on() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    machine.monitor("stop a")?;
    machine.monitor("stop b")?;
    wait_for_state(&mut machine, "a", "stopped")?;
    wait_for_state(&mut machine, "b", "stopped")?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(!machine.ended(), "off although somebody is at the monitor");
    machine.monitor("start b")?;
    machine.expect_event("b's start", LIMIT, |event| event.is_vm("b", "started"))?;
    machine.monitor("stop b")?;
    wait_for_state(&mut machine, "b", "stopped")?;
    machine.leave_monitor("quit")?;
    machine.finish(LIMIT)?;
    Ok(String::new())
}

fn deaf() -> Result<String> {
    let b = vm("b", "crash", "cmdline = \"crash=spin\"");
    let mut machine = Machine::builder().manifest_text(&b).start()?;
    machine.expect("b", "crash: spin", LIMIT)?;
    // More than its UART keeps, and it reads none of it.
    machine.send("b", &"x".repeat(4096))?;
    machine.open_monitor()?;
    machine.monitor("stop b")?;
    machine.expect_event("b's end", LIMIT, |event| event.is_vm("b", "stopped"))?;
    machine.leave_monitor("quit")?;
    machine.wait(LIMIT)?;
    Ok(String::new())
}
