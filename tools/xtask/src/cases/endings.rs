//! How small guests begin and end: one-file boot, resets, crashes, the watchdog, a paste to a slow reader.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Builder, Event, Machine, Report};

use super::Case;

const LIMIT: Duration = Duration::from_secs(120);
const PASTE: usize = 64 * 1024;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("boot/one-file-with-the-bundle-appended", || {
            one("hello", "").appended().start()?.finish_ktap("hello", LIMIT)?;
            Ok(String::new())
        }),
        Case::new("boot/raw-kernel-format-is-named-not-guessed", || {
            // An ELF file as raw bytes is no program: it must crash or be refused, not be recognised.
            let mut machine = one("hello", "format = \"raw\"").start()?;
            let _ = machine
                .expect_event("an end", LIMIT, |event| event.kind == "refused" || event.is_vm("hello", "crashed"))?;
            Ok(String::new())
        }),
        Case::new("boot/a-machine-without-randomness-says-so", || {
            randomness("cortex-a72", "off", true)?;
            randomness("cortex-a72", "on", false)?;
            randomness("max", "off", false)?;
            Ok(String::new())
        }),
        Case::new("uart/a-paste-of-64-kib-arrives-whole", || paste("")),
        Case::new("uart/a-slow-reader-loses-nothing", || paste(" slow")),
        Case::new("reset/twenty-resets-find-memory-clear", || resets(20, "")),
        Case::new("reset/twenty-resets-find-tags-clear", || resets(20, "mte = true\n")),
        Case::new("reset/a-thousand-resets-find-memory-clear", || resets(1000, "")).long(),
        Case::new("crash/vectors-that-are-nowhere", || crash("jump", "", "no-vectors")),
        Case::new("crash/an-exception-without-vectors", || crash("vectors", "", "no-vectors")),
        Case::new("crash/a-hang-is-caught-by-the-watchdog", || crash("watchdog", "watchdog = true\n", "watchdog")),
        Case::new("crash/a-watchdog-that-is-not-refreshed-any-more", || {
            let mut machine = one("watchdog", "watchdog = true\ncmdline = \"bite\"").start()?;
            machine.expect_event("crashed", LIMIT, |event| {
                event.is_vm("watchdog", "crashed") && event.get("cause") == Some("watchdog")
            })?;
            ends_by_itself(machine)
        }),
        Case::new("crash/on-crash-restart-starts-it-afresh", || {
            let lines = "watchdog = true\non-crash = \"restart\"\ncmdline = \"crash=watchdog\"";
            let mut machine = one("crash", lines).start()?;
            for time in 1..=3 {
                machine
                    .expect_event("restarted", LIMIT, |event| event.is_vm("crash", "restarted"))
                    .with_context(|| format!("restart {time}"))?;
            }
            Ok("3 restarts".to_owned())
        }),
    ]
}

fn one(program: &str, lines: &str) -> Builder {
    let text = format!("[[vm]]\nname = \"{program}\"\nmemory = \"64M\"\nkernel = \"{program}\"\n{lines}\n");
    Machine::builder().manifest_text(&text)
}

/// On this CPU, with seeds in firmware's tree or without: is it said that there is too little?
fn randomness(cpu: &str, tree: &str, is_said: bool) -> Result<()> {
    let seeds = format!("dtb-randomness={tree}");
    let mut machine = one("hello", "").cpu(cpu).arguments(["-M", &seeds]).start()?;
    machine.expect_event("the end", LIMIT, |event| event.is_vm("hello", "stopped"))?;
    let is_it = |event: &Event| event.get("reason").is_some_and(|reason| reason.contains("bits of randomness"));
    ensure!(machine.events().iter().any(is_it) == is_said, "{cpu}, {seeds}: {:?}", machine.events());
    Ok(machine.finish(LIMIT)?)
}

/// The pattern that the program `uart` expects.
fn paste(pace: &str) -> Result<String> {
    let mut machine = one("uart", &format!("cmdline = \"paste={PASTE}{pace}\"")).start()?;
    machine.expect("uart", "uart: ready", LIMIT)?;
    let byte = |n: usize| {
        if n % 64 == 63 {
            '\n'
        } else {
            char::from_u32(u32::try_from(33 + (n * 7 + n / 64) % 90).unwrap_or(33)).unwrap_or('!')
        }
    };
    machine.send("uart", &(0..PASTE).map(byte).collect::<String>())?;
    machine.finish_ktap("uart", LIMIT)?;
    Ok(format!("{PASTE} bytes"))
}

fn resets(times: usize, lines: &str) -> Result<String> {
    let mut machine = one("reset", &format!("{lines}cmdline = \"reset\"")).start()?;
    for time in 1..=times {
        machine.expect("reset", "reset: again", LIMIT).with_context(|| format!("reset {time}"))?;
    }
    // It listens for a short while at each boot only.
    for _ in 0..500 {
        if machine.ended() {
            break;
        }
        let _ = machine.send("reset", "q");
        std::thread::sleep(Duration::from_millis(20));
    }
    machine.wait(LIMIT)?;
    let report = Report::parse(&machine.output("reset"));
    let counts = report.check().map_err(anyhow::Error::msg)?;
    let restarts = machine.events().iter().filter(|event| event.is_vm("reset", "restarted")).count();
    ensure!(restarts >= times, "{restarts} restarts were told of, not {times}");
    machine.finish(LIMIT)?;
    Ok(format!("{restarts} resets, {} results", counts.passed))
}

/// It crashes with this cause, its registers are printed, and the machine powers off.
fn crash(how: &str, lines: &str, cause: &str) -> Result<String> {
    let mut machine = one("crash", &format!("{lines}cmdline = \"crash={how}\"")).start()?;
    let event = machine.expect_event("crashed", LIMIT, |event| event.is_vm("crash", "crashed"))?;
    ensure!(event.get("cause") == Some(cause), "another cause than {cause}: {event}");
    let told = machine.events().iter().any(|event| event.kind == "error" && event.get("pc").is_some());
    ensure!(told, "the vCPU's registers were not printed");
    ends_by_itself(machine)
}

/// After the only VM's crash the machine powers off, and that doesn't count as success.
fn ends_by_itself(mut machine: Machine) -> Result<String> {
    machine.wait(LIMIT)?;
    ensure!(machine.finish(LIMIT).is_err(), "a crash counted as success");
    Ok(String::new())
}
