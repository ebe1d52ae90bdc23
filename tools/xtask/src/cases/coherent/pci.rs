//! Regions that are PCI BARs: the accelerator is QEMU's `ivshmem-plain`, whose memory is BAR 2 and has no tags. No
//! firmware runs, so that Assay has to place the BAR.

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;

use super::facts::{Facts, MARKED};
use super::table::{BASE, MTE, exposed, gets, refused};
use super::{LIMIT, Look, RAM, line_of, teaches, vm};
use crate::cases::Case;

/// Functions 00:02.0, with 128 MiB in BAR 2, and 00:03.0, which is a bridge.
pub(super) const ACCELERATOR: &[&str] = &[
    "-object",
    "memory-backend-ram,id=accelerator,size=128M,share=on",
    "-device",
    "ivshmem-plain,memdev=accelerator,addr=2.0",
    "-device",
    "pcie-root-port,id=bridge,addr=3.0",
];

pub(super) const UNMARKED: Facts =
    Facts { node: "assay,pci-bar = <0 0x10 2>; assay,length = <0 0x8000000>;", ..MARKED };
/// The mark on memory that has no tags.
pub(super) const LIE: Facts =
    Facts { node: "assay,pci-bar = <0 0x10 2>; assay,length = <0 0x8000000>; assay,mte-capable;", ..MARKED };
/// Less than the BAR leads to.
const PART: Facts = Facts { node: "assay,pci-bar = <0 0x10 2>; assay,length = <0 0x6000000>;", ..MARKED };

#[rustfmt::skip]
pub(super) const ROWS: &[Look] = &[
    Look { name: "bar-unmarked-aperture-is-c4", facts: UNMARKED, use_: "aperture",
        wanted: gets("device-ngnre", "C4", "not-run", "device", false), ..BASE },
    Look { name: "bar-unmarked-ram-is-c5", facts: UNMARKED, wanted: refused("C5"), ..BASE },
    Look { name: "bar-unmarked-dax-with-mte-is-c5", facts: UNMARKED, use_: "dax", wanted: refused("C5"), ..MTE },
    Look { name: "bar-marked-aperture-is-c2-and-c4", facts: LIE, use_: "aperture",
        wanted: exposed("device-ngnre", "C4", "failed-tags", "device", false), ..MTE },
    Look { name: "bar-marked-ram-is-c2-and-c5", facts: LIE, wanted: refused("C5"), ..MTE },
    Look { name: "bar-ram-by-r1", facts: UNMARKED, claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "passed", "wb-untagged", true), ..BASE },
    Look { name: "bar-ram-by-r1-proved-at-the-start", facts: UNMARKED,
        claim: "allow = [\"mte-hidden\"]\nproof = \"at-start\"",
        wanted: gets("normal-wb", "R1", "at-start", "wb-untagged", true), ..BASE },
    Look { name: "bar-unmarked-aperture-has-nothing-to-prove", facts: UNMARKED, use_: "aperture",
        claim: "proof = \"at-start\"", wanted: gets("device-ngnre", "C4", "not-run", "device", false), ..BASE },
    Look { name: "bar-marked-ram-is-c2-and-r1", facts: LIE, claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "failed-tags", "wb-untagged", true), ..BASE },
    Look { name: "bar-in-part-dax-by-r1", facts: PART, use_: "dax", claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "passed", "wb-untagged", false), ..BASE },
    Look { name: "bar-dax-by-r2", facts: UNMARKED, use_: "dax", claim: "allow = [\"non-cacheable\"]",
        wanted: exposed("normal-nc", "R2", "passed", "nc", false), ..MTE },
];

/// A case's name, the faulty facts, and what the reason must speak of. Only the machine has these faults, so that
/// `explain` cannot tell.
pub(super) const FAULTS: &[(&str, Facts, &str)] = &[
    (
        "t1-bar-is-shorter",
        Facts { node: "assay,pci-bar = <0 0x10 2>; assay,length = <0 0x8001000>;", ..MARKED },
        "0x8000000 bytes",
    ),
    (
        "t1-bar-is-not-there",
        Facts { node: "assay,pci-bar = <0 0x10 4>; assay,length = <0 0x1000>;", ..MARKED },
        "no BAR of this index",
    ),
    (
        "t1-bar-is-an-upper-half",
        Facts { node: "assay,pci-bar = <0 0x10 3>; assay,length = <0 0x1000>;", ..MARKED },
        "upper half",
    ),
    (
        "t1-bar-of-no-function",
        Facts { node: "assay,pci-bar = <0 0x100 2>; assay,length = <0 0x1000>;", ..MARKED },
        "behind a bridge",
    ),
    (
        "t1-bar-of-a-bridge",
        Facts { node: "assay,pci-bar = <0 0x18 0>; assay,length = <0 0x1000>;", ..MARKED },
        "bridge",
    ),
    (
        "t1-bar-of-no-segment",
        Facts { node: "assay,pci-bar = <7 0x10 2>; assay,length = <0 0x1000>;", ..MARKED },
        "segment",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let faults =
        FAULTS.iter().map(|(name, facts, wanted)| Case::new(format!("coherent/{name}"), || fault(name, facts, wanted)));
    faults.collect()
}

/// The VM is refused, and another runs.
fn fault(name: &str, facts: &Facts, wanted: &str) -> Result<String> {
    let absent = "cmdline = \"expect=absent\"";
    let text = format!(
        "platform = [{:?}]\n{}{}",
        facts.file(name)?,
        vm("look", absent, "use = \"aperture\""),
        vm("other", absent, "")
    );
    let builder = Machine::builder().manifest_text(&text);
    let mut machine = builder.physical_memory(RAM).arguments(ACCELERATOR.iter().copied()).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let line = line_of(&events, "refused", "look").with_context(|| format!("not refused:\n{}", machine.log()))?;
    ensure!(line.get("rule") == Some("T1"), "another rule: {line}");
    teaches(line)?;
    let reason = line.get("reason").unwrap_or_default();
    ensure!(reason.contains(wanted), "no word of {wanted:?}: {line}");
    let report = assay_harness::Report::parse(&machine.output("other"));
    report.check().map_err(anyhow::Error::msg)?;
    Ok(reason.to_owned())
}
