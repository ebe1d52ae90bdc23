//! What Debian does with coherent memory in each of its three forms, down to programs that use it.
//!
//! What each kernel does is its own: 6.1 makes a hot-pluggable node movable, 6.12 doesn't; 6.12 has devdax and
//! kmem, 6.1 only a block device.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Machine, Report, cache};

use super::facts::{Facts, MARKED};
use super::{REGION, ramdisk};
use crate::cases::Case;
use crate::cases::linux::{BOOT, PROMPT, SOON, VM, power_off, wait_for_shell};

/// Loading modules and hot-plugging on a slow machine.
const LONGER: Duration = Duration::from_secs(120);
/// kmem takes whole blocks of 128 MiB, and devdax keeps the first MiBs for itself.
const LARGE: Facts = Facts { size: 0x1000_0000, ..MARKED };

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::linux("coherent/linux-6.1-has-ram-as-a-movable-node", || ram("debian", true, true)),
        Case::linux("coherent/linux-6.12-has-ram-as-a-node", || ram("debian-6.12", true, false)),
        Case::linux("coherent/linux-6.1-has-ram-without-tags", || ram("debian", false, true)),
        Case::linux("coherent/linux-has-the-distances-of-the-machine", distances),
        Case::linux("coherent/linux-6.12-has-dax-and-hot-plugs-it", dax),
        Case::linux("coherent/linux-6.12-finds-dax-clear-after-a-reboot", reboot),
        Case::linux("coherent/linux-6.12-takes-dax-by-the-commands-of-its-ramdisk", commands),
        Case::linux("coherent/linux-6.1-has-dax-as-a-block-device", block),
        Case::linux("coherent/linux-6.1-has-an-aperture", || aperture("debian")),
        Case::linux("coherent/linux-6.12-has-an-aperture", || aperture("debian-6.12")),
    ]
}

/// Debian with the region, at its shell.
fn start(name: &str, kernel: &str, use_: &str, mte: bool) -> Result<Machine> {
    start_in(name, kernel, use_, mte, "")
}

/// The same in a machine with more arguments of QEMU's.
fn start_in(name: &str, kernel: &str, use_: &str, mte: bool, machine: &str) -> Result<Machine> {
    let text = format!(
        "platform = [{:?}]\n[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"512M\"\nmte = {mte}\n\
         kernel = \"{kernel}\"\ninitrd = {:?}\ncmdline = \"console=ttyAMA0 movable_node\"\n\
         [[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"{use_}\"\n",
        LARGE.file(name)?,
        ramdisk::make(kernel)?,
    );
    let builder = Machine::builder().manifest_text(&text).arguments(machine.split_whitespace());
    let mut machine = builder.physical_memory(3 << 29).machine_mte(true).start()?;
    wait_for_shell(&mut machine, VM, BOOT)?;
    Ok(machine)
}

/// Runs one of our programs at the shell and reads its report.
fn report(machine: &mut Machine, command: &str) -> Result<usize> {
    let text = machine.shell(VM, &format!("/assay/{command}"), PROMPT, LONGER)?;
    let counts = Report::parse(&text).check();
    let counts = counts.map_err(|complaint| anyhow::anyhow!("{command}: {complaint}\n{text}"))?;
    Ok(counts.passed)
}

fn load_modules(machine: &mut Machine) -> Result<()> {
    let text = machine.shell(VM, "/assay/load", PROMPT, LONGER)?;
    ensure!(text.contains("loaded") && !text.contains("bad "), "modules don't load:\n{text}");
    Ok(())
}

fn ram(kernel: &str, mte: bool, movable: bool) -> Result<String> {
    let name = format!("linux-ram-{kernel}-{mte}");
    let mut machine = start(&name, kernel, "ram", mte)?;
    let nodes = machine.shell(VM, "cat /sys/devices/system/node/online", PROMPT, SOON)?;
    ensure!(nodes.trim() == "0-1", "nodes online: {nodes:?}");
    let pages = machine.shell(VM, "/assay/movable", PROMPT, SOON)?;
    let pages: u64 = pages.trim().parse().unwrap_or(0);
    if movable {
        ensure!(pages == LARGE.size / 4096, "{pages} pages of node 1 are movable");
    }
    let words = if mte { "node 1" } else { "node 1 untagged" };
    let passed = report(&mut machine, words)?;
    power_off(machine)?;
    Ok(format!("{passed} results, {pages} movable pages"))
}

/// The region is in the machine's node 1, and the CPUs are in node 0.
fn distances() -> Result<String> {
    let nodes = "-object memory-backend-ram,id=near,size=768M -object memory-backend-ram,id=far,size=768M \
                 -numa node,nodeid=0,cpus=0-1,memdev=near -numa node,nodeid=1,memdev=far \
                 -numa dist,src=0,dst=1,val=42";
    let mut machine = start_in("linux-distances", "debian", "ram", false, nodes)?;
    let text = machine.shell(VM, "cat /sys/devices/system/node/node*/distance", PROMPT, SOON)?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    ensure!(lines == ["10 42", "42 10"], "distances: {text:?}");
    power_off(machine)?;
    Ok(String::new())
}

fn dax() -> Result<String> {
    let mut machine = start("linux-dax", "debian-6.12", "dax", true)?;
    load_modules(&mut machine)?;
    let mut passed = report(&mut machine, "dax")?;
    passed += report(&mut machine, "dax kmem")?;
    // Hot-plugged as RAM, it gives programs tags again.
    passed += report(&mut machine, "node 1")?;
    power_off(machine)?;
    Ok(format!("{passed} results"))
}

/// The example manifest, as a person uses it.
fn commands() -> Result<String> {
    let path = cache::repository()?.join("guests/manifests/coherent-dax.toml");
    let mut machine = Machine::builder().manifest(path).start()?;
    wait_for_shell(&mut machine, VM, BOOT)?;
    let device = machine.run(VM, "devdax", PROMPT, LONGER)?;
    ensure!(device.status == 0 && device.text.contains("/dev/dax0.0"), "devdax: {device:?}");
    let zones = machine.run(VM, "kmem", PROMPT, LONGER)?;
    ensure!(zones.status == 0 && zones.text.contains("Node 1, zone  Movable 131072 kB"), "kmem: {zones:?}");
    power_off(machine)?;
    Ok(String::new())
}

/// devdax writes a header of its own into the region: the next life must not find it.
fn reboot() -> Result<String> {
    let mut machine = start("linux-dax-reboot", "debian-6.12", "dax", true)?;
    load_modules(&mut machine)?;
    report(&mut machine, "dax")?;
    machine.send(VM, "reboot -f\n")?;
    wait_for_shell(&mut machine, VM, BOOT).context("after the reboot")?;
    load_modules(&mut machine)?;
    let bytes = machine.shell(VM, "/assay/soiled", PROMPT, LONGER)?;
    ensure!(bytes.trim() == "0", "{bytes:?} bytes of the region are not zero");
    power_off(machine)?;
    Ok(String::new())
}

fn block() -> Result<String> {
    let mut machine = start("linux-block", "debian", "dax", false)?;
    load_modules(&mut machine)?;
    let passed = report(&mut machine, "dax block")?;
    power_off(machine)?;
    Ok(format!("{passed} results"))
}

fn aperture(kernel: &str) -> Result<String> {
    let name = format!("linux-aperture-{kernel}");
    let mut machine = start(&name, kernel, "aperture", true)?;
    let passed = report(&mut machine, "aperture")?;
    power_off(machine)?;
    Ok(format!("{passed} results"))
}
