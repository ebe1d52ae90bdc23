//! UEFI's memory map is honoured: what firmware keeps for its runtime services is as it left it after a VM had all the rest.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;
use serde_json::json;

use super::{LIMIT, Parts, uefi, wait_for};
use crate::cases::{Case, is_power_off};

/// All memory of the machine, and nearly as much for a VM: it gets what else is free, and that is cleared for it.
const MACHINE: u64 = 512 << 20;
const LARGEST: &str =
    "console = \"prefix\"\n[[vm]]\nname = \"hello\"\nmemory = \"480M\"\ncpus = 1\nkernel = \"hello\"\n";

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("boots/uefi-runtime-services-keep-their-memory", run)]
}

fn run() -> Result<String> {
    let parts = Parts::new(LARGEST)?;
    // Of no name that firmware starts by itself: it comes to its shell, which knows the map.
    let disk = parts.disk(&[("assay.efi", &parts.image), ("bundle.cpio", &parts.bundle)])?;
    let builder = uefi::machine(LARGEST, uefi::TREE, &disk)?.physical_memory(MACHINE).arguments(["-no-shutdown"]);
    let mut machine = builder.start()?;
    wait_for(&machine, "Shell> ")?;
    machine.send("hello", "memmap\r")?;
    wait_for(&machine, "Total Memory:")?;
    let log = machine.log();
    let kept: Vec<Range<u64>> = log.lines().filter_map(runtime).collect();
    ensure!(!kept.is_empty(), "no memory of runtime services in the map:\n{log}");
    let before = read(&machine, &parts.folder, &kept)?;
    machine.send("hello", "fs0:assay.efi\r")?;
    let _ = machine.expect_event("that the VM has stopped", LIMIT, is_power_off)?;
    let after = read(&machine, &parts.folder, &kept)?;
    for (range, (before, after)) in kept.iter().zip(before.iter().zip(&after)) {
        let used = before.iter().filter(|byte| **byte != 0).count();
        let changed = before.iter().zip(after).filter(|(before, after)| before != after).count();
        // Firmware itself notes the end of its boot services in a few variables of its own.
        ensure!(changed * 100 <= used, "{range:#x?}: {changed} bytes have changed, of {used} that were not 0");
    }
    let size: u64 = kept.iter().map(|range| range.end - range.start).sum();
    Ok(format!("{} KiB", size >> 10))
}

/// A line of the shell's table that is of runtime services: type, first and last byte, pages, attributes.
fn runtime(line: &str) -> Option<Range<u64>> {
    let mut words = line.split_whitespace();
    let is_runtime = matches!(words.next()?, "RT_Code" | "RT_Data");
    let (first, last) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    is_runtime.then_some(number(first)?..number(last)? + 1)
}

/// What the ranges have in them.
fn read(machine: &Machine, folder: &Path, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
    let path = folder.join("memory");
    let mut qmp = machine.qmp()?;
    let read = |range: &Range<u64>| {
        let arguments = json!({ "val": range.start, "size": range.end - range.start, "filename": path });
        let _ = qmp.execute("pmemsave", &arguments)?;
        fs::read(&path).context("what QEMU saved")
    };
    ranges.iter().map(read).collect()
}
