//! What there is much of: VMs, vCPUs, CPUs, nodes, words. EL2's own memory follows, and nothing is refused or fails.

use std::time::Duration;

use anyhow::{Result, ensure};
use assay_harness::Machine;
use assay_harness::dom0less::Dom0less;

use super::Case;

const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("large/a-command-line-of-120000-bytes", || {
            let line = format!("cmdline = \"{}\"", "x".repeat(120_000));
            let machine = vms(1, 1, &line)?;
            let events = machine.events();
            let warned = events.iter().any(|event| event.kind == "warning" && event.to_string().contains("bootargs"));
            ensure!(warned, "no warning that Linux reads less: {}", machine.log());
            Ok(String::new())
        }),
        Case::new("large/sixteen-vms-of-8-vcpus", || vms(16, 8, SHARED).map(|_| String::new())),
        Case::new("large/1024-vcpus", || vms(16, 64, SHARED).map(|_| String::new())),
        Case::new("large/forty-vms", || vms(40, 1, SHARED).map(|_| String::new())),
        Case::new("large/256-vms", || vms(256, 1, SHARED).map(|_| String::new())).long(),
        Case::new("large/a-tree-of-360-kilobytes", || {
            ran(with_tree(&format!("big {{ {} }};", devices(4096)))?.start()?, 1)
        }),
        // QEMU's machine has no more; `plan`'s tests read a tree of 1024.
        Case::new("large/512-cpus", || {
            let text = "[[vm]]\nname = \"hello\"\nmemory = \"4M\"\nkernel = \"hello\"\n";
            ran(Machine::builder().manifest_text(text).physical_cpus(512).start()?, 512)
        })
        .long(),
        // QEMU makes the tree twice as large and fills it up.
        Case::new("large/a-tree-of-more-than-2-mib-ends-with-the-limit", || {
            let mut machine = with_tree(&format!("big {{ bytes = [{}]; }};", "00".repeat(0x12_0000)))?.start()?;
            machine.wait(LIMIT)?;
            ensure!(machine.log().contains("larger than 2 MiB"), "another reason: {}", machine.log());
            Ok(String::new())
        }),
        Case::new("large/more-nodes-than-a-tree-may-have-ends-with-the-limit", || {
            let mut machine = with_tree(&format!("big {{ {} }};", devices(8192)))?.start()?;
            machine.wait(LIMIT)?;
            ensure!(machine.log().contains("more than 8192 nodes"), "another reason: {}", machine.log());
            Ok(String::new())
        }),
    ]
}

const SHARED: &str = "sched = \"shared\"";

/// So many small VMs, each with so many vCPUs, all of which run and power off.
fn vms(count: usize, vcpus: u32, line: &str) -> Result<Machine> {
    let vm = |n| format!("[[vm]]\nname = \"v{n}\"\ncpus = {vcpus}\nmemory = \"4M\"\nkernel = \"hello\"\n{line}\n");
    let text: String = (0..count).map(vm).collect();
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    machine.wait(LIMIT)?;
    let stopped =
        machine.events().iter().filter(|event| event.kind == "vm" && event.get("event") == Some("stopped")).count();
    ensure!(stopped == count, "{stopped} of {count} VMs have run: {}", machine.log());
    Ok(machine)
}

/// Devices that no driver is for, about 100 bytes each.
fn devices(count: u32) -> String {
    let one = |n| format!("n{n}@{n:x} {{ compatible = \"vendor,some-device-name-{n}\"; reg = <0 {n} 0 0x1000>; }};");
    (0..count).map(one).collect()
}

/// A machine with a VM and more nodes in its tree.
fn with_tree(more: &str) -> Result<assay_harness::Builder> {
    let vm = "hello { compatible = \"xen,domain\"; #address-cells = <2>; #size-cells = <1>; memory = <0 0x4000>; \
              cpus = <1>; vpl011; module@50000000 { compatible = \"multiboot,kernel\", \"multiboot,module\"; \
              reg = <0 0x50000000 0x200000>; }; };";
    let tree = Dom0less::from_source(&format!("/dts-v1/; / {{ chosen {{ {vm} }}; {more} }};"))?;
    Ok(Machine::builder().module(0x5000_0000, "hello").vm_tree(tree).physical_cpus(1))
}

/// The VM `hello` runs, and so many CPUs are counted.
fn ran(mut machine: Machine, cpus: usize) -> Result<String> {
    machine.wait(LIMIT)?;
    let events = machine.events();
    ensure!(events.iter().any(|event| event.is_vm("hello", "stopped")), "hello has not run: {}", machine.log());
    let counted = events.iter().find(|event| event.kind == "boot" && event.get("vms").is_some());
    let counted = counted.and_then(|event| event.get("cpus")).unwrap_or_default();
    ensure!(counted == cpus.to_string(), "{counted} CPUs are counted, of {cpus}");
    Ok(String::new())
}
