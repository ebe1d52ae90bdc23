//! Storage behind two addresses: two devices over one file, next to each other.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;

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
    ]
}

/// The VM `look` is refused, and the other, which has what is left, runs.
fn refused(name: &str, facts: &Facts, other: &str) -> Result<String> {
    let storage = build::target()?.join(format!("assay/{name}.bin"));
    let claimed = vm("look", "cmdline = \"expect=absent\"", CLAIM);
    let text = format!("platform = [{:?}]\n{claimed}{other}", facts.file(name)?);
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
    let builder =
        Machine::builder().manifest_text(&text).physical_memory(RAM).arguments(arguments.iter().map(String::as_str));
    let mut machine = builder.start()?;
    let waited = machine.wait(LIMIT);
    let _ = fs::remove_file(&storage);
    let events = machine.events();
    let line = line_of(&events, "refused", "look").with_context(|| format!("not refused:\n{}", machine.log()))?;
    ensure!(line.get("rule") == Some("T1"), "another rule: {line}");
    teaches(line)?;
    waited?;
    let proof = events.iter().find(|event| event.kind == "proof" && event.get("region") == Some(REGION));
    let proof = proof.context("no proof")?;
    ensure!(proof.get("result") == Some("failed-memory"), "it passed: {proof}");
    other_ran(&machine)?;
    Ok(line.get("reason").unwrap_or_default().to_owned())
}
