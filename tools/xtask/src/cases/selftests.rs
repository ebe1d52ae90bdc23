//! The kernel's own self-tests of arm64: under Assay they come out exactly as they do natively, in QEMU without it.
//!
//! Nothing here says how many results a suite has: that is the kernel's source's. The native run says it, and that
//! it has no failure.

mod ramdisk;
mod read;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::{Builder, Machine};

use super::Case;
use super::coherent::REGION;
use super::coherent::facts::{Facts, MARKED};
use super::linux::{BOOT, PROMPT, SOON, VM, power_off};
use crate::setup::Extra;
use read::Program;

/// For all programs of a suite, on a slow machine with two of them at work.
const LIMIT: Duration = Duration::from_secs(1800);
const MEMORY: u64 = 512 << 20;
const KERNELS: [(&str, &str); 2] = [("debian", "6.1"), ("debian-6.12", "6.12")];
/// Beside the VM's RAM, so that a test's files and processes fit on its node.
const ACCELERATOR: Facts = Facts {
    size: 0x1000_0000,
    ..MARKED
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kernel, version) in KERNELS {
        for suite in ["mte", "pauth", "fp"] {
            let name = format!("selftests/{suite}-{version}-is-as-natively");
            let run = move || as_natively(kernel, suite, None);
            cases.push(Case::new(name, run).needs(Extra::Selftests));
        }
        let name = format!("selftests/mte-{version}-is-as-natively-on-the-accelerators-node");
        let run = move || as_natively(kernel, "mte", Some(1));
        cases.push(Case::new(name, run).needs(Extra::Selftests));
    }
    cases
}

fn as_natively(kernel: &str, suite: &'static str, node: Option<u32>) -> Result<String> {
    let ours = under_assay(kernel, suite, node)?;
    let natives = natively(kernel, suite)?;
    let differences: Vec<String> = read::differences(&natives, &ours);
    ensure!(
        differences.is_empty(),
        "{suite} is not as it is natively:\n{}",
        differences.join("\n")
    );
    let complaints = read::failures(&ours);
    ensure!(
        complaints.is_empty(),
        "natively too:\n{}",
        complaints.join("\n")
    );
    let (passed, skipped) = read::counts(&ours);
    ensure!(passed > 0, "nothing was tested");
    Ok(format!(
        "{} programs, {passed} passed, {skipped} skipped",
        ours.len()
    ))
}

fn under_assay(kernel: &str, suite: &str, node: Option<u32>) -> Result<Vec<Program>> {
    let initrd = ramdisk::make(kernel)?;
    let mut text = format!(
        "[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"512M\"\nmte = true\nkernel = \"{kernel}\"\ninitrd = {initrd:?}\n\
         cmdline = \"console=ttyAMA0 movable_node\"\n"
    );
    if node.is_some() {
        let overlay = ACCELERATOR.file(&format!("selftests-{suite}-{kernel}"))?;
        text = format!(
            "platform = [{overlay:?}]\n{text}[[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"ram\"\n"
        );
    }
    let builder = Machine::builder().manifest_text(&text);
    let mut machine = builder.physical_memory(3 << 29).machine_mte(true).start()?;
    let programs = run(&mut machine, VM, suite, node)?;
    power_off(machine)?;
    Ok(programs)
}

/// What the suite does without Assay. Each is run once, for all cases that want to know.
fn natively(kernel: &str, suite: &'static str) -> Result<Arc<Vec<Program>>> {
    type Known = BTreeMap<(String, &'static str), Arc<Vec<Program>>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (kernel.to_owned(), suite);
    if let Some(programs) = known.get(&key) {
        return Ok(Arc::clone(programs));
    }
    let mut machine = bare(kernel, &ramdisk::make(kernel)?)?.start()?;
    let programs = run(&mut machine, NATIVE, suite, None).context("natively")?;
    machine.send(NATIVE, "poweroff -f\n")?;
    ensure!(machine.wait(SOON)? == 0, "QEMU ended badly");
    let programs = Arc::new(programs);
    known.insert(key, Arc::clone(&programs));
    Ok(programs)
}

const NATIVE: &str = "native";

fn bare(kernel: &str, initrd: &Path) -> Result<Builder> {
    let image = Cache::locate()?.kernel(kernel);
    let builder = Machine::builder().bare(NATIVE).physical_cpus(2);
    Ok(builder
        .physical_memory(MEMORY)
        .machine_mte(true)
        .arguments([
            "-kernel",
            &image.display().to_string(),
            "-initrd",
            &initrd.display().to_string(),
            "-append",
            "console=ttyAMA0",
        ]))
}

/// From the start to the suite's end.
fn run(machine: &mut Machine, vm: &str, suite: &str, node: Option<u32>) -> Result<Vec<Program>> {
    machine.expect(vm, PROMPT, BOOT)?;
    let node = node.map_or(String::new(), |node| format!(" {node}"));
    let text = machine.shell(vm, &format!("/selftests/run {suite}{node}"), PROMPT, LIMIT)?;
    let programs = read::programs(&text).with_context(|| text.clone())?;
    if !node.is_empty() {
        // A test that used no page of the node would have shown nothing.
        let pages = read::pages(&text).with_context(|| text.clone())?;
        ensure!(pages > 1000, "only {pages} pages came from node{node}");
    }
    Ok(programs)
}
