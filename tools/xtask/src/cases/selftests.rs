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
use super::linux::{SOON, VM};
use crate::setup::Extra;
use read::Program;

/// For all programs of a suite, on a slow machine with two of them at work.
const LIMIT: Duration = Duration::from_secs(1800);
const MEMORY: u64 = 512 << 20;
const KERNELS: [(&str, &str); 2] = [("debian", "6.1"), ("debian-6.12", "6.12")];
/// Beside the VM's RAM, so that a test's files and processes fit on its node.
const ACCELERATOR: Facts = Facts { size: 0x1000_0000, ..MARKED };

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kernel, version) in KERNELS {
        for suite in ["mte", "pauth", "fp"] {
            let name = format!("selftests/{suite}-{version}-is-as-natively");
            let run = move || as_natively(kernel, suite, None);
            cases.push(Case::linux(name, run).needs(Extra::Selftests));
        }
        let name = format!("selftests/mte-{version}-is-as-natively-on-the-accelerators-node");
        let run = move || as_natively(kernel, "mte", Some(1));
        cases.push(Case::linux(name, run).needs(Extra::Selftests));
    }
    for suite in ["pauth", "fp"] {
        let name = format!("selftests/{suite}-6.12-is-as-natively-on-shared-cpus");
        let run = move || on_shared_cpus("debian-6.12", suite);
        cases.push(Case::linux(name, run).needs(Extra::Selftests));
    }
    cases
}

fn as_natively(kernel: &str, suite: &'static str, node: Option<u32>) -> Result<String> {
    let initrd = ramdisk::make(kernel)?;
    let mut text = vm(VM, kernel, &initrd, &words(suite, &place(node)));
    if node.is_some() {
        let overlay = ACCELERATOR.file(&format!("selftests-{suite}-{kernel}"))?;
        text = format!("platform = [{overlay:?}]\n{text}[[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"ram\"\n");
    }
    let builder = Machine::builder().manifest_text(&text);
    let mut machine = builder.physical_memory(3 << 29).machine_mte(true).start()?;
    let ours = read_run(&mut machine, VM, node)?;
    machine.finish(SOON)?;
    compare(&ours, &natively(kernel, suite)?)
}

/// Two VMs do the same on the same two CPUs, so that each finds the other's registers where its own were.
fn on_shared_cpus(kernel: &str, suite: &'static str) -> Result<String> {
    let initrd = ramdisk::make(kernel)?;
    let vms = [("one", ""), ("other", " later")];
    let text: String =
        vms.map(|(name, when)| vm(name, kernel, &initrd, &words(suite, when)) + "sched = \"shared\"\n").concat();
    let builder = Machine::builder().manifest_text(&text).physical_cpus(2);
    let mut machine = builder.physical_memory(3 << 29).machine_mte(true).start()?;
    let mut ours = Vec::new();
    for (name, _) in vms {
        ours.push(read_run(&mut machine, name, None)?);
    }
    machine.finish(SOON)?;
    let natives = natively(kernel, suite)?;
    let mut note = String::new();
    for ((name, _), programs) in vms.into_iter().zip(ours) {
        note = compare(&programs, &natives).with_context(|| name)?;
    }
    Ok(format!("{note}, twice"))
}

fn compare(ours: &[Program], natives: &[Program]) -> Result<String> {
    let differences = read::differences(natives, ours);
    ensure!(differences.is_empty(), "it is not as it is natively:\n{}", differences.join("\n"));
    let complaints = read::failures(ours);
    ensure!(complaints.is_empty(), "natively too:\n{}", complaints.join("\n"));
    let (passed, skipped) = read::counts(ours);
    ensure!(passed > 0, "nothing was tested");
    let count = ours.len();
    Ok(format!("{count} programs, {passed} passed, {skipped} skipped"))
}

/// A VM that runs a suite and powers off.
fn vm(name: &str, kernel: &str, initrd: &Path, words: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = 2\nmemory = \"512M\"\nmte = true\nkernel = \"{kernel}\"\n\
         initrd = {initrd:?}\ncmdline = {words:?}\n"
    )
}

/// The last word for the suite's first process, where memory shall be of one node.
fn place(node: Option<u32>) -> String {
    node.map_or(String::new(), |node| format!(" {node}"))
}

/// The kernel's command line, with what follows the suite's name.
fn words(suite: &str, rest: &str) -> String {
    format!("console=ttyAMA0 quiet movable_node rdinit=/selftests/init -- {suite}{rest}")
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
    let mut machine = bare(kernel, suite)?.start()?;
    let programs = read_run(&mut machine, NATIVE, None).context("natively")?;
    ensure!(machine.wait(SOON)? == 0, "QEMU ended badly");
    let programs = Arc::new(programs);
    known.insert(key, Arc::clone(&programs));
    Ok(programs)
}

const NATIVE: &str = "native";

fn bare(kernel: &str, suite: &str) -> Result<Builder> {
    let image = Cache::locate()?.kernel(kernel);
    let builder = Machine::builder().bare(NATIVE).physical_cpus(2);
    Ok(builder.physical_memory(MEMORY).machine_mte(true).arguments([
        "-kernel",
        &image.display().to_string(),
        "-initrd",
        &ramdisk::make(kernel)?.display().to_string(),
        "-append",
        &words(suite, ""),
    ]))
}

/// From the start to the suite's end.
fn read_run(machine: &mut Machine, vm: &str, node: Option<u32>) -> Result<Vec<Program>> {
    let text = machine.expect(vm, ramdisk::OVER, LIMIT)?;
    let programs = read::programs(&text).with_context(|| text.clone())?;
    if let Some(node) = node {
        // A test that used no page of the node would have shown nothing.
        let pages = read::pages(&text).with_context(|| text.clone())?;
        ensure!(pages > 1000, "only {pages} pages came from node {node}");
    }
    Ok(programs)
}
