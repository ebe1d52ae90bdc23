//! `proof = "at-start"`: memory that the boot does not look at, and that each start of its VM proves anew.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use assay_harness::qmp::Qmp;
use assay_harness::{Event, Machine};
use serde_json::json;

use super::facts::{Facts, MARKED, UNMARKED};
use super::life::until;
use super::pci::{ACCELERATOR, LIE};
use super::places::other_ran;
use super::{BEYOND, LIMIT, RAM, REGION, line_of, teaches, vm};
use crate::build;
use crate::cases::Case;

const SIZE: u64 = 64 << 20;
/// Room for the device, and a port that it comes to while the machine runs.
const PORT: &[&str] = &["-m", "1024M,slots=1,maxmem=4G", "-device", "pcie-root-port,id=slot3,addr=3.0"];
/// Function 00:02.0 as an NVMe controller, whose memory is BAR 2.
const CONTROLLER_DEVICE: &str = "nvme,serial=assay,cmb_size_mb=2,addr=2.0";
/// What runs before QEMU's own start of a kernel, in place of firmware: it puts that function into D3hot.
#[rustfmt::skip]
const SLEEP: [u32; 7] = [
    0xd280_0c81, 0xf2a2_0021, 0xf2c0_0801, // mov   x1, #0x4010010064, the function's PMCSR
    0x5280_0062,                           // mov   w2, #3
    0x7900_0022,                           // strh  w2, [x1]
    0xd2a8_0003,                           // mov   x3, #0x40000000
    0xd61f_0060,                           // br    x3
];
const CONTROLLER: Facts = Facts { node: "assay,pci-bar = <0 0x10 2>; assay,length = <0 0x100000>;", ..MARKED };

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("coherent/at-start-a-device-may-come-after-the-boot-and-go-again", comes_and_goes),
        Case::new("coherent/at-start-tags-that-are-lost-refuse", lost_tags),
        Case::new("coherent/at-start-a-function-that-sleeps-is-woken", sleeps),
    ]
}

/// The device's memory is there only while the device is.
fn comes_and_goes() -> Result<String> {
    let facts = Facts { start: BEYOND, size: SIZE, ..UNMARKED };
    let text = format!(
        "platform = [{:?}]\n[[vm]]\nname = \"look\"\ncpus = 2\nmemory = \"16M\"\nkernel = \"crash\"\n\
         cmdline = \"crash=spin\"\n[[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"ram\"\nallow = [\"mte-hidden\"]\n\
         proof = \"at-start\"\n[[vm]]\nname = \"other\"\nmemory = \"16M\"\nkernel = \"heartbeat\"\n\
         cmdline = \"beat sum every=500\"\n",
        facts.file("comes-and-goes")?
    );
    let builder = Machine::builder().manifest_text(&text).physical_memory(RAM).physical_cpus(3);
    let mut machine = builder.arguments(PORT.iter().copied()).start()?;
    let mut qmp = machine.qmp()?;
    let size = SIZE;
    qmp.execute("object-add", &json!({ "qom-type": "memory-backend-ram", "id": "late", "size": size }))?;
    let is_refusal = |event: &Event| event.kind == "refused" && event.get("vm") == Some("look");
    let refused = machine.expect_event("the first refusal", LIMIT, is_refusal)?;
    is_of_the_proof(&refused)?;
    ensure!(
        !machine.events().iter().any(|event| event.kind == "proof" && event.get("vm").is_none()),
        "the boot looked"
    );
    machine.open_monitor()?;
    plug(&mut qmp)?;
    machine.monitor("start look")?;
    until(&mut machine, 1).context("with the device")?;
    machine.monitor("restart look")?;
    until(&mut machine, 2).context("the second life")?;
    unplug(&mut qmp)?;
    machine.monitor("restart look")?;
    let _ = machine.expect_event("the second refusal", LIMIT, is_refusal)?;
    let _ = machine.expect_event("the end", LIMIT, |event| event.is_vm("look", "crashed"))?;
    plug(&mut qmp)?;
    machine.monitor("start look")?;
    until(&mut machine, 3).context("with the device again")?;
    machine.monitor("stop look")?;
    machine.leave_monitor("quit")?;
    machine.send("other", "q")?;
    machine.wait(LIMIT)?;
    let results: Vec<String> =
        machine.events().iter().filter(|event| event.kind == "proof").filter_map(result).collect();
    let wanted = ["failed-memory", "passed", "passed", "failed-memory", "passed"];
    ensure!(results == wanted, "the proofs: {results:?}");
    let output = machine.output("other");
    let last = output.lines().rfind(|line| line.contains("rounds=")).context("the neighbour says nothing")?;
    ensure!(last.contains(" wrong=0") && last.contains(" lost=0"), "the neighbour has noticed: {last}");
    Ok(last.to_owned())
}

/// The result of a proof of the VM's.
fn result(event: &Event) -> Option<String> {
    (event.get("vm") == Some("look")).then(|| event.get("result").map(str::to_owned))?
}

fn is_of_the_proof(refused: &Event) -> Result<()> {
    let (rule, reason) = (refused.get("rule"), refused.get("reason").unwrap_or_default());
    let is_right = rule == Some("T1") && refused.get("region") == Some(REGION) && reason.contains("at 0x80000000");
    ensure!(is_right, "another refusal: {refused}");
    teaches(refused)
}

fn plug(qmp: &mut Qmp) -> Result<()> {
    let device = json!({ "driver": "virtio-mem-pci", "id": "device", "memdev": "late", "bus": "slot3" });
    let _ = qmp.execute("device_add", &device)?;
    Ok(())
}

/// Nobody drives the port, so that QEMU takes the device away by itself.
fn unplug(qmp: &mut Qmp) -> Result<()> {
    qmp.execute("device_del", &json!({ "id": "device" }))?;
    let start = Instant::now();
    while qmp.execute("query-memory-devices", &json!({}))?.as_array().is_some_and(|all| !all.is_empty()) {
        ensure!(start.elapsed() < LIMIT, "the device does not go");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The machine of these cases: `look` with the region, and another VM beside it.
fn two(name: &str, facts: &Facts, look: &str, claim: &str, arguments: &[&str]) -> Result<Machine> {
    let other = vm("other", "cmdline = \"expect=absent\"", "");
    let text = format!("platform = [{:?}]\n{}{other}", facts.file(name)?, vm("look", look, claim));
    let builder = Machine::builder().manifest_text(&text).physical_memory(RAM).machine_mte(true);
    let mut machine = builder.arguments(arguments.iter().copied()).start()?;
    machine.wait(LIMIT)?;
    Ok(machine)
}

fn lost_tags() -> Result<String> {
    let claim = "use = \"ram\"\nproof = \"at-start\"";
    let machine = two("lost-tags", &LIE, "mte = true\ncmdline = \"expect=absent\"", claim, ACCELERATOR)?;
    let events = machine.events();
    let decision = line_of(&events, "decision", "look").context("no decision")?;
    let is_right = decision.get("proof") == Some("at-start") && decision.get("rule") == Some("C1");
    ensure!(is_right, "another decision: {decision}");
    let refused = line_of(&events, "refused", "look").with_context(|| format!("not refused:\n{}", machine.log()))?;
    ensure!(refused.get("rule") == Some("C5"), "another rule: {refused}");
    teaches(refused)?;
    ensure!(!events.iter().any(|event| event.is_vm("look", "started")), "it started all the same");
    other_ran(&machine)?;
    Ok(refused.get("reason").unwrap_or_default().to_owned())
}

/// In D3hot a function's memory does not answer. At the boot that is a refusal; at the start the function is woken first.
fn sleeps() -> Result<String> {
    let code = build::target()?.join("assay/sleep.bin");
    fs::write(&code, SLEEP.map(u32::to_le_bytes).concat())
        .with_context(|| format!("can't write {}", code.display()))?;
    let first = format!("loader,file={},addr=0x60000000,force-raw=on,cpu-num=0", code.display());
    let asleep = &["-device", CONTROLLER_DEVICE, "-device", &first];
    let claim = "use = \"ram\"\nallow = [\"mte-hidden\"]\n";
    let machine = two("sleeps-at-boot", &CONTROLLER, "cmdline = \"expect=absent\"", claim, asleep)?;
    let events = machine.events();
    let refused = line_of(&events, "refused", "look").with_context(|| format!("not refused:\n{}", machine.log()))?;
    let remedy = refused.get("remedy").unwrap_or_default();
    ensure!(refused.get("rule") == Some("T1") && remedy.contains("at-start"), "another refusal: {refused}");
    let (look, claim) = ("cmdline = \"use=ram expect=wb-untagged exec=yes\"", format!("{claim}proof = \"at-start\""));
    let machine = two("sleeps-at-start", &CONTROLLER, look, &claim, asleep)?;
    let events = machine.events();
    let proof = events.iter().find_map(result).context("no proof at the start")?;
    ensure!(proof == "passed", "the proof: {proof}");
    other_ran(&machine)?;
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}
