//! The Linux boot from the kernel's first clock to init, under Assay and natively on the same device tree.
//!
//! The tree that Assay gave the guest is read from the guest itself; natively a loader puts kernel, ramdisk
//! and that tree where they were. Without this the tree, not the hypervisor, decides the ratio.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::{Builder, Machine};
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node as _, Property as _};

use super::exits::Log;
use super::plugin::Plugin;
use crate::base64;

const LIMIT: Duration = Duration::from_secs(300);
const PROMPT: &str = "debian:/# ";
const MEMORY: u64 = 256 << 20;
/// `quiet`: an emulated UART takes its time for each letter, and the log is not what is measured.
/// `nokaslr`: the moves cost instructions that differ from seed to seed.
const COMMAND_LINE: &str = "console=ttyAMA0 quiet nokaslr";
/// Where the native loader puts things; RAM starts at 0x4000_0000.
const KERNEL_AT: u64 = 0x4020_0000;
const TREE_AT: u64 = 0x4800_0000;
const STUB_AT: u64 = 0x4010_0000;

/// What the boots came to.
pub(super) struct Boots {
    /// Times from the kernel's first clock to init, in ns.
    pub(super) under_assay: f64,
    pub(super) native: f64,
    /// With one vCPU and with two: what EL2 did.
    pub(super) costs: [Cost; 2],
}

/// From the guest's first instruction to the first at EL0.
pub(super) struct Cost {
    /// Instructions of EL2, on all CPUs.
    pub(super) insns: u64,
    /// Exits to EL2, of all CPUs.
    pub(super) entries: u64,
}

pub(super) fn measure() -> Result<Boots> {
    super::with_folder("boot", measure_in)
}

fn measure_in(folder: &Path) -> Result<Boots> {
    let (under_assay, tree, one) = under_assay(folder, 1)?;
    let (_, _, two) = self::under_assay(folder, 2)?;
    let cache = Cache::locate()?;
    let ramdisk_at = ramdisk_address(&tree)?;
    let (tree_file, stub_file) = (folder.join("tree.dtb"), folder.join("stub.bin"));
    std::fs::write(&tree_file, &tree)?;
    std::fs::write(&stub_file, stub(TREE_AT, KERNEL_AT))?;
    let load = |path: &std::path::Path, at: u64| format!("loader,file={},addr={at:#x},force-raw=on", path.display());
    let devices = [
        load(&cache.kernel("debian"), KERNEL_AT),
        load(&cache.ramdisk("busybox"), ramdisk_at),
        load(&tree_file, TREE_AT),
        load(&stub_file, STUB_AT),
        format!("loader,addr={STUB_AT:#x},cpu-num=0"),
    ];
    let arguments = devices.iter().flat_map(|device| ["-device", device.as_str()]);
    let native = Machine::builder().bare("native").physical_memory(MEMORY).arguments(arguments);
    let (native, _) = boot(native.physical_cpus(1), "native").context("natively")?;
    Ok(Boots { under_assay, native, costs: [one, two] })
}

/// The boot in a VM with so many CPUs of its own: time stamp, device tree, and what EL2 did.
fn under_assay(folder: &Path, cpus: u32) -> Result<(f64, Vec<u8>, Cost)> {
    let (plugin, log) = (Plugin::build(folder)?, Log::new());
    let manifest = format!(
        "[[vm]]\nname = \"linux\"\ncpus = {cpus}\nmemory = {MEMORY}\nkernel = \"debian\"\ninitrd = \"busybox\"\ncmdline = \"{COMMAND_LINE}\"\n"
    );
    let builder = Machine::builder().manifest_text(&manifest).physical_cpus(cpus);
    let builder = builder.arguments(log.arguments()).arguments(plugin.arguments());
    let (stamp, tree) = boot(builder, "linux").with_context(|| format!("with {cpus} vCPUs"))?;
    let entries = log.read()?.values().map(|exits| exits.all()).sum();
    Ok((stamp, tree, Cost { insns: plugin.read()?, entries }))
}

/// Boots to the shell; gives the time stamp of init's start and the guest's device tree.
fn boot(builder: Builder, vm: &str) -> Result<(f64, Vec<u8>)> {
    let mut machine = builder.icount().start()?;
    machine.expect(vm, PROMPT, LIMIT)?;
    let log = machine.shell(vm, "dmesg | grep 'Run /init'", PROMPT, LIMIT)?;
    let line = log.lines().find(|line| line.contains("Run /init as init process"));
    let stamp = line.and_then(|line| line.split(']').next()?.trim_start_matches('[').trim().parse::<f64>().ok());
    let seconds = stamp.context("the kernel's log has no time stamp of init's start")?;
    let text = machine.shell(vm, "base64 /sys/firmware/fdt", PROMPT, LIMIT)?;
    machine.send(vm, "poweroff -f\n")?;
    machine.wait(LIMIT)?;
    Ok((seconds * 1e9, base64::decode(&text)?))
}

/// `linux,initrd-start` of the tree.
fn ramdisk_address(tree: &[u8]) -> Result<u64> {
    let fdt = Fdt::new(tree).ok().context("the guest's device tree is not whole")?;
    let chosen = fdt.find_node("/chosen").context("the guest's tree has no /chosen")?;
    let property = chosen.property("linux,initrd-start").context("the guest's tree names no ramdisk")?;
    let value = property.value().iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    ensure!(
        !(TREE_AT..=TREE_AT + (2 << 20)).contains(&value),
        "the ramdisk lies where the native tree goes: {value:#x}"
    );
    Ok(value)
}

/// What a boot loader does last: x0 is the tree, x1 to x3 are 0, then the kernel.
fn stub(tree: u64, kernel: u64) -> Vec<u8> {
    // ldr x0, #24; mov x1-x3, xzr; ldr x4, #16; br x4; then the two addresses.
    let code = [0x5800_00c0u32, 0xaa1f_03e1, 0xaa1f_03e2, 0xaa1f_03e3, 0x5800_0084, 0xd61f_0080];
    code.iter().flat_map(|word| word.to_le_bytes()).chain(tree.to_le_bytes()).chain(kernel.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::stub;

    #[test]
    fn the_stub_finds_its_two_addresses_after_its_code() {
        let stub = stub(0x1122, 0x3344);
        assert_eq!(stub.len(), 40);
        assert_eq!(stub[24..32], 0x1122u64.to_le_bytes());
        assert_eq!(stub[32..40], 0x3344u64.to_le_bytes());
    }
}
