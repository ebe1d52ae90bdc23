//! Several Linux VMs on one machine, some with CPUs of their own and some that share the others.

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;

use super::Case;
use super::linux::BOOT;

/// Prints what Linux counts of its CPUs' time instead of starting a shell.
const STAT: &str = "console=ttyAMA0 rdinit=/bin/busybox -- sh -c \"/bin/busybox mkdir -p /proc; /bin/busybox mount -t proc proc /proc; /bin/busybox head -1 /proc/stat; /bin/busybox poweroff -f\"";

/// So many VMs with so many vCPUs each.
struct Vms(u32, u32);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::linux("many/two-linux-vms-share-two-cpus", || run(2, &Vms(0, 0), &Vms(2, 2))),
        Case::linux("many/two-linux-vms-on-four-cpus", || run(4, &Vms(1, 2), &Vms(1, 3))),
        Case::linux("many/eight-linux-vms-on-four-cpus", || run(4, &Vms(2, 1), &Vms(6, 2))).long(),
    ]
}

fn vm(name: &str, cpus: u32, line: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = {cpus}\nmemory = \"192M\"\nkernel = \"debian\"\ninitrd = \"busybox\"\ncmdline = '{STAT}'\n{line}\n"
    )
}

/// Boots `own` VMs with CPUs of their own and `sharing` VMs with more vCPUs than there are CPUs for them: all come to
/// user space and power off, and what Linux counts as stolen tells the two kinds apart.
fn run(cpus: u32, own: &Vms, sharing: &Vms) -> Result<String> {
    let owners: Vec<String> = (0..own.0).map(|n| format!("own{n}")).collect();
    let sharers: Vec<String> = (0..sharing.0).map(|n| format!("shared{n}")).collect();
    let text: String = owners
        .iter()
        .map(|name| vm(name, own.1, ""))
        .chain(sharers.iter().map(|name| vm(name, sharing.1, "sched = \"shared\"")))
        .collect();
    let builder = Machine::builder().manifest_text(&text);
    let mut machine = builder.physical_cpus(cpus).start()?;
    machine.wait(BOOT * 4)?;
    let events = machine.events();
    let mut note = Vec::new();
    for name in owners.iter().chain(&sharers) {
        let stopped = events.iter().any(|event| event.is_vm(name, "stopped"));
        ensure!(stopped, "{name} has not powered off");
        let stolen = steal(&machine, name).with_context(|| name.clone())?;
        if owners.contains(name) {
            ensure!(stolen == 0, "{stolen} ticks were stolen from {name}");
        } else {
            ensure!(stolen > 0, "no time was stolen from {name}");
            note.push(format!("{name}: {stolen} ticks stolen"));
        }
    }
    Ok(note.join(", "))
}

/// The ticks, of 10 ms or as the kernel has them, that Linux says were stolen from it.
fn steal(machine: &Machine, name: &str) -> Result<u64> {
    // Others may break its lines. user nice system idle iowait irq softirq steal
    let output = machine.output(name).replace(['\r', '\n'], "");
    let line = output.split("cpu  ").nth(1).context("no line of /proc/stat")?;
    let field = line.split_whitespace().nth(7).context("no steal time")?;
    Ok(field.parse()?)
}
