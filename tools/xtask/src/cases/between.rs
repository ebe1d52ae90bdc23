//! Memory between VMs and doorbells: several VMs that run the guest `shared`, each in a role.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::qemu::Gic;
use assay_harness::{Event, Machine, Report};

use super::Case;
use super::coherent::agreement::{self, Platform};

const LIMIT: Duration = Duration::from_secs(240);
/// Physical memory, the same for QEMU and for `explain`.
const RAM: u64 = 512 << 20;

/// One VM: its role, its access, and further lines.
#[derive(Clone, Copy)]
struct Side(&'static str, &'static str, &'static str);

/// One machine.
#[derive(Clone, Copy)]
struct Setup {
    name: &'static str,
    gic: Gic,
    tags: bool,
    size: &'static str,
    sides: &'static [Side],
}

const fn setup(name: &'static str, sides: &'static [Side]) -> Setup {
    Setup { name, gic: Gic::V3, tags: false, size: "1M", sides }
}

const MTE: &str = "mte = true";
const TALK: &[Side] = &[Side("front", "rw", ""), Side("back", "rw", "")];

const SETUPS: &[Setup] = &[
    setup("between/messages-there-and-back", TALK),
    Setup { gic: Gic::V2, ..setup("between/messages-there-and-back-gic2", TALK) },
    Setup { tags: true, ..setup("between/both-sides-with-tags", &[Side("front", "rw", MTE), Side("back", "rw", MTE)]) },
    Setup {
        tags: true,
        // 1.25 MiB and a page: three pieces of memory.
        size: "1284K",
        ..setup(
            "between/one-side-with-tags-and-a-reader",
            &[Side("front", "rw", MTE), Side("back", "rw", ""), Side("reader", "ro", "")],
        )
    },
    Setup {
        tags: true,
        ..setup(
            "between/a-reader-with-tags",
            &[Side("front", "rw", ""), Side("back", "rw", ""), Side("reader", "ro", MTE)],
        )
    },
    setup("between/a-storm-of-rings", &[Side("calm", "rw", ""), Side("storm", "rw", "")]),
    Setup {
        gic: Gic::V2,
        ..setup("between/a-storm-of-rings-gic2", &[Side("calm", "rw", ""), Side("storm", "rw", "")])
    },
    setup("between/one-side-restarts", &[Side("again", "rw", ""), Side("stay", "rw", "")]),
];

pub(super) fn cases() -> Vec<Case> {
    let case = |setup: &Setup| {
        let setup = *setup;
        Case::new(setup.name, move || run(&setup))
    };
    let mut cases: Vec<Case> = SETUPS.iter().map(case).collect();
    cases.push(Case::new("between/a-side-without-tags-to-have-is-refused-alone", refused));
    cases
}

fn manifest(size: &str, sides: &[Side]) -> String {
    let has_reader = sides.iter().any(|Side(role, ..)| *role == "reader");
    let mut text = format!("[[shared]]\nname = \"ring0\"\nsize = \"{size}\"\n");
    for Side(role, access, lines) in sides {
        let reader = if has_reader && *role == "front" { " reader" } else { "" };
        text += &format!(
            "[[vm]]\nname = \"{role}\"\nmemory = \"32M\"\nkernel = \"shared\"\n\
             cmdline = \"role={role}{reader}\"\n{lines}\n\
             [[vm.shared]]\nregion = \"ring0\"\naccess = \"{access}\"\ndoorbell = true\n"
        );
    }
    text
}

fn run(setup: &Setup) -> Result<String> {
    let manifest = manifest(setup.size, setup.sides);
    let mut machine = Machine::builder()
        .manifest_text(&manifest)
        .gic(setup.gic)
        .machine_mte(setup.tags)
        .physical_memory(RAM)
        .start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let mut notes = Vec::new();
    for Side(role, access, _) in setup.sides {
        let line = decision(&events, role).with_context(|| machine.log())?;
        for (key, wanted) in [("use", "shared"), ("attr", "normal-wb"), ("exec", "no"), ("access", access)] {
            ensure!(line.get(key) == Some(wanted), "{key} is not {wanted}: {line}");
        }
        let output = machine.output(role);
        let counts = Report::parse(&output).check();
        let counts = counts.map_err(|complaint| anyhow::anyhow!("{role}: {complaint}\n{}", machine.log()))?;
        ensure!(counts.passed > 0, "{role} tested nothing");
        let told = |line: &&str| line.contains("messages there") || line.ends_with(" rings");
        notes.extend(output.lines().find(told).map(str::to_owned));
    }
    if setup.gic == Gic::V3 {
        let platform = Platform { cpu: "max", tags: setup.tags, arguments: &[], qemu: None };
        let name = setup.name.replace('/', "-");
        agreement::check(&name, &manifest, &platform, &events)?;
    }
    machine.finish(Duration::ZERO)?;
    Ok(notes.join("; "))
}

fn decision<'a>(events: &'a [Event], vm: &str) -> Result<&'a Event> {
    let found = events
        .iter()
        .find(|event| event.kind == "decision" && event.get("vm") == Some(vm) && event.get("region") == Some("ring0"));
    found.with_context(|| format!("no decision on ring0 for {vm}"))
}

/// On a machine without tags, the side that wants them does not start; the other has the region for itself.
fn refused() -> Result<String> {
    let sides = [Side("front", "rw", MTE), Side("stay", "rw", "")];
    let text = manifest("64K", &sides).replace("kernel = \"shared\"", "kernel = \"hello\"");
    let mut machine = Machine::builder().manifest_text(&text).machine_mte(false).physical_memory(RAM).start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let refused = |region: &str| {
        events.iter().any(|event| {
            event.kind == "refused"
                && event.get("vm") == Some("front")
                && event.get("region") == Some(region)
                && event.get("rule") == Some("M3")
        })
    };
    ensure!(refused("ring0") && refused("memory"), "not refused: {}", machine.log());
    decision(&events, "stay")?;
    ensure!(events.iter().any(|event| event.is_vm("stay", "stopped")), "the other did not run: {}", machine.log());
    let platform = Platform { cpu: "max", tags: false, arguments: &[], qemu: None };
    agreement::check("shared-refused", &text, &platform, &events)?;
    Ok(String::new())
}
