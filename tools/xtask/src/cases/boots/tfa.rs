//! Trusted Firmware-A from the machine's flash: EL3 is its own, Assay is its BL33, and PSCI goes by SMC.

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::{Machine, image};

use super::{HELLO, LIMIT, Parts, wait_for};
use crate::cases::Case;
use crate::cases::linux::{PROMPT, SOON, wait_for_shell};
use crate::image::fip;
use crate::setup::{Extra, tfa};

/// A VM with two CPUs, each of which firmware starts.
const LINUX: &str = "console = \"prefix\"\n[[vm]]\nname = \"linux\"\nmemory = \"256M\"\ncpus = 2\n\
    kernel = \"debian\"\ninitrd = \"busybox\"\ncmdline = \"console=ttyAMA0\"\n";

pub(super) fn cases() -> Vec<Case> {
    let all = vec![
        Case::new("boots/tf-a-from-the-flash", hello),
        Case::linux("boots/tf-a-linux-with-firmwares-workarounds", linux),
    ];
    all.into_iter().map(|case| case.wants(Extra::TrustedFirmware)).collect()
}

/// A machine with EL3, and a flash with firmware, Assay and its bundle. The parts must outlive it.
fn machine(manifest: &str, cpu: &str, parts: &Parts) -> Result<Machine> {
    let [bl1, bl2, bl31] =
        tfa::STAGES.map(|name| Cache::locate().and_then(|cache| Ok(std::fs::read(cache.tfa().join(name))?)));
    let whole = image::append_bundle(&parts.image, &parts.bundle)?;
    let path = parts.folder.join("flash.bin");
    std::fs::write(&path, fip::flash(&bl1?, [&bl2?, &bl31?, &whole]))?;
    let path = path.to_str().context("the folder's path is not UTF-8")?;
    let builder = Machine::builder().manifest_text(manifest).by_firmware().cpu(cpu).physical_memory(1 << 30);
    Ok(builder.physical_cpus(2).arguments(["-M", "secure=on", "-bios", path]).start()?)
}

/// On a CPU with all that QEMU has, and the machine is off at the end.
fn hello() -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let machine = machine(HELLO, "max", &parts)?;
    wait_for(&machine, "BL31: v")?;
    let _ = machine.finish_ktap("hello", LIMIT)?;
    Ok(String::new())
}

/// On a CPU that needs firmware's workaround for branch prediction: the guest is told of it, and a VM's reset is
/// Assay's own matter.
fn linux() -> Result<String> {
    let parts = Parts::new(LINUX)?;
    let mut machine = machine(LINUX, "cortex-a72", &parts)?;
    wait_for_shell(&mut machine, "linux", LIMIT)?;
    let cpus = machine.shell("linux", "cat /sys/devices/system/cpu/online", PROMPT, SOON)?;
    ensure!(cpus.trim() == "0-1", "CPUs online: {cpus:?}");
    let spectre = machine.shell("linux", "cat /sys/devices/system/cpu/vulnerabilities/spectre_v2", PROMPT, SOON)?;
    ensure!(spectre.contains("Mitigation"), "firmware's workaround is not seen: {spectre:?}");
    machine.send("linux", "reboot -f\r")?;
    machine.expect("linux", PROMPT, LIMIT)?;
    machine.send("linux", "poweroff -f\r")?;
    machine.wait(LIMIT)?;
    ensure!(machine.events().iter().any(|event| event.is_vm("linux", "stopped")), "no poweroff: {}", machine.log());
    Ok(spectre.trim().to_owned())
}
