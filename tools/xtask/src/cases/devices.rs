//! PCI functions with DMA behind an SMMU: what they reach, and that Linux's drivers work as they are.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::qemu::Gic;
use assay_harness::{Machine, Report};

use super::coherent::facts::MARKED;
use super::{Case, last_life};

mod accelerator;
pub(crate) mod linux;

/// A machine with an SMMUv3 before its PCI functions.
const SMMU: &[&str] = &["-M", "iommu=smmuv3"];
/// Function 00:02.0 as QEMU's teaching device, which copies to and from all addresses.
const EDU: &[&str] = &["-device", "edu,addr=2.0,dma_mask=0xffffffffffffffff"];
/// Where a VM finds the registers of its functions.
const REGISTERS: std::ops::Range<u64> = 0x1000_0000..0x3efe_0000;
/// For a transfer of some MiB, and loading modules.
const TRANSFER: Duration = Duration::from_secs(120);
/// For a guest of `guests/`.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("devices/edu-copies-its-vms-memory-and-nothing-else", || edu(Gic::V3, "")),
        Case::new("devices/edu-copies-its-vms-memory-with-gicv2", || edu(Gic::V2, "")),
        Case::new("devices/edu-copies-its-vms-memory-on-shared-cpus", || edu(Gic::V3, "sched = \"shared\"\n")),
        Case::new("devices/what-a-device-writes-beside-a-restart-is-not-in-the-next-life", restart),
        Case::new("devices/virtio-that-goes-past-the-smmu-is-refused", past_smmu),
        Case::new("devices/a-neighbour-of-a-hostile-device-notices-nothing", neighbour),
    ];
    for use_ in ["ram", "dax", "aperture"] {
        cases.push(Case::new(format!("devices/edu-copies-coherent-memory-as-{use_}"), move || region(use_, "at-boot")));
    }
    cases.push(Case::new("devices/edu-copies-coherent-memory-proved-at-the-start", || region("ram", "at-start")));
    cases.extend(linux::cases());
    cases.extend(accelerator::cases());
    cases
}

fn vm(name: &str, lines: &str) -> String {
    format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"pci\"\n{lines}devices = [\"0000:00:02.0\"]\n")
}

fn start(manifest: &str, gic: Gic) -> Result<Machine> {
    let arguments = SMMU.iter().chain(EDU).copied();
    Ok(Machine::builder().manifest_text(manifest).gic(gic).arguments(arguments).start()?)
}

/// The lines about accesses that were stopped are those that the guest has the device make, and each names the VM.
fn edu(gic: Gic, sched: &str) -> Result<String> {
    let mut machine = start(&vm("look", &format!("{sched}cmdline = \"device=edu-dma\"\n")), gic)?;
    machine.wait(LIMIT)?;
    let stopped: Vec<_> = machine.events().into_iter().filter(|event| event.kind == "dma").collect();
    let mut registers = false;
    for event in &stopped {
        for (key, wanted) in [("vm", "look"), ("function", "0000:00:02.0"), ("fault", "f_translation")] {
            ensure!(event.get(key) == Some(wanted), "no {key}={wanted}: {event}");
        }
        let address = event.get("ipa").and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let address = address.with_context(|| format!("no address: {event}"))?;
        ensure!(!(0x4000_0000..0x4400_0000).contains(&address), "the VM's own memory was refused: {event}");
        registers |= REGISTERS.contains(&address);
    }
    ensure!(registers, "no line about registers of the VM's devices, the device's own:\n{}", machine.log());
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results, {} lines", counts.passed, stopped.len()))
}

/// The first life ends while the device writes a page of its VM's memory over and over; the second finds that page as it
/// was loaded.
fn restart() -> Result<String> {
    let mut machine = start(&vm("look", "cmdline = \"device=edu-restart\"\n"), Gic::V3)?;
    machine.expect("look", "pci: writing", LIMIT)?;
    machine.expect("look", "pci: writing", LIMIT).context("the second life")?;
    let passed = last_life(&mut machine, "look", LIMIT)?;
    machine.finish(LIMIT)?;
    Ok(format!("{passed} results"))
}

/// The accelerator whole: coherent memory, in each of its uses, beside a function with DMA and messages.
fn region(use_: &str, proof: &str) -> Result<String> {
    // In the same GiB as RAM, which the guest's own tables map as one.
    let claim = format!(
        "[[vm.coherent]]\nregion = \"gpu0-memory\"\nuse = \"{use_}\"\nipa = \"0x50000000\"\nproof = \"{proof}\"\n"
    );
    let lines = vm("look", "cmdline = \"device=edu-region region=0x50000000\"\n");
    let text = format!("platform = [{:?}]\n{lines}{claim}", MARKED.file(&format!("devices-{use_}-{proof}"))?);
    let arguments = SMMU.iter().chain(EDU).copied();
    let builder = Machine::builder().manifest_text(&text).physical_memory(1 << 30).machine_mte(true);
    let mut machine = builder.arguments(arguments).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = events.iter().find(|event| event.kind == "decision" && event.get("region") == Some("gpu0-memory"));
    let line = line.with_context(|| format!("no decision:\n{}", machine.log()))?;
    ensure!(line.get("attr") == Some("normal-wb") && line.get("rule") == Some("C1"), "another decision: {line}");
    let stopped = events.iter().find(|event| event.kind == "dma");
    ensure!(stopped.is_none(), "an access was stopped: {stopped:?}");
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}

/// QEMU's virtio devices access memory past the SMMU, unless they are told not to.
fn past_smmu() -> Result<String> {
    let device = ["-device", "virtio-net-pci,addr=2.0,romfile="];
    let arguments = SMMU.iter().chain(&device).copied();
    let mut machine = Machine::builder().manifest_text(&vm("look", "")).arguments(arguments).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let refused = events.iter().find(|event| event.kind == "refused").context("it is not refused")?;
    let reason = refused.get("reason").unwrap_or_default();
    ensure!(reason.contains("past the SMMU"), "another reason: {refused}");
    Ok(reason.into())
}

/// Beside a VM whose device writes to every place that a machine may have, another sums without a slip.
fn neighbour() -> Result<String> {
    let victim = "[[vm]]\nname = \"a\"\nmemory = \"16M\"\nkernel = \"heartbeat\"\ncmdline = \"beat sum every=500\"\n";
    let text = format!("{victim}{}", vm("hostile", "cmdline = \"device=edu-hostile\"\n"));
    let mut machine = start(&text, Gic::V3)?;
    let _ = machine.expect_event("the hostile VM's end", LIMIT, |event| event.is_vm("hostile", "stopped"))?;
    let report = Report::parse(&machine.output("hostile"));
    let _ = report.check().map_err(anyhow::Error::msg)?;
    machine.send("a", "q")?;
    machine.wait(LIMIT)?;
    let output = machine.output("a");
    let last = output.lines().rfind(|line| line.contains("rounds=")).context("the victim says nothing")?;
    ensure!(last.contains(" wrong=0"), "a sum is wrong: {last}");
    ensure!(last.contains(" lost=0"), "beats are lost: {last}");
    let stopped = machine.events().iter().filter(|event| event.kind == "dma").count();
    ensure!(stopped > 10, "{stopped} lines about what was stopped");
    Ok(format!("{last}; {stopped} lines"))
}
