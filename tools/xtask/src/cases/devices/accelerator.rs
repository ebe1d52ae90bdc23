//! The accelerator as a user of Linux has it: coherent memory behind a BAR, and a function that copies it by DMA, driven from
//! user space by what Debian comes with.

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Machine, Report};

use super::{EDU, SMMU, TRANSFER};
use crate::cases::Case;
use crate::cases::coherent::REGION;
use crate::cases::coherent::facts::{Facts, UNMARKED};
use crate::cases::coherent::ramdisk;
use crate::cases::linux::{BOOT, PROMPT, VM, power_off, wait_for_shell};

/// Function 00:03.0, with 256 MiB in BAR 2.
const MEMORY: &[&str] = &[
    "-object",
    "memory-backend-ram,id=accelerator,size=256M,share=on",
    "-device",
    "ivshmem-plain,memdev=accelerator,addr=3.0",
];
const BAR: Facts = Facts { node: "assay,pci-bar = <0 0x18 2>; assay,length = <0 0x10000000>;", ..UNMARKED };

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::linux("devices/debian-copies-coherent-memory-as-ram", || copies("debian", "ram", &["edu node 1"])),
        Case::linux("devices/debian-6.12-copies-coherent-memory-as-dax", || {
            copies("debian-6.12", "dax", &["dax make", "edu dax"])
        }),
    ]
}

/// `commands` are run one after the other: the last has the device copy.
fn copies(kernel: &str, use_: &str, commands: &[&str]) -> Result<String> {
    let text = format!(
        "platform = [{:?}]\n[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"512M\"\nkernel = \"{kernel}\"\n\
         initrd = {:?}\ncmdline = \"console=ttyAMA0 movable_node\"\ndevices = [\"0000:00:02.0\"]\n\
         [[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"{use_}\"\nallow = [\"mte-hidden\"]\nproof = \"at-start\"\n",
        BAR.file(&format!("accelerator-{use_}"))?,
        ramdisk::with_uio(kernel)?,
    );
    let arguments = SMMU.iter().chain(EDU).chain(MEMORY).copied();
    let mut machine = Machine::builder().manifest_text(&text).physical_memory(1 << 30).arguments(arguments).start()?;
    wait_for_shell(&mut machine, VM, BOOT)?;
    let loaded = machine.shell(VM, "/assay/load 2>&1", PROMPT, TRANSFER)?;
    ensure!(loaded.contains("loaded") && !loaded.contains("bad"), "modules: {loaded}");
    let mut said = String::new();
    for command in commands {
        said = machine.shell(VM, &format!("/assay/{command}"), PROMPT, TRANSFER)?;
        let counts = Report::parse(&said).check();
        counts.map_err(|complaint| anyhow::anyhow!("{command}: {complaint}\n{said}"))?;
    }
    let events = machine.events();
    let stopped = events.iter().find(|event| event.kind == "dma");
    ensure!(stopped.is_none(), "an access was stopped: {stopped:?}");
    let line = events.iter().find(|event| event.kind == "decision" && event.get("region") == Some(REGION));
    let line = line.context("no decision")?;
    ensure!(line.get("attr") == Some("normal-wb") && line.get("proof") == Some("at-start"), "another decision: {line}");
    let address = |key: &str| line.get(key).and_then(|text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok());
    let (start, size) = address("ipa").zip(address("size")).with_context(|| format!("no place: {line}"))?;
    let words = said.lines().find_map(|line| line.split_once("coherent memory at 0x"));
    let copied =
        words.and_then(|(_, text)| u64::from_str_radix(text.trim(), 16).ok()).context("no address of a copy")?;
    ensure!(
        (start..start + size).contains(&copied),
        "what was copied is at {copied:#x}, and the region is not: {line}"
    );
    power_off(machine)?;
    Ok(said.lines().find(|line| line.contains("copies,")).unwrap_or_default().trim_start_matches("# ").to_owned())
}
