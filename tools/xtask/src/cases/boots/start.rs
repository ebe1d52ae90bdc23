//! What the boot says of machines on which something is missing.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::{Event, Machine, qemu};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::{HELLO, LIMIT, Parts};
use crate::build::Artifacts;
use crate::cases::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("boots/spin-table-cpus-that-never-come", || spin(0x5000_0ff8, "has not come up")),
        Case::new("boots/a-spin-table-in-the-image-is-said", || {
            spin(0x4020_0ff8, "cpu-release-addr is in Assay's image")
        }),
        Case::new("boots/smmus-and-itss-in-wrong-places-are-said", misplaced),
        Case::new("boots/no-bundle-is-said", no_bundle),
        Case::new("boots/no-tree-ends-the-machine", no_tree),
        Case::new("boots/el1-is-said-and-ends-the-machine", at_el1),
    ]
}

const HARDWARE: [&str; 10] =
    ["-M", "virt,virtualization=on,gic-version=3", "-cpu", "max", "-smp", "2", "-m", "1G", "-nic", "none"];

/// QEMU's argument for its own tree of two CPUs and 1 GiB, changed; it lies in `folder`.
pub(in crate::cases) fn tree(folder: &Path, change: impl FnOnce(&mut DeviceTree) -> Option<()>) -> Result<[String; 2]> {
    let program = qemu::find(None, &Cache::locate()?)?;
    let own = qemu::own_tree(&program, &HARDWARE.map(str::to_owned), folder)?;
    let mut tree = DeviceTree::from_fdt(&Fdt::new(&own)?);
    change(&mut tree).context("QEMU's tree has no such node")?;
    let path = folder.join("changed.dtb");
    std::fs::write(&path, tree.to_dtb())?;
    Ok(["-dtb".to_owned(), path.display().to_string()])
}

fn warned(word: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.kind == "warning" && event.get("reason").is_some_and(|reason| reason.contains(word))
}

/// QEMU's CPU does not look at the spin-table at `release`: the machine says why it does without it, and its page is nobody's.
fn spin(release: u64, why: &'static str) -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let arguments = tree(&parts.folder, |tree| {
        let cpu = tree.find_node_mut("/cpus/cpu@1")?;
        let _ = cpu.remove_property("enable-method")?;
        cpu.add_property(DeviceTreeProperty::new_unchecked("enable-method", "spin-table"));
        let release = release.to_be_bytes().to_vec();
        cpu.add_property(DeviceTreeProperty::new_unchecked("cpu-release-addr", release));
        Some(())
    })?;
    let builder = Machine::builder().manifest_text(HELLO).physical_cpus(2).physical_memory(1 << 30);
    let mut machine = builder.arguments(arguments.iter().map(String::as_str)).start()?;
    let event = machine.expect_event("the CPU's absence", LIMIT, warned(why))?;
    ensure!(event.get("cpu") == Some("1"), "another CPU: {event}");
    let _ = machine.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

/// Nodes of SMMUs and an ITS whose registers are EL2's own memory, the interrupt controller's, and where nothing answers: the
/// boot goes on without them.
fn misplaced() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let nodes = [
        ("iommu@40200000", "arm,smmu-v3", 0x4020_0000, 0x2_0000, "its registers overlap"),
        ("iommu@8000000", "arm,smmu-v3", 0x800_0000, 0x2_0000, "its registers overlap"),
        ("iommu@c000000", "arm,smmu-v3", 0xc00_0000, 0x2_0000, "it does not answer: its registers"),
        ("its@d000000", "arm,gic-v3-its", 0xd00_0000, 0x2_0000, "it does not answer: its registers"),
    ];
    let arguments = tree(&parts.folder, |tree| {
        for (name, compatible, start, size, _) in nodes {
            let mut node = DeviceTreeNode::new_unchecked(name);
            let compatible = [compatible.as_bytes(), b"\0"].concat();
            node.add_property(DeviceTreeProperty::new_unchecked("compatible", compatible));
            let reg = [start, size].map(u64::to_be_bytes).concat();
            node.add_property(DeviceTreeProperty::new_unchecked("reg", reg));
            tree.root.add_child(node);
        }
        Some(())
    })?;
    let builder = Machine::builder().manifest_text(HELLO).physical_cpus(2).physical_memory(1 << 30);
    let mut machine = builder.arguments(arguments.iter().map(String::as_str)).start()?;
    machine.wait(LIMIT)?;
    for (name, _, _, _, reason) in nodes {
        let of = |event: &Event| event.get("node").is_some_and(|node| node.ends_with(name));
        let said = machine.events().into_iter().find(|event| event.kind == "warning" && of(event));
        let said = said.with_context(|| format!("nothing of {name}:\n{}", machine.log()))?;
        ensure!(said.get("reason").is_some_and(|text| text.starts_with(reason)), "another reason: {said}");
    }
    ensure!(machine.events().iter().any(|event| event.is_vm("hello", "stopped")), "{}", machine.log());
    Ok(String::new())
}

fn no_bundle() -> Result<String> {
    let image = Artifacts::locate()?.image;
    let arguments = ["-kernel", &image.to_string_lossy()].map(str::to_owned);
    let builder = Machine::builder().manifest_text(HELLO).by_firmware();
    let mut machine = builder.arguments(arguments.iter().map(String::as_str)).start()?;
    let _ = machine.expect_event("what to give", LIMIT, warned("no bundle: give the VMs as the initrd"))?;
    ensure!(machine.wait(LIMIT)? == 0, "no power-off");
    Ok(String::new())
}

/// The image alone, put into memory, and a CPU that begins there with all registers 0.
fn no_tree() -> Result<String> {
    let image = Artifacts::locate()?.image;
    let loader = format!("loader,file={},addr=0x40200000,cpu-num=0", image.display());
    let builder = Machine::builder().manifest_text(HELLO).by_firmware();
    let mut machine = builder.arguments(["-device", &loader]).start()?;
    ensure!(machine.wait(LIMIT)? == 0, "no power-off");
    Ok(String::new())
}

fn at_el1() -> Result<String> {
    let image = Artifacts::locate()?.image;
    let builder = Machine::builder().manifest_text(HELLO).by_firmware();
    let arguments = ["-M", "virtualization=off", "-kernel", &image.to_string_lossy()].map(str::to_owned);
    let mut machine = builder.arguments(arguments.iter().map(String::as_str)).start()?;
    let said = |event: &Event| {
        event.kind == "error" && event.get("reason").is_some_and(|reason| reason.starts_with("started at EL1"))
    };
    let _ = machine.expect_event("that it needs EL2", LIMIT, said)?;
    ensure!(machine.wait(LIMIT)? == 0, "no power-off");
    Ok(String::new())
}
