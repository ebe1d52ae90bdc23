//! Devices of the platform tree, given by path: their registers and interrupts, and what is refused.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;
use assay_harness::qemu::Gic;
use dtoolkit::model::DeviceTreeProperty;
use sha2::{Digest as _, Sha256};

use super::boots::start::tree;
use super::linux::{BOOT, PROMPT, SOON, VM, power_off, wait_for_shell};
use super::ramdisk::with_modules;
use super::{Case, last_life};
use crate::build;
use crate::setup::modules;

const LIMIT: Duration = Duration::from_secs(120);
/// The GPIO controller of QEMU's `virt`, whose interrupt is SPI 7.
const GPIO: &str = "/pl061@9030000";

/// A transport for virtio, and QEMU's disk behind it.
const TRANSPORT: &str = "/virtio_mmio@a000000";
const BLOCK: &str = "virtio-blk-device,drive=d0,bus=virtio-mmio-bus.0";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("platform/a-gpio-controller-works-and-interrupts", || gpio(Gic::V3, "cpus = 2\n")),
        Case::new("platform/a-gpio-controller-works-with-gicv2", || gpio(Gic::V2, "cpus = 2\n")),
        Case::new("platform/a-gpio-controller-works-on-shared-cpus", || gpio(Gic::V3, "sched = \"shared\"\n")),
        Case::new("platform/a-device-keeps-its-registers-over-a-reset", restart),
        Case::linux("platform/debian-has-a-disk-whose-dma-nothing-checks", disk),
        Case::new("platform/devices-that-cannot-be-given-are-refused-by-name", refused),
    ]
}

fn vm(name: &str, lines: &str, device: &str) -> String {
    format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"platform\"\n{lines}devices = [\"{device}\"]\n")
}

fn gpio(gic: Gic, lines: &str) -> Result<String> {
    let mut machine = Machine::builder().manifest_text(&vm("look", lines, GPIO)).gic(gic).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = events.iter().find(|event| event.kind == "decision" && event.get("region") == Some(GPIO));
    let line = line.with_context(|| format!("no decision:\n{}", machine.log()))?;
    for (key, wanted) in [("attr", "device-ngnre"), ("rule", "D1"), ("exec", "no"), ("size", "0x1000")] {
        ensure!(line.get(key) == Some(wanted), "no {key}={wanted}: {line}");
    }
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}

/// Nobody resets a device of the platform: its registers are as the last life left them, and its interrupt, which is still
/// asserted, disturbs nobody before the guest asks for it.
fn restart() -> Result<String> {
    let text = vm("look", "cmdline = \"again\"\n", GPIO);
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    machine.expect("look", "platform: enabled 0x0", LIMIT)?;
    machine.expect("look", "platform: again", LIMIT)?;
    machine.expect("look", "platform: enabled 0x1", LIMIT).context("the second life")?;
    machine.expect("look", "platform: again", LIMIT)?;
    let passed = last_life(&mut machine, "look", LIMIT)?;
    machine.finish(LIMIT)?;
    Ok(format!("{passed} results"))
}

/// A disk behind one of QEMU's transports for virtio, before which no SMMU is. Seven more are in its page of registers: the
/// tree disables them.
fn disk() -> Result<String> {
    let folder = build::target()?.join("assay/unchecked");
    fs::create_dir_all(&folder)?;
    let image = folder.join("disk.img");
    fs::File::create(&image)?.set_len(16 << 20)?;
    let own = tree(&folder, |tree| {
        (1..8).try_for_each(|number| {
            let node = tree.find_node_mut(&format!("/virtio_mmio@{:x}", 0xa00_0000 + 0x200 * number))?;
            node.add_property(DeviceTreeProperty::new_unchecked("status", "disabled"));
            Some(())
        })
    })?;
    let ramdisk = with_modules("virtio-front", "debian-6.12", &modules::FRONT, || Ok(Vec::new()))?;
    let text = format!(
        "[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"256M\"\nmemory-ipa = \"0x60000000\"\nkernel = \"debian-6.12\"\n\
         initrd = {ramdisk:?}\ncmdline = \"console=ttyAMA0 quiet\"\ndevices = [\"{TRANSPORT}\"]\n\
         allow = [\"unchecked-dma\"]\n"
    );
    let drive = format!("if=none,id=d0,format=raw,file={}", image.display());
    let device = ["-global", "virtio-mmio.force-legacy=false", "-drive", &drive, "-device", BLOCK];
    let arguments = own.iter().map(String::as_str).chain(device);
    let builder = Machine::builder().manifest_text(&text).physical_cpus(2).physical_memory(1 << 30);
    let mut machine = builder.arguments(arguments).start()?;
    wait_for_shell(&mut machine, VM, BOOT)?;
    let is_it = |event: &assay_harness::Event| {
        event.kind == "warning" && event.get("node") == Some(TRANSPORT) && event.get("allow") == Some("unchecked-dma")
    };
    ensure!(machine.events().iter().any(is_it), "no line about what is given up:\n{}", machine.log());
    let loaded = machine.shell(VM, "/assay/load 2>&1; ls /proc/device-tree/virtio_mmio*/dma-coherent", PROMPT, SOON)?;
    ensure!(loaded.contains("loaded") && loaded.contains("virtio_mmio@c000000/dma-coherent"), "{loaded}");
    let write = "dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; sha256sum </dev/vda";
    let there = machine.shell(VM, write, PROMPT, LIMIT)?;
    let sum: String = Sha256::digest(fs::read(&image)?).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(there.contains(&sum), "the disk's file is {sum}, and Debian reads {there}");
    // The next life starts with the transport as the last left it, its queues in memory that was cleared since.
    machine.send(VM, "reboot -f\n")?;
    machine.expect(VM, "reboot: Restarting system", SOON)?;
    wait_for_shell(&mut machine, VM, BOOT).context("the second life")?;
    let read = machine.shell(VM, "/assay/load 2>&1; sha256sum </dev/vda", PROMPT, LIMIT)?;
    ensure!(read.contains(&sum), "the disk's file is {sum}, and Debian reads in its second life: {read}");
    power_off(machine)?;
    fs::remove_dir_all(&folder)?;
    Ok("16 MiB".into())
}

/// Each in a VM of its own, beside one that has what the last of them wants.
fn refused() -> Result<String> {
    let wanted = [
        ("transport", "/virtio_mmio@a000000", "in a page of 4 KiB with /virtio_mmio@a000200"),
        ("firmware", "/fw-cfg@9020000", "may access memory by itself (DMA)"),
        ("console", "/pl011@9000000", "is the console, which EL2 drives"),
        ("clock", "/pl031@9010000", "is the clock that the clocks of all VMs go by"),
        ("gic", "/intc@8000000", "is the interrupt controller, which EL2 drives"),
        ("host", "/pcie@10000000", "is a PCI host bridge or behind one"),
        ("nothing", "/soc/ethernet@ff0e0000", "is no PCI function, and no node of firmware's tree"),
        ("twice", GPIO, "is claimed twice, also by VM again"),
        ("again", GPIO, "is claimed twice, also by VM twice"),
    ];
    let vms: String = wanted.iter().map(|(name, device, _)| vm(name, "", device)).collect();
    let well = "[[vm]]\nname = \"well\"\nmemory = \"64M\"\nkernel = \"hello\"\n";
    let mut machine = Machine::builder().manifest_text(&format!("{vms}{well}")).start()?;
    let _ = machine.expect_event("the other VM's end", LIMIT, |event| event.is_vm("well", "stopped"))?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    for (name, device, reason) in &wanted {
        let is_it = |event: &&assay_harness::Event| event.kind == "refused" && event.get("vm") == Some(name);
        let line = events.iter().find(is_it).with_context(|| format!("{name} is not refused:\n{}", machine.log()))?;
        let said = line.get("reason").unwrap_or_default();
        ensure!(said.contains(reason) && said.contains(device), "{name}: another reason: {line}");
    }
    Ok(format!("{} refused", wanted.len()))
}
