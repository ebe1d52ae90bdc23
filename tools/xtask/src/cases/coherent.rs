//! Coherent memory: every rule that QEMU can show, told by Assay's lines and seen by a guest's own eyes.
//!
//! The accelerator is a slice of the machine's RAM that an overlay declares coherent, or, where tag storage
//! must be missing, the memory of a `virtio-mem` device, which QEMU maps outside of RAM and without tags.

mod facts;
mod life;
mod linux;
mod places;
mod ramdisk;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Builder, Event, Machine};

use super::Case;
use facts::Facts;

const LIMIT: Duration = Duration::from_secs(120);
/// The region's name in the overlays.
const REGION: &str = "gpu0-memory";
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
        .map(|look| {
            let case = Case::new(format!("coherent/{}", look.name), || run(look));
            if look.qemu_next { case.long() } else { case }
        })
        .collect();
    cases.extend(places::cases());
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
            vm(
                "look",
                &format!("mte = {mte}\ncmdline = \"use={use_} {sees}\""),
                &format!("use = \"{use_}\"\n{claim}")
            )
        ))
    }

    fn builder(&self) -> Result<Builder> {
        let builder = Machine::builder()
            .manifest_text(&self.manifest()?)
            .cpu(self.cpu)
            .physical_memory(RAM)
            .machine_mte(self.tags);
        let builder = if self.facts.start == BEYOND {
            builder.arguments(UNTAGGED.iter().copied())
        } else {
            builder
        };
        if !self.qemu_next {
            return Ok(builder);
        }
        let next = assay_harness::cache::Cache::locate()?.qemu(true);
        ensure!(
            next.is_file(),
            "{} is not there: `cargo xtask setup --qemu-next` fetches it",
            next.display()
        );
        Ok(builder.qemu(next))
    }
}

/// A VM that runs the guest `coherent`; with a claim unless that is empty. Two CPUs: with one, QEMU never
/// faults on an unaligned access to Device memory.
fn vm(name: &str, lines: &str, claim: &str) -> String {
    let head = format!(
        "[[vm]]\nname = \"{name}\"\ncpus = 2\nmemory = \"64M\"\nkernel = \"coherent\"\n{lines}\n"
    );
    if claim.is_empty() {
        head
    } else {
        format!("{head}[[vm.coherent]]\nregion = \"{REGION}\"\n{claim}\n")
    }
}

fn run(look: &Look) -> Result<String> {
    let mut machine = look.builder()?.start()?;
    let waited = machine.wait(LIMIT);
    let events = machine.events();
    match look.wanted {
        Wanted::Gets {
            attr,
            rule,
            proof,
            exec,
            exposed,
            ..
        } => {
            let line = line_of(&events, "decision", "look")
                .with_context(|| format!("no decision:\n{}", machine.log()))?;
            for (key, wanted) in [
                ("use", look.use_),
                ("attr", attr),
                ("rule", rule),
                ("proof", proof),
                ("exec", if exec { "yes" } else { "no" }),
                ("mte", if exposed { "exposed" } else { "hidden" }),
            ] {
                ensure!(
                    line.get(key) == Some(wanted),
                    "{key} is not {wanted}: {line}"
                );
            }
            waited?;
            let counts = machine.finish_ktap("look", LIMIT)?;
            ensure!(counts.passed > 0, "nothing was tested");
            Ok(format!("{} results", counts.passed))
        }
        Wanted::Refused { rule } => {
            let line = line_of(&events, "refused", "look")
                .with_context(|| format!("not refused:\n{}", machine.log()))?;
            ensure!(
                line.get("rule") == Some(rule),
                "another rule than {rule}: {line}"
            );
            teaches(line)?;
            ensure!(
                !events.iter().any(|event| event.is_vm("look", "started")),
                "it started all the same:\n{}",
                machine.log()
            );
            waited?;
            Ok(line.get("reason").unwrap_or_default().to_owned())
        }
    }
}

/// Assay's line of this kind about the region and this VM.
fn line_of<'a>(events: &'a [Event], kind: &str, vm: &str) -> Option<&'a Event> {
    events.iter().find(|event| {
        event.kind == kind && event.get("vm") == Some(vm) && event.get("region") == Some(REGION)
    })
}

/// A refusal says why, and what would change it.
fn teaches(line: &Event) -> Result<()> {
    for key in ["reason", "remedy"] {
        ensure!(
            line.get(key).is_some_and(|text| text.len() > 10),
            "no {key}: {line}"
        );
    }
    Ok(())
}
