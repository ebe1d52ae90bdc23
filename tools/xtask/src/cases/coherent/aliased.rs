//! Storage behind two addresses: two devices over one file, next to each other, or one over the file that RAM has.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Event, Machine};

use super::facts::{Facts, UNMARKED};
use super::places::other_ran;
use super::{BEYOND, LIMIT, RAM, REGION, line_of, teaches, vm};
use crate::build;
use crate::cases::Case;

/// Each of the two devices.
const SIZE: u64 = 64 << 20;
const CLAIM: &str = "use = \"ram\"\nallow = [\"mte-hidden\"]";
const OTHER: &str = "npu0-memory";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("coherent/t1-a-region-that-wraps-at-its-half", || {
            let facts = Facts { start: BEYOND, size: 2 * SIZE, ..UNMARKED };
            refused("wraps", &facts, &vm("other", "cmdline = \"expect=absent\"", ""))
        }),
        Case::new("coherent/t1-two-vms-over-one-storage", || {
            let others = "npu0-memory@84000000 { compatible = \"assay,coherent-memory\"; \
                          reg = <0 0x84000000 0 0x4000000>; no-map; numa-node-id = <1>; };";
            let facts = Facts { start: BEYOND, size: SIZE, others, ..UNMARKED };
            let other = vm("other", "cmdline = \"use=ram expect=wb-untagged exec=yes\"", CLAIM);
            refused("shared-storage", &facts, &other.replace(REGION, OTHER))
        }),
        Case::new("coherent/t1-a-region-over-the-storage-of-ram", over_ram),
    ]
}

/// The start of RAM again, with EL2's image, the bundle and firmware's tree in it: nothing is written there.
fn over_ram() -> Result<String> {
    let storage = build::target()?.join("assay/ram.bin");
    let facts = Facts { start: BEYOND, size: 4 * SIZE, ..UNMARKED };
    let path = storage.display();
    let arguments = [
        "-m",
        "1024M,slots=1,maxmem=4G",
        "-object",
        &format!("memory-backend-file,id=ram,size={RAM},share=on,mem-path={path}"),
        "-machine",
        "memory-backend=ram",
        "-object",
        &format!("memory-backend-file,id=again,size={},share=on,mem-path={path}", 4 * SIZE),
        "-device",
        "virtio-mem-pci,memdev=again,romfile=,requested-size=0",
    ];
    let machine = start_refused("over-ram", &facts, &vm("other", "cmdline = \"expect=absent\"", ""), &arguments);
    let _ = fs::remove_file(&storage);
    let machine = machine?;
    let events = machine.events();
    let is_of = |event: &&Event| event.kind == "proof" && event.get("region") == Some(REGION);
    let parts: Vec<_> = events.iter().filter(is_of).map(|event| event.get("part")).collect();
    ensure!(parts == [Some("ram")], "something was written to it: {parts:?}");
    let told = events.iter().find(|event| event.kind == "error" && event.get("region") == Some(REGION));
    let told = told.and_then(|event| event.get("reason")).context("nothing is said of RAM")?;
    ensure!(told.contains("has the storage of RAM at 0x"), "another reason: {told}");
    Ok(told.to_owned())
}

/// The VM `look` is refused, and the other, which has what is left, runs.
fn refused(name: &str, facts: &Facts, other: &str) -> Result<String> {
    let storage = build::target()?.join(format!("assay/{name}.bin"));
    let mut arguments = vec!["-m".to_owned(), "1024M,slots=2,maxmem=4G".to_owned()];
    for id in ["one", "two"] {
        let path = storage.display();
        arguments.extend([
            "-object".to_owned(),
            format!("memory-backend-file,id={id},size={SIZE},share=on,mem-path={path}"),
            "-device".to_owned(),
            format!("virtio-mem-pci,memdev={id},romfile=,requested-size=0"),
        ]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let machine = start_refused(name, facts, other, &arguments);
    let _ = fs::remove_file(&storage);
    let events = machine?.events();
    let line = line_of(&events, "refused", "look").context("not refused")?;
    Ok(line.get("reason").unwrap_or_default().to_owned())
}

/// A machine that has run, in which `look` was refused for what the region's proof found, and the other ran.
fn start_refused(name: &str, facts: &Facts, other: &str, arguments: &[&str]) -> Result<Machine> {
    let claimed = vm("look", "cmdline = \"expect=absent\"", CLAIM);
    let text = format!("platform = [{:?}]\n{claimed}{other}", facts.file(name)?);
    let builder = Machine::builder().manifest_text(&text).physical_memory(RAM).arguments(arguments.iter().copied());
    let mut machine = builder.start()?;
    let waited = machine.wait(LIMIT);
    let events = machine.events();
    let line = line_of(&events, "refused", "look").with_context(|| format!("not refused:\n{}", machine.log()))?;
    ensure!(line.get("rule") == Some("T1"), "another rule: {line}");
    teaches(line)?;
    waited?;
    let is_of = |event: &&Event| event.kind == "proof" && event.get("region") == Some(REGION);
    let proof = events.iter().rfind(is_of).context("no proof")?;
    ensure!(proof.get("result") == Some("failed-memory"), "it passed: {proof}");
    other_ran(&machine)?;
    Ok(machine)
}
