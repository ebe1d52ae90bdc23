//! VMs that can't run: they are refused with a reason, nothing hangs, and others run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use assay_harness::manifest::Manifest;
use assay_harness::{Machine, bundle, cache};

use super::Case;

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("refused/more-cpus-than-the-machine-has", || {
            let machine = Machine::builder().manifest_text(&hello("cpus = 4")).physical_cpus(2);
            refusal(machine.start()?, "V1")
        }),
        Case::new("refused/a-cpu-that-is-not-there", || {
            let machine = Machine::builder().manifest_text(&hello("cpus = [5]")).physical_cpus(2);
            refusal(machine.start()?, "V1")
        }),
        Case::new("refused/more-memory-than-the-machine-has", || {
            let machine = Machine::builder().manifest_text(&with_memory("8G")).physical_memory(512 << 20);
            refusal(machine.start()?, "V2")
        }),
        Case::new("refused/a-kernel-that-is-none", || {
            let text = hello("")
                .replace("kernel = \"hello\"", &format!("kernel = {:?}", cache::repository()?.join("Cargo.toml")));
            refusal(Machine::builder().manifest_text(&text).start()?, "V3")
        }),
        Case::new("refused/a-kernel-whose-digest-is-wrong", || {
            let text = hello("");
            let mut archive = bundle::build(&Manifest::parse(&text)?, Path::new(""))?;
            // A byte of the kernel's data: the trailer is the last 124 bytes and padding.
            let at = archive.len() - 4096;
            archive[at] ^= 1;
            refusal(Machine::builder().manifest_text(&text).bundle(archive).start()?, "V3")
        }),
        Case::new("refused/mte-on-a-machine-without-tags", || {
            let machine = Machine::builder().manifest_text(&hello("mte = true")).machine_mte(false);
            refusal(machine.start()?, "M3")
        }),
        Case::new("refused/a-coherent-region-that-is-not-there", || {
            let claim = "[[vm.coherent]]\nregion = \"gpu0-memory\"\nuse = \"ram\"";
            let mut machine = Machine::builder().manifest_text(&hello(claim)).start()?;
            let event = machine.expect_event("refused", LIMIT, |event| event.kind == "refused")?;
            ensure!(event.to_string().contains("gpu0-memory"), "the line doesn't name the region: {event}");
            machine.wait(LIMIT)?;
            Ok(String::new())
        }),
        Case::new("refused/one-vm-does-not-stop-another", || {
            let other = with_memory("8G").replace("\"hello\"\nmemory", "\"greedy\"\nmemory");
            let text = [other, hello("")].concat();
            let mut machine = Machine::builder().manifest_text(&text).physical_memory(512 << 20).start()?;
            machine.wait(LIMIT)?;
            let events = machine.events();
            ensure!(
                events.iter().any(|event| event.kind == "refused" && event.get("vm") == Some("greedy")),
                "greedy ran"
            );
            ensure!(events.iter().any(|event| event.is_vm("hello", "stopped")), "hello didn't run: {}", machine.log());
            Ok(String::new())
        }),
    ]
}

fn hello(line: &str) -> String {
    format!("[[vm]]\nname = \"hello\"\nmemory = \"64M\"\nkernel = \"hello\"\n{line}\n")
}

fn with_memory(size: &str) -> String {
    format!("[[vm]]\nname = \"hello\"\nmemory = \"{size}\"\nkernel = \"hello\"\n")
}

/// The only VM is refused by this rule, never starts, and the machine powers off by itself.
fn refusal(mut machine: Machine, rule: &str) -> Result<String> {
    let event = machine.expect_event("refused", LIMIT, |event| event.kind == "refused")?;
    ensure!(event.get("rule") == Some(rule), "refused by another rule than {rule}: {event}");
    ensure!(event.get("vm") == Some("hello"), "the line doesn't name the VM: {event}");
    for key in ["reason", "remedy"] {
        ensure!(event.get(key).is_some_and(|text| !text.is_empty()), "no {key} in: {event}");
    }
    machine.wait(LIMIT)?;
    ensure!(!machine.events().iter().any(|event| event.is_vm("hello", "started")), "it started all the same");
    Ok(String::new())
}
