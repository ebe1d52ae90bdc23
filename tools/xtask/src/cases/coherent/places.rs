//! Regions that nobody may have (T1) or that two want (T2): refused with a reason, and the others run.

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;

use super::agreement::{self, Platform};
use super::facts::{Facts, MARKED, UNMARKED};
use super::{BEYOND, LIMIT, RAM, line_of, teaches, vm};
use crate::cases::Case;

/// A case's name, the faulty facts, and what the reason must speak of.
pub(super) const FAULTS: &[(&str, Facts, &str)] = &[
    ("t1-marked-and-denied", Facts { node: "assay,mte-capable; arm,no-mte;", ..MARKED }, "arm,no-mte"),
    (
        "t1-overlaps-another-region",
        Facts {
            others: "npu0-memory@77fff000 { compatible = \"assay,coherent-memory\"; \
                     reg = <0 0x77fff000 0 0x2000>; no-map; };",
            ..MARKED
        },
        "npu0-memory",
    ),
    (
        "t1-overlaps-a-reservation",
        Facts { others: "firmware@71000000 { reg = <0 0x71000000 0 0x1000>; no-map; };", ..MARKED },
        "firmware",
    ),
    ("t1-overlaps-registers", Facts { start: 0x902_0000, size: 0x1000, ..MARKED }, "/fw-cfg@9020000"),
    ("t1-in-a-pci-window", Facts { start: 0x2000_0000, ..MARKED }, "/pcie@10000000"),
    (
        "t1-overlaps-tag-storage",
        Facts {
            others: "tags@71000000 { compatible = \"arm,mte-tag-storage\"; \
                     reg = <0 0x71000000 0 0x1000>; };",
            ..MARKED
        },
        "tag storage",
    ),
    ("t1-partly-inside-memory", Facts { start: 0x7800_0000, size: 0x1000_0000, ..MARKED }, "partly"),
    ("t1-not-of-whole-pages", Facts { size: 0x7ff_f800, ..MARKED }, "4 KiB"),
    (
        "t1-several-ranges",
        Facts { node: "assay,mte-capable; reg = <0 0x70000000 0 0x1000>, <0 0x70002000 0 0x1000>;", ..MARKED },
        "more than one",
    ),
    ("t1-beyond-the-physical-addresses", Facts { start: 1 << 48, ..MARKED }, "physical addresses"),
    ("t1-overlaps-assay", Facts { start: 0x4000_0000, size: 0x1000_0000, ..MARKED }, "Assay"),
    (
        // Nothing is there: QEMU answers with external aborts.
        "t1-absent-memory",
        Facts { start: BEYOND + 0x1_0000_0000, ..MARKED },
        "",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = FAULTS
        .iter()
        .map(|(name, facts, wanted)| Case::new(format!("coherent/{name}"), || fault(name, facts, wanted, "ram", true)))
        .collect();
    // Without MTE there is no tag part that would notice.
    cases.push(Case::new("coherent/t1-absent-memory-as-an-aperture-without-tags", || {
        let facts = Facts { start: BEYOND + 0x1_0000_0000, ..MARKED };
        fault("t1-absent-aperture", &facts, "", "aperture", false)
    }));
    cases.push(Case::new("coherent/an-aperture-that-does-not-answer-is-the-guests-abort", dead));
    cases.push(Case::new("coherent/t2-two-vms-and-neither-gets-it", two_owners));
    cases.push(Case::new("coherent/a-region-is-in-one-vm-and-not-in-another", beside));
    cases
}

/// An aperture that is Device is not proved: that nothing is behind it shows when the guest looks, and is its own abort.
/// QEMU takes that to EL1 whatever `HCR_EL2.TEA` says, so EL2 has nothing to tell of it here.
fn dead() -> Result<String> {
    let facts = Facts { start: BEYOND + 0x1_0000_0000, ..UNMARKED };
    let text = format!(
        "platform = [{:?}]\n{}{}",
        facts.file("dead-aperture")?,
        vm("look", "cmdline = \"use=aperture expect=dead exec=no\"", "use = \"aperture\""),
        vm("other", ABSENT, "")
    );
    let mut machine = start(&text, false)?;
    machine.wait(LIMIT)?;
    other_ran(&machine)?;
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}

const ABSENT: &str = "cmdline = \"expect=absent\"";

/// Beside the VM that is refused another runs, and sees no region.
fn fault(name: &str, facts: &Facts, wanted: &str, use_: &str, tags: bool) -> Result<String> {
    let claim = format!("use = \"{use_}\"");
    let text =
        format!("platform = [{:?}]\n{}{}", facts.file(name)?, vm("look", ABSENT, &claim), vm("other", ABSENT, ""));
    let mut machine = start(&text, tags)?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = line_of(&events, "refused", "look").with_context(|| format!("not refused:\n{}", machine.log()))?;
    ensure!(line.get("rule") == Some("T1"), "another rule: {line}");
    teaches(line)?;
    let reason = line.get("reason").unwrap_or_default();
    ensure!(reason.contains(wanted), "no word of {wanted:?}: {line}");
    other_ran(&machine)?;
    // Where Assay itself lies is only known at boot.
    if !reason.contains("Assay") {
        agreement::check(name, &text, &Platform { tags, ..PLATFORM }, &events)?;
    }
    Ok(reason.to_owned())
}

const PLATFORM: Platform<'_> = Platform { cpu: "max", tags: true, arguments: &[], qemu: None };

fn start(text: &str, tags: bool) -> Result<Machine> {
    let builder = Machine::builder().manifest_text(text);
    Ok(builder.physical_memory(RAM).machine_mte(tags).start()?)
}

pub(super) fn other_ran(machine: &Machine) -> Result<()> {
    let report = assay_harness::Report::parse(&machine.output("other"));
    report.check().map_err(anyhow::Error::msg)?;
    ensure!(
        machine.events().iter().any(|event| event.is_vm("other", "stopped")),
        "the other VM didn't run to its end:\n{}",
        machine.log()
    );
    Ok(())
}

fn two_owners() -> Result<String> {
    let text = format!(
        "platform = [{:?}]\n{}{}{}",
        MARKED.file("t2-two-vms")?,
        vm("one", ABSENT, "use = \"ram\""),
        vm("two", ABSENT, "use = \"dax\""),
        vm("other", ABSENT, "")
    );
    let mut machine = start(&text, true)?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    for (vm, rival) in [("one", "two"), ("two", "one")] {
        let line =
            line_of(&events, "refused", vm).with_context(|| format!("{vm} is not refused:\n{}", machine.log()))?;
        ensure!(line.get("rule") == Some("T2"), "another rule: {line}");
        teaches(line)?;
        let reason = line.get("reason").unwrap_or_default();
        ensure!(reason.contains(rival), "the rival isn't named: {line}");
    }
    other_ran(&machine)?;
    agreement::check("t2-two-vms", &text, &PLATFORM, &events)?;
    Ok(String::new())
}

fn beside() -> Result<String> {
    let sees = "mte = true\ncmdline = \"use=dax expect=wb-tagged exec=no\"";
    let text = format!(
        "platform = [{:?}]\n{}{}",
        MARKED.file("beside")?,
        vm("look", sees, "use = \"dax\""),
        vm("other", ABSENT, "")
    );
    let mut machine = start(&text, true)?;
    machine.wait(LIMIT)?;
    other_ran(&machine)?;
    agreement::check("beside", &text, &PLATFORM, &machine.events())?;
    let counts = machine.finish_ktap("look", LIMIT)?;
    Ok(format!("{} results", counts.passed))
}
