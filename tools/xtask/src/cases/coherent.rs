//! Coherent memory: every rule that QEMU can show, told by Assay's lines and seen by a guest's own eyes.
//!
//! The accelerator is a slice of the machine's RAM that an overlay declares coherent, or, where tag storage
//! must be missing, the memory of a `virtio-mem` device, which QEMU maps outside of RAM and without tags, or of an
//! `ivshmem-plain` device, which is a PCI BAR.

pub(super) mod agreement;
mod aliased;
mod at_start;
pub(in crate::cases) mod facts;
mod function;
mod life;
mod linux;
mod pci;
mod places;
pub(in crate::cases) mod ramdisk;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::{Event, Machine};

use super::Case;
use crate::setup::Extra;
use agreement::Platform;
use facts::Facts;

const LIMIT: Duration = Duration::from_secs(120);
/// The region's name in the overlays.
pub(in crate::cases) const REGION: &str = "gpu0-memory";
/// What the machine must have for the slice to be wholly inside of its RAM.
const RAM: u64 = 1 << 30;
/// Where `virtio-mem` has its memory on a machine with [`RAM`].
const BEYOND: u64 = 0x8000_0000;
/// Memory that is no RAM: nothing need drive the device for its memory to be there.
const UNTAGGED: &[&str] = &[
    "-m",
    "1024M,slots=1,maxmem=4G",
    "-object",
    "memory-backend-ram,id=accelerator,size=128M",
    "-device",
    "virtio-mem-pci,memdev=accelerator,romfile=,requested-size=0",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = table::ROWS
        .iter()
        .chain(pci::ROWS)
        .map(|look| {
            let case = Case::new(format!("coherent/{}", look.name), || run(look));
            if look.qemu_next { case.wants(Extra::NextQemu) } else { case }
        })
        .collect();
    cases.extend(places::cases());
    cases.extend(aliased::cases());
    cases.extend(at_start::cases());
    cases.extend(pci::cases());
    cases.extend(function::cases());
    cases.extend(life::cases());
    cases.extend(linux::cases());
    cases
}

/// One VM that claims the region on one machine.
struct Look {
    name: &'static str,
    cpu: &'static str,
    /// Whether the machine's RAM has tags.
    tags: bool,
    /// What the tree says.
    facts: Facts,
    /// What the manifest asks for: `use`, further lines of the claim, and `mte`.
    use_: &'static str,
    claim: &'static str,
    mte: bool,
    wanted: Wanted,
    /// Needs a CPU that only the newer QEMU has.
    qemu_next: bool,
}

/// What shall come of it.
enum Wanted {
    /// The VM starts, and this is the decision.
    Gets {
        attr: &'static str,
        rule: &'static str,
        proof: &'static str,
        /// The guest's `expect=`.
        sees: &'static str,
        exec: bool,
        /// Whether the VM has MTE.
        exposed: bool,
    },
    /// It doesn't.
    Refused { rule: &'static str },
}

impl Look {
    fn manifest(&self) -> Result<String> {
        let sees = match self.wanted {
            Wanted::Gets { sees, exec, .. } => {
                format!("expect={sees} exec={}", if exec { "yes" } else { "no" })
            }
            Wanted::Refused { .. } => "expect=absent".to_owned(),
        };
        let (use_, claim, mte) = (self.use_, self.claim, self.mte);
        Ok(format!(
            "platform = [{:?}]\n{}",
            self.facts.file(self.name)?,
            vm("look", &format!("mte = {mte}\ncmdline = \"use={use_} {sees}\""), &format!("use = \"{use_}\"\n{claim}"))
        ))
    }

    fn arguments(&self) -> &'static [&'static str] {
        if self.facts.is_bar() {
            pci::ACCELERATOR
        } else if self.facts.start == BEYOND {
            UNTAGGED
        } else {
            &[]
        }
    }

    fn platform(&self) -> Result<Platform<'static>> {
        let next = Cache::locate()?.qemu(true);
        Ok(Platform {
            cpu: self.cpu,
            tags: self.tags,
            arguments: self.arguments(),
            qemu: self.qemu_next.then_some(next),
        })
    }
}

/// A VM that runs the guest `coherent`; with a claim unless that is empty. Two CPUs: with one, QEMU never
/// faults on an unaligned access to Device memory.
fn vm(name: &str, lines: &str, claim: &str) -> String {
    let head = format!("[[vm]]\nname = \"{name}\"\ncpus = 2\nmemory = \"64M\"\nkernel = \"coherent\"\n{lines}\n");
    if claim.is_empty() { head } else { format!("{head}[[vm.coherent]]\nregion = \"{REGION}\"\n{claim}\n") }
}

fn run(look: &Look) -> Result<String> {
    let (manifest, platform) = (look.manifest()?, look.platform()?);
    let builder = Machine::builder()
        .manifest_text(&manifest)
        .cpu(look.cpu)
        .physical_memory(RAM)
        .machine_mte(look.tags)
        .arguments(look.arguments().iter().copied());
    let builder = match &platform.qemu {
        Some(qemu) => builder.qemu(qemu),
        None => builder,
    };
    let mut machine = builder.start()?;
    let waited = machine.wait(LIMIT);
    let events = machine.events();
    let note = match look.wanted {
        Wanted::Gets { .. } => {
            decided(look, &events).with_context(|| machine.log())?;
            waited?;
            let counts = machine.finish_ktap("look", LIMIT)?;
            ensure!(counts.passed > 0, "nothing was tested");
            format!("{} results", counts.passed)
        }
        Wanted::Refused { rule } => {
            let reason = refused(rule, &events).with_context(|| machine.log())?;
            waited?;
            reason
        }
    };
    agreement::check(look.name, &manifest, &platform, &events)?;
    Ok(note)
}

fn decided(look: &Look, events: &[Event]) -> Result<()> {
    let Wanted::Gets { attr, rule, proof, exec, exposed, .. } = look.wanted else {
        return Ok(());
    };
    let line = line_of(events, "decision", "look").context("no decision")?;
    for (key, wanted) in [
        ("use", look.use_),
        ("attr", attr),
        ("rule", rule),
        ("proof", proof),
        ("exec", if exec { "yes" } else { "no" }),
        ("mte", if exposed { "exposed" } else { "hidden" }),
    ] {
        ensure!(line.get(key) == Some(wanted), "{key} is not {wanted}: {line}");
    }
    if proof == "failed-tags" {
        disproved(events)?;
    }
    Ok(())
}

fn refused(rule: &str, events: &[Event]) -> Result<String> {
    let line = line_of(events, "refused", "look").context("not refused")?;
    ensure!(line.get("rule") == Some(rule), "another rule than {rule}: {line}");
    teaches(line)?;
    let reason = line.get("reason").unwrap_or_default();
    if reason.contains("did not come back") {
        disproved(events)?;
    }
    ensure!(!events.iter().any(|event| event.is_vm("look", "started")), "it started all the same");
    Ok(reason.to_owned())
}

/// C2 is told as an error, whatever then decides.
fn disproved(events: &[Event]) -> Result<()> {
    let error = line_of(events, "error", "look").context("no error tells of C2")?;
    let reason = error.get("reason").unwrap_or_default();
    ensure!(reason.contains("counts as unmarked"), "another error: {error}");
    Ok(())
}

/// Assay's line of this kind about the region and this VM.
fn line_of<'a>(events: &'a [Event], kind: &str, vm: &str) -> Option<&'a Event> {
    events.iter().find(|event| event.kind == kind && event.get("vm") == Some(vm) && event.get("region") == Some(REGION))
}

/// A refusal says why, and what would change it.
fn teaches(line: &Event) -> Result<()> {
    for key in ["reason", "remedy"] {
        ensure!(line.get(key).is_some_and(|text| text.len() > 10), "no {key}: {line}");
    }
    Ok(())
}
