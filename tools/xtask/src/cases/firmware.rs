//! Firmware as a guest: it runs from its flash, finds its device tree, and comes to its prompt.

use std::time::Duration;

use anyhow::{Result, ensure};
use assay_harness::{Machine, cache};

use super::Case;
use crate::setup::Extra;

const LIMIT: Duration = Duration::from_secs(180);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("firmware/u-boot-comes-to-its-prompt", || u_boot("")).wants(Extra::Firmware),
        Case::new("firmware/u-boot-comes-to-its-prompt-mte", || u_boot("mte = true\n")).wants(Extra::Firmware),
        Case::new("firmware/aavmf-comes-to-its-shell", aavmf).wants(Extra::Firmware),
        refused("a-flash-over-the-devices", "ipa = \"0x04000000\"", "ipa = \"0x06000000\"", "region env"),
        refused("a-flash-over-ram", "ipa = \"0x04000000\"", "ipa = \"0x4fff0000\"", "region env"),
        refused("ram-over-the-devices", "memory = ", "memory-ipa = \"0x08800000\"\nmemory = ", "memory-ipa"),
        refused("a-kernel-over-its-tree", "load = \"0x0\"", "load = \"0x40000000\"", "tree"),
        refused("a-kernel-where-no-memory-is", "load = \"0x0\"", "load = \"0x7ff0000\"", "load = 0x7ff0000"),
    ]
}

fn manifest(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(cache::repository()?.join("guests/manifests").join(name))?)
}

/// It reads what its flash has, writes commands to it that have no effect, and its commands work.
fn u_boot(line: &str) -> Result<String> {
    let text = manifest("u-boot.toml")?.replacen("[[vm]]\n", &format!("[[vm]]\n{line}"), 1);
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    machine.expect("u-boot", "Hit any key to stop autoboot", LIMIT)?;
    machine.send("u-boot", "\r")?;
    machine.expect("u-boot", "=> ", LIMIT)?;
    // What it runs from is in the flash, before and after a command to it, and so is its environment's bank.
    machine.send("u-boot", "mw.b 0 98; cmp.b 0 0 10; md.l 4000000 1; crc32 0 1000\r")?;
    machine.expect("u-boot", "Total of 16 byte(s) were the same", LIMIT)?;
    machine.expect("u-boot", "04000000: 00000000", LIMIT)?;
    machine.expect("u-boot", "crc32 for 00000000 ... 00000fff", LIMIT)?;
    // Its device tree is where RAM begins.
    machine.send("u-boot", "fdt addr 40000000; fdt print /flash@0 compatible\r")?;
    machine.expect("u-boot", "compatible = \"cfi-flash\"", LIMIT)?;
    machine.send("u-boot", "poweroff\r")?;
    machine.wait(LIMIT)?;
    ensure!(machine.events().iter().any(|event| event.is_vm("u-boot", "stopped")), "no poweroff: {}", machine.log());
    Ok(String::new())
}

/// It keeps its variables in its second flash, by commands, and has no boot option but its shell.
fn aavmf() -> Result<String> {
    let mut machine = Machine::builder().manifest_text(&manifest("aavmf.toml")?).start()?;
    machine.expect("aavmf", "Shell> ", LIMIT)?;
    machine.send("aavmf", "dmpstore BootOrder\r")?;
    machine.expect("aavmf", "NV+RT+BS", LIMIT)?;
    machine.expect("aavmf", "DataSize = 0x04", LIMIT)?;
    machine.expect("aavmf", "Shell> ", LIMIT)?;
    machine.send("aavmf", "reset -s\r")?;
    machine.wait(LIMIT)?;
    ensure!(machine.events().iter().any(|event| event.is_vm("aavmf", "stopped")), "no poweroff: {}", machine.log());
    Ok(String::new())
}

/// A manifest with something changed, in a bundle that nobody checked: EL2 refuses the VM, and says what is wrong.
fn refused(name: &str, from: &'static str, to: &'static str, word: &'static str) -> Case {
    Case::new(format!("firmware/refused-{name}"), move || {
        let text = manifest("u-boot.toml")?;
        ensure!(text.contains(from), "the manifest has no {from}");
        let mut machine = Machine::builder().manifest_text(&text.replacen(from, to, 1)).start()?;
        let event = machine.expect_event("refused", LIMIT, |event| event.kind == "refused")?;
        let is_told = event.get("vm") == Some("u-boot") && event.get("reason").is_some_and(|text| text.contains(word));
        ensure!(is_told, "not about {word}: {event}");
        let _ = machine.wait(LIMIT)?;
        Ok(String::new())
    })
    .wants(Extra::Firmware)
}
