//! Stop, start and restart, crashes in a row, and what a neighbour notices of them.

use anyhow::{Context as _, Result, ensure};
use assay_harness::events::Event;
use assay_harness::{Builder, Machine};

use super::{LIMIT, pair, power_off, start, value, vm, wait_for_state};
use crate::cases::Case;

/// The latest beat of a 1 kHz heartbeat beside a VM that begins life after life, in virtual nanoseconds.
///
/// It is looked at where nothing is typed meanwhile: QEMU with `-icount` runs one CPU at a time, and after an input
/// it may run one that spins for 100 ms of virtual time while another has an interrupt pending.
const LATEST_NS: u64 = 20_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("life/stop-start-restart-from-every-state", || orders(pair())),
        Case::new("life/stop-start-restart-where-cpus-are-shared", || {
            let shared =
                |name, program, words: &str| vm(name, program, &format!("sched = \"shared\"\ncmdline = \"{words}\""));
            let text = shared("a", "heartbeat", "beat") + &shared("b", "crash", "crash=spin");
            orders(Machine::builder().manifest_text(&text).physical_cpus(1))
        }),
        Case::new("life/crashes-in-a-row-wait-longer", backoff),
        Case::new("life/max-restarts-is-the-end", given_up),
        Case::new("life/twenty-restarts-leave-memory-as-it-was", || restarts(20)),
        Case::new("life/a-thousand-restarts-leave-memory-as-it-was", || restarts(1000)).long(),
        Case::new("life/twenty-resets-beside-a-heartbeat", || resets(20)),
        Case::new("life/a-thousand-resets-beside-a-heartbeat", || resets(1000)).long(),
    ]
}

fn orders(builder: Builder) -> Result<String> {
    let mut machine = start(builder)?;
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
    let beats = |machine: &mut Machine| -> Result<u64> {
        let count = value(&machine.monitor("stats a")?, "stats", "a", "timer")?;
        Ok(count.parse()?)
    };
    let before = beats(&mut machine)?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    ensure!(beats(&mut machine)? > before, "a's heart stands still");
    machine.monitor("stop b")?;
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(format!("{lives} lives"))
}

/// Crashes at once, whenever it is started.
fn looping(lines: &str) -> Builder {
    let a = vm("a", "heartbeat", "cmdline = \"beat\"");
    let b = vm("b", "crash", &format!("cmdline = \"crash=jump\"\non-crash = \"restart\"\n{lines}"));
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
    let restarts = machine.events().iter().filter(|event| event.is_vm("b", "restarted")).count();
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
    let line = events.iter().find(|event| event.get("frames_free").is_some());
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
    ensure!(latest < LATEST_NS, "over {times} resets a beat came {latest} ns late");
    Ok(format!("{times} resets, latest beat {latest} ns"))
}
