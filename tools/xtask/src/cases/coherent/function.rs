//! The PCI function that goes with an aperture, behind the emulated host bridge: registers, interrupts, no DMA.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;
use assay_harness::qemu::Gic;
use serde_json::json;

use super::facts::{Facts, MARKED};
use super::{LIMIT, REGION, line_of, pci, ramdisk, teaches};
use crate::cases::linux::{BOOT, PROMPT, SOON, VM, power_off, wait_for_shell};
use crate::cases::{Case, last_life};

/// Function 00:02.0 as QEMU's teaching device.
const EDU: &[&str] = &["-device", "edu,addr=2.0,dma_mask=0xffffffffff"];
/// As something that works by DMA.
const NET: &[&str] = &["-device", "virtio-net-pci,addr=2.0,romfile="];
/// The Command register of 00:02.0 in the machine's own configuration space.
const COMMAND: &str = "xp /1hx 0x4010010004";

/// A case's name, the claim, what else there is, and what the reason must speak of.
const REFUSED: &[(&str, &str, &[&str], &str)] = &[
    ("function-that-works-by-dma-is-refused", "use = \"aperture\"\ndevice = \"0000:00:02.0\"", NET, "DMA"),
    ("function-that-is-not-there-is-refused", "use = \"aperture\"\ndevice = \"0000:00:07.0\"", EDU, "no PCI function"),
    (
        "function-without-a-name-is-refused",
        "use = \"aperture\"\ndevice = \"/pcie@10000000/gpu@9\"",
        EDU,
        "no PCI function",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("coherent/function-edu-works", || edu(Gic::V3, "")),
        Case::new("coherent/function-edu-works-with-gicv2", || edu(Gic::V2, "")),
        Case::new("coherent/function-edu-works-on-shared-cpus", || edu(Gic::V3, "sched = \"shared\"\n")),
        Case::new("coherent/functions-of-one-line-and-another", || several(Gic::V3, "")),
        Case::new("coherent/functions-of-one-line-and-another-with-gicv2", || several(Gic::V2, "")),
        Case::new("coherent/function-is-reset-between-lives", || reset("")),
        Case::new("coherent/function-is-reset-between-lives-on-shared-cpus", || reset("sched = \"shared\"\n")),
        Case::new("coherent/function-is-quiet-after-a-reset", again),
        Case::new("coherent/function-with-its-memory-as-aperture", ivshmem),
        Case::new("coherent/function-in-two-vms-is-in-none", twice),
        Case::new("coherent/functions-of-one-device-in-two-vms-are-in-none", apart),
        Case::linux("coherent/linux-6.1-sees-the-function", || linux("debian")),
        Case::linux("coherent/linux-6.12-sees-the-function", || linux("debian-6.12")),
    ];
    cases.extend(REFUSED.iter().map(|(name, claim, arguments, wanted)| {
        Case::new(format!("coherent/{name}"), || refused(name, claim, arguments, wanted))
    }));
    cases
}

/// A VM that runs the guest `pci` and claims the region with function 00:02.0.
fn vm(name: &str, words: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = 2\nmemory = \"64M\"\nkernel = \"pci\"\ncmdline = \"{words}\"\n\
         [[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"aperture\"\ndevice = \"0000:00:02.0\"\n"
    )
}

fn start(name: &str, facts: &Facts, vms: &str, arguments: &[&str], gic: Gic) -> Result<Machine> {
    let text = format!("platform = [{:?}]\n{vms}", facts.file(name)?);
    let builder = Machine::builder().manifest_text(&text).gic(gic);
    Ok(builder.physical_memory(super::RAM).arguments(arguments.iter().copied()).start()?)
}

/// The function's registers are D1, and Bus Master, which the guest has set, is not.
fn edu(gic: Gic, sched: &str) -> Result<String> {
    let name =
        format!("function-edu-{}{}", if gic == Gic::V2 { 2 } else { 3 }, if sched.is_empty() { "" } else { "-shared" });
    let vm = vm("look", "device=edu wait").replace("cpus = 2\n", &format!("cpus = 2\n{sched}"));
    let mut machine = start(&name, &MARKED, &vm, EDU, gic)?;
    machine.expect("look", "pci: ready", LIMIT)?;
    let answer = machine.qmp()?.execute("human-monitor-command", &json!({ "command-line": COMMAND }))?;
    let command = answer.as_str().and_then(|text| text.trim().rsplit("0x").next());
    let command = command.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let command = command.with_context(|| format!("the machine's monitor says {answer}"))?;
    ensure!(command & 0b111 == 0b010, "the function's Command is {command:#06x}");
    machine.send("look", "q")?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = events.iter().find(|event| event.kind == "decision" && event.get("region") == Some("0000:00:02.0/bar0"));
    let line = line.with_context(|| format!("no decision:\n{}", machine.log()))?;
    for (key, wanted) in
        [("attr", "device-ngnre"), ("exec", "no"), ("rule", "D1"), ("ipa", "0x10000000"), ("size", "0x100000")]
    {
        ensure!(line.get(key) == Some(wanted), "no {key}={wanted}: {line}");
    }
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}

/// Three functions without a region, of which the first two have one interrupt: the second and the third work.
fn several(gic: Gic, sched: &str) -> Result<String> {
    let functions = ["-device", "edu,addr=2.0", "-device", "edu,addr=6.0", "-device", "edu,addr=3.0"];
    let mut passed = 0;
    for at in 2..=3 {
        let vm = format!(
            "[[vm]]\nname = \"look\"\ncpus = 2\n{sched}memory = \"64M\"\nkernel = \"pci\"\n\
             cmdline = \"device=edu alone at={at}/3\"\ndevices = [\"0000:00:02.0\", \"00:06.0\", \"00:03.0\"]\n"
        );
        let builder = Machine::builder().manifest_text(&vm).gic(gic);
        let mut machine = builder.arguments(functions).start()?;
        machine.wait(LIMIT)?;
        let events = machine.events();
        let bars = [("0000:00:02.0", "0x10000000"), ("0000:00:06.0", "0x10100000"), ("0000:00:03.0", "0x10200000")];
        for (function, ipa) in bars {
            let region = format!("{function}/bar0");
            let line = events.iter().find(|event| event.kind == "decision" && event.get("region") == Some(&region));
            let line = line.with_context(|| format!("no decision on {region}:\n{}", machine.log()))?;
            ensure!(line.get("ipa") == Some(ipa), "another place: {line}");
        }
        passed += machine.finish_ktap("look", LIMIT)?.passed;
    }
    Ok(format!("{passed} results"))
}

/// A network controller that can be reset forgets what a life has left in its multicast table; its BARs stay.
fn reset(sched: &str) -> Result<String> {
    let igb = ["-machine", "iommu=smmuv3", "-netdev", "user,id=n", "-device", "igb,netdev=n,addr=2.0,romfile="];
    let vm = format!(
        "[[vm]]\nname = \"look\"\nmemory = \"64M\"\nkernel = \"pci\"\ncmdline = \"keeps=20992\"\n\
         devices = [\"00:02.0\"]\n{sched}"
    );
    let mut machine = Machine::builder().manifest_text(&vm).arguments(igb).start()?;
    for life in ["the first life", "the second life", "the third life"] {
        machine.expect("look", "pci: found 0x0, left 0x5aa51234", LIMIT).context(life)?;
    }
    machine.send("look", "q")?;
    machine.wait(LIMIT)?;
    machine.finish(LIMIT)?;
    Ok(String::new())
}

/// The first life leaves INTx asserted; the second finds no interrupt active for ever.
fn again() -> Result<String> {
    let mut machine = start("function-again", &MARKED, &vm("look", "device=edu again"), EDU, Gic::V3)?;
    machine.expect("look", "pci: again", LIMIT)?;
    machine.expect("look", "pci: again", LIMIT).context("the second life")?;
    let passed = last_life(&mut machine, "look", LIMIT)?;
    machine.finish(LIMIT)?;
    Ok(format!("{passed} results"))
}

fn ivshmem() -> Result<String> {
    let mut machine =
        start("function-ivshmem", &pci::UNMARKED, &vm("look", "device=ivshmem"), pci::ACCELERATOR, Gic::V3)?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = line_of(&events, "decision", "look");
    let line = line.with_context(|| format!("no decision:\n{}", machine.log()))?;
    ensure!(line.get("rule") == Some("C4"), "another rule: {line}");
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}

fn twice() -> Result<String> {
    let facts = Facts {
        others: "other-memory@6f000000 { compatible = \"assay,coherent-memory\"; \
                 reg = <0 0x6f000000 0 0x100000>; no-map; };",
        ..MARKED
    };
    let second = vm("two", "device=edu").replace(REGION, "other-memory");
    let vms = vm("one", "device=edu") + &second;
    let mut machine = start("function-twice", &facts, &vms, EDU, Gic::V3)?;
    machine.wait(LIMIT)?;
    both_refused(&machine, "claimed twice")
}

fn both_refused(machine: &Machine, wanted: &str) -> Result<String> {
    let events = machine.events();
    for vm in ["one", "two"] {
        let line = events.iter().find(|event| event.kind == "refused" && event.get("vm") == Some(vm));
        let line = line.with_context(|| format!("{vm} isn't refused:\n{}", machine.log()))?;
        ensure!(line.get("reason").is_some_and(|reason| reason.contains(wanted)), "another reason: {line}");
        teaches(line)?;
    }
    Ok(String::new())
}

/// Two functions of one device, a VM each.
fn apart() -> Result<String> {
    let functions = ["-machine", "iommu=smmuv3", "-device", "edu,addr=2.0,multifunction=on", "-device", "edu,addr=2.1"];
    let vm = |name, function| {
        format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"pci\"\ndevices = [\"{function}\"]\n")
    };
    let vms = vm("one", "00:02.0") + &vm("two", "00:02.1");
    let mut machine = Machine::builder().manifest_text(&vms).arguments(functions).start()?;
    machine.wait(LIMIT)?;
    both_refused(&machine, "one device of the root bus")
}

fn refused(name: &str, claim: &str, arguments: &[&str], wanted: &str) -> Result<String> {
    let vms = super::vm("look", "cmdline = \"expect=absent\"", claim);
    let mut machine = start(name, &MARKED, &vms, arguments, Gic::V3)?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = events.iter().find(|event| event.kind == "refused");
    let line = line.with_context(|| format!("not refused:\n{}", machine.log()))?;
    teaches(line)?;
    let reason = line.get("reason").unwrap_or_default();
    ensure!(reason.contains(wanted), "no word of {wanted:?}: {line}");
    Ok(reason.to_owned())
}

/// Debian finds the host bridge, the function and its BAR, and leaves them where they are.
fn linux(kernel: &str) -> Result<String> {
    let text = format!(
        "platform = [{:?}]\n[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"512M\"\nkernel = \"{kernel}\"\n\
         initrd = {:?}\ncmdline = \"console=ttyAMA0\"\n\
         [[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"aperture\"\ndevice = \"0000:00:02.0\"\n",
        pci::UNMARKED.file(&format!("function-{kernel}"))?,
        ramdisk::make(kernel)?,
    );
    let mut machine = Machine::builder()
        .manifest_text(&text)
        .physical_memory(3 << 29)
        .arguments(pci::ACCELERATOR.iter().copied())
        .start()?;
    wait_for_shell(&mut machine, VM, BOOT)?;
    let devices = machine.shell(VM, "ls /sys/bus/pci/devices", PROMPT, SOON)?;
    ensure!(devices.trim() == "0000:00:01.0", "devices: {devices:?}");
    let show = "(cd /sys/bus/pci/devices/0000:00:01.0; cat vendor device resource)";
    let shown = machine.shell(VM, show, PROMPT, Duration::from_secs(30))?;
    for wanted in ["0x1af4", "0x1110", "0x0000000010000000 0x00000000100000ff", "0x0000000080000000 0x0000000087ffffff"]
    {
        ensure!(shown.contains(wanted), "no {wanted} in {shown:?}");
    }
    power_off(machine)?;
    Ok(String::new())
}
