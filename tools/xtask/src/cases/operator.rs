//! The operator's side: the monitor, consoles, stop, start and restart, and what a neighbour notices of them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use assay_harness::events::Event;
use assay_harness::{Builder, Machine};

use super::Case;

const LIMIT: Duration = Duration::from_secs(120);
/// The latest beat of a 1 kHz heartbeat beside a VM that begins life after life, in virtual nanoseconds.
///
/// It is looked at where nothing is typed meanwhile: QEMU with `-icount` runs one CPU at a time, and after an input
/// it may run one that spins for 100 ms of virtual time while another has an interrupt pending.
const LATEST_NS: u64 = 20_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("monitor/its-commands-answer", answers),
        Case::new("monitor/guests-output-waits-while-it-is-open", waits),
        Case::new("monitor/one-vm-alone-then-all-again", alone),
        Case::new("monitor/a-person-sees-one-vm-without-prefix", raw),
        Case::new("monitor/keys-edit-complete-and-recall", keys),
        Case::new("monitor/exits-are-counted-and-recorded", traced),
        Case::new("monitor/open-it-keeps-the-machine-on", stays_on),
        Case::new(
            "monitor/a-guest-that-reads-nothing-does-not-lock-it-out",
            deaf,
        ),
        Case::new("life/stop-start-restart-from-every-state", orders),
        Case::new("life/crashes-in-a-row-wait-longer", backoff),
        Case::new("life/max-restarts-is-the-end", given_up),
        Case::new("life/twenty-restarts-leave-memory-as-it-was", || {
            restarts(20)
        }),
        Case::new("life/a-thousand-restarts-leave-memory-as-it-was", || {
            restarts(1000)
        })
        .long(),
        Case::new("life/twenty-resets-beside-a-heartbeat", || resets(20)),
        Case::new("life/a-thousand-resets-beside-a-heartbeat", || resets(1000)).long(),
    ]
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
    Ok(value
        .with_context(|| format!("no {key} of {vm} in {events:?}"))?
        .to_owned())
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

fn answers() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    let vms = machine.monitor("vms")?;
    ensure!(value(&vms, "vms", "a", "state")? == "running", "{vms:?}");
    ensure!(value(&vms, "vms", "b", "lives")? == "1", "{vms:?}");
    let memory = machine.monitor("memory b")?;
    ensure!(
        value(&memory, "decision", "b", "attr")? == "normal-wb",
        "{memory:?}"
    );
    ensure!(
        value(&memory, "memory", "b", "ipa")? == "0x40000000",
        "{memory:?}"
    );
    ensure!(
        !memory.iter().any(|event| event.get("vm") == Some("a")),
        "more than was asked for: {memory:?}"
    );
    let help = machine.monitor("help")?;
    ensure!(help.len() == 10, "{help:?}");
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
        ensure!(
            error.is_some_and(|error| error.contains(word)),
            "{wrong}: {said:?}"
        );
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
    ensure!(
        machine.output("a").len() <= before + 2,
        "a was shown while the monitor was open"
    );
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
    let mut machine = Machine::builder()
        .manifest_text(&(beats("a") + &beats("b")))
        .start()?;
    machine.expect("a", "heartbeat: beats=", LIMIT)?;
    machine.expect("b", "heartbeat: beats=", LIMIT)?;
    machine.open_monitor()?;
    machine.leave_monitor("console b")?;
    machine.expect("b", "heartbeat: beats=", LIMIT)?;
    let before = machine.output("a").len();
    for _ in 0..5 {
        machine.expect("b", "heartbeat: beats=", LIMIT)?;
    }
    ensure!(
        machine.output("a").len() == before,
        "a is shown as well as b"
    );
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
    let manifest = assay_harness::manifest::Manifest::parse(&text)?;
    let archive = assay_harness::bundle::build(&manifest, std::path::Path::new(""))?;
    let mut machine = Machine::builder()
        .manifest_text(&text)
        .bundle(archive)
        .start()?;
    machine.expect("b", "heartbeat: beats=", LIMIT)?;
    machine.open_monitor()?;
    let from = machine.log().len();
    machine.leave_monitor("console a")?;
    for _ in 0..1000 {
        let log = machine.log();
        let lines: Vec<&str> = log[from..].lines().skip(1).collect();
        let plain = lines
            .iter()
            .filter(|line| line.starts_with("heartbeat: beats="))
            .count();
        if plain >= 3 {
            ensure!(
                !log[from..].contains("[a] ") && !log[from..].contains("[b] "),
                "a prefix: {lines:?}"
            );
            return Ok(String::new());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("no line without prefix:\n{}", machine.log())
}

fn keys() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    // Wrong, corrected by ^A, delete and the end; then the same again from the history.
    let from = machine.events().len();
    machine.send_keys("xvm\x01\x1b[3~\x05s\r")?;
    let vms = |machine: &mut Machine| {
        machine.expect_event("the VMs", LIMIT, |event| {
            event.kind == "vms" && event.get("name") == Some("b")
        })
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
    ensure!(
        value(&stats, "stats", "a", "vcpu")? == "0" && stats.len() == 1,
        "{stats:?}"
    );
    let none = machine.monitor("trace a show")?;
    ensure!(
        none.is_empty(),
        "a record of what was not recorded: {none:?}"
    );
    machine.monitor("trace a on")?;
    std::thread::sleep(Duration::from_millis(300));
    machine.monitor("trace a off")?;
    let exits = machine.monitor("trace a show")?;
    ensure!(exits.len() == 64, "{} exits", exits.len());
    for event in &exits {
        ensure!(
            event.kind == "trace" && event.get("vm") == Some("a"),
            "{event}"
        );
    }
    // Its beats are interrupts, and it looks at its UART at each.
    for kind in ["irq", "dabt"] {
        let count = exits
            .iter()
            .filter(|event| event.get("exit") == Some(kind))
            .count();
        ensure!(count > 10, "{count} of {kind}: {exits:?}");
    }
    let ticks = |event: &Event| {
        event
            .get("ticks")
            .and_then(|ticks| ticks.parse::<u64>().ok())
    };
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

fn orders() -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    let is = |event: &Event, what| event.is_vm("b", what) && event.get("cause") != Some("off");
    // Running: stop, start.
    machine.monitor("stop b")?;
    machine.expect_event("a stop", LIMIT, |event| is(event, "stopped"))?;
    wait_for_state(&mut machine, "b", "stopped")?;
    machine.monitor("start b")?;
    machine.expect_event("a start", LIMIT, |event| is(event, "started"))?;
    // Running: restart. Then the next orders come while it is stopping or being loaded.
    machine.monitor("restart b")?;
    machine.expect_event("a restart", LIMIT, |event| is(event, "restarted"))?;
    for _ in 0..20 {
        machine.send_keys("restart b\rrestart b\rstop b\rstart b\r")?;
        machine.monitor("restart b")?;
    }
    machine.monitor("stop b")?;
    wait_for_state(&mut machine, "b", "stopped")?;
    // Stopped: a restart is a start.
    machine.monitor("restart b")?;
    wait_for_state(&mut machine, "b", "running")?;
    let lives: u64 = value(&machine.monitor("vms")?, "vms", "b", "lives")?.parse()?;
    machine.monitor("stop b")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(format!("{lives} lives"))
}

/// Crashes at once, whenever it is started.
fn looping(lines: &str) -> Builder {
    let a = vm("a", "heartbeat", "cmdline = \"beat\"");
    let b = vm(
        "b",
        "crash",
        &format!("cmdline = \"crash=jump\"\non-crash = \"restart\"\n{lines}"),
    );
    Machine::builder().manifest_text(&(a + &b))
}

fn backoff() -> Result<String> {
    let mut machine = looping("").icount().start()?;
    for ms in ["100", "200", "400", "800", "1600"] {
        let waiting = machine.expect_event("a wait", LIMIT, |event| event.is_vm("b", "waiting"))?;
        ensure!(waiting.get("ms") == Some(ms), "not {ms} ms: {waiting}");
        machine.expect_event("a restart", LIMIT, |event| event.is_vm("b", "restarted"))?;
    }
    // A wait can be ended, either way.
    machine.expect_event("a wait", LIMIT, |event| event.is_vm("b", "waiting"))?;
    machine.open_monitor()?;
    machine.monitor("start b")?;
    machine.expect_event("a crash", LIMIT, |event| event.is_vm("b", "crashed"))?;
    machine.monitor("stop b")?;
    wait_for_state(&mut machine, "b", "stopped")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(String::new())
}

fn given_up() -> Result<String> {
    let mut machine = looping("max-restarts = 2").start()?;
    machine.expect_event("the end", LIMIT, |event| {
        event.kind == "error" && event.get("vm") == Some("b") && event.get("remedy").is_some()
    })?;
    power_off(&mut machine)?;
    let restarts = machine
        .events()
        .iter()
        .filter(|event| event.is_vm("b", "restarted"))
        .count();
    ensure!(restarts == 2, "{restarts} restarts");
    Ok(String::new())
}

/// The heartbeat's latest beat, in virtual nanoseconds, by its next report.
fn late(machine: &mut Machine) -> Result<u64> {
    machine.expect("a", "late_ns=", LIMIT)?;
    let text = machine.expect("a", " ", LIMIT)?;
    text.trim().parse().context("late_ns")
}

/// What is free: the whole line.
fn free(machine: &mut Machine) -> Result<String> {
    let events = machine.monitor("memory")?;
    let line = events
        .iter()
        .find(|event| event.get("frames_free").is_some());
    Ok(line.context("no line of what is free")?.to_string())
}

/// By the operator, every other time while it is being loaded.
fn restarts(times: u64) -> Result<String> {
    let mut machine = start(pair())?;
    machine.open_monitor()?;
    let before = free(&mut machine)?;
    for time in 1..=times {
        machine.monitor("restart b")?;
        machine
            .expect_event("a restart", LIMIT, |event| event.is_vm("b", "restarted"))
            .with_context(|| format!("restart {time}"))?;
        if time % 2 == 0 {
            wait_for_state(&mut machine, "b", "running")?;
        }
    }
    let after = free(&mut machine)?;
    ensure!(before == after, "before: {before}; after: {after}");
    machine.monitor("stop b")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(format!("{times} restarts, {after}"))
}

/// By the guest itself, beside a heartbeat that nobody disturbs.
fn resets(times: usize) -> Result<String> {
    let a = vm("a", "heartbeat", "cmdline = \"beat every=100\"");
    let b = vm("b", "reset", "cmdline = \"reset hasty\"");
    let builder = Machine::builder().manifest_text(&(a + &b)).icount();
    let mut machine = builder.start()?;
    machine.expect("a", "heartbeat: goes on", LIMIT)?;
    machine.open_monitor()?;
    let before = free(&mut machine)?;
    machine.leave_monitor("quit")?;
    machine.send("a", "c")?;
    // Two reports later it has done so.
    late(&mut machine)?;
    late(&mut machine)?;
    for time in 1..=times {
        machine
            .expect_event("a reset", LIMIT, |event| event.is_vm("b", "restarted"))
            .with_context(|| format!("reset {time}"))?;
    }
    // The first report after all that knows of each beat in between.
    let told = machine.output("a").len();
    let latest = loop {
        machine.expect("a", "late_ns=", LIMIT)?;
        let text = machine.expect("a", " ", LIMIT)?;
        if machine.was_read("a") > told {
            break text.trim().parse::<u64>().context("late_ns")?;
        }
    };
    machine.open_monitor()?;
    let after = free(&mut machine)?;
    machine.monitor("stop b")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    ensure!(before == after, "before: {before}; after: {after}");
    ensure!(
        latest < LATEST_NS,
        "over {times} resets a beat came {latest} ns late"
    );
    Ok(format!("{times} resets, latest beat {latest} ns"))
}
