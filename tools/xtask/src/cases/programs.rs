//! The programs of `guests/`: each tests one behaviour from inside a VM and reports in KTAP.

use std::time::Duration;

use anyhow::{Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::qemu::Gic;
use assay_harness::{Machine, image, programs};

use super::{Case, Success};
use crate::setup::Extra;

const LIMIT: Duration = Duration::from_secs(120);

/// How one program is run.
#[derive(Clone, Copy)]
struct Setup {
    program: &'static str,
    variant: &'static str,
    cpus: u32,
    gic: Gic,
    cpu: &'static str,
    /// Further lines of the VM in the manifest.
    lines: &'static str,
    /// In the newer QEMU, which has more of MTE.
    qemu_next: bool,
}

impl Setup {
    const fn on(self, cpu: &'static str) -> Self {
        Self { cpu, ..self }
    }

    const fn in_qemu_next(self) -> Self {
        Self { qemu_next: true, ..self }
    }
}

const fn setup(program: &'static str, variant: &'static str, cpus: u32, lines: &'static str) -> Setup {
    Setup { program, variant, cpus, gic: Gic::V3, cpu: "max", lines, qemu_next: false }
}

const fn on_gic2(base: Setup) -> Setup {
    Setup { gic: Gic::V2, ..base }
}

const EXPOSED: &str = "mte = true\ncmdline = \"mte=expect-exposed\"";
const HIDDEN: &str = "cmdline = \"mte=expect-hidden\"";

/// How the programs that need more than the default are run. What isn't here runs on 2 vCPUs, on both
/// interrupt controllers.
const SETUPS: &[Setup] = &[
    setup("hello", "", 1, ""),
    on_gic2(setup("hello", "-gic2", 2, "")),
    setup("vgic", "", 4, ""),
    on_gic2(setup("vgic", "-gic2", 4, "")),
    setup("psci", "", 4, ""),
    setup("psci", "-one-cpu", 1, ""),
    setup("psci", "-64-cpus", 64, ""),
    setup("mte", "-exposed", 2, EXPOSED),
    setup("mte", "-exposed-neoverse-n2", 2, EXPOSED).on("neoverse-n2"),
    setup("mte", "-exposed-qemu-next", 2, EXPOSED).in_qemu_next(),
    setup("mte", "-hidden", 2, HIDDEN),
    setup("mte", "-hidden-cortex-a710", 2, HIDDEN).on("cortex-a710"),
    setup("watchdog", "", 1, "watchdog = true"),
    setup("watchdog", "-absent", 1, ""),
    setup("uart", "", 1, ""),
    on_gic2(setup("uart", "-gic2", 1, "")),
    setup("sweep", "", 2, ""),
    setup("pmu", "", 2, "pmu = true"),
    on_gic2(setup("pmu", "-gic2", 2, "pmu = true")),
    setup("pmu", "-cortex-a53", 2, "pmu = true").on("cortex-a53"),
    setup("pmu", "-neoverse-n2", 2, "pmu = true").on("neoverse-n2"),
    setup("traps", "-pmu", 2, "pmu = true"),
    setup("reset", "", 2, ""),
    setup("reset", "-mte", 2, "mte = true"),
    setup("memory", "", 2, ""),
    setup("memory", "-cortex-a53", 2, "").on("cortex-a53"),
    setup("traps", "", 2, ""),
    setup("traps", "-mte", 2, "mte = true"),
    setup("traps", "-cortex-a53", 2, "").on("cortex-a53"),
    setup("traps", "-neoverse-n2", 2, "").on("neoverse-n2"),
    on_gic2(setup("traps", "-gic2", 2, "")),
];

/// These run in their own way: `bench` with `cargo xtask bench`, `crash` in `endings`, `work` in `shared`, `shared` in
/// `between`, `coherent`, `leak`, `offline` and `platform` in groups of their own, `pci` in that of `coherent`.
const SPECIAL: &[&str] =
    &["bench", "coherent", "crash", "leak", "offline", "pci", "platform", "shared", "virtio", "work"];

pub(super) fn cases() -> Result<Vec<Case>> {
    let mut cases = vec![Case::new("guest/vgic-as-an-image-elsewhere-in-memory", elsewhere)];
    for program in programs::list()? {
        if SPECIAL.contains(&program.as_str()) {
            continue;
        }
        let own: Vec<Setup> = SETUPS.iter().filter(|setup| setup.program == program).copied().collect();
        if own.is_empty() {
            let (one, two) = (program.clone(), program.clone());
            cases.push(Case::new(format!("guest/{program}"), move || run(&one, &setup("", "", 2, ""))));
            let gic2 = on_gic2(setup("", "", 2, ""));
            cases.push(Case::new(format!("guest/{program}-gic2"), move || run(&two, &gic2)));
        }
        for setup in own {
            let program = program.clone();
            let name = format!("guest/{program}{}", setup.variant);
            let case = Case::new(name, move || run(&program, &setup));
            cases.push(if setup.qemu_next { case.wants(Extra::NextQemu) } else { case });
        }
    }
    Ok(cases)
}

fn run(program: &str, setup: &Setup) -> Result<Success> {
    let lines = setup.lines;
    let cpus = setup.cpus;
    let text =
        format!("[[vm]]\nname = \"{program}\"\ncpus = {cpus}\nmemory = \"64M\"\nkernel = \"{program}\"\n{lines}\n");
    let mut builder = Machine::builder().manifest_text(&text).gic(setup.gic).cpu(setup.cpu);
    if setup.qemu_next {
        builder = builder.qemu(Cache::locate()?.qemu(true));
    }
    judged(builder.start()?, program)
}

/// A program as a flat `Image`, in RAM that is not where it was linked to: it relocates itself.
fn elsewhere() -> Result<Success> {
    let path = std::env::temp_dir().join(format!("assay-elsewhere-{}.img", std::process::id()));
    std::fs::write(&path, image::flatten(&std::fs::read(programs::path("vgic")?)?)?)?;
    let kernel = path.display();
    let text = format!(
        "[[vm]]\nname = \"vgic\"\ncpus = 4\nmemory = \"64M\"\nmemory-ipa = \"0x80000000\"\nkernel = \"{kernel}\"\n"
    );
    let ran = Machine::builder().manifest_text(&text).start().map_err(Into::into).and_then(|it| judged(it, "vgic"));
    std::fs::remove_file(&path)?;
    ran
}

fn judged(machine: Machine, program: &str) -> Result<Success> {
    let report = machine.finish_report(program, LIMIT)?;
    let counts = report.counts();
    ensure!(counts.passed + counts.skipped > 0, "nothing was tested");
    let skipped = if counts.skipped > 0 { format!(", {} skipped", counts.skipped) } else { String::new() };
    Ok(Success { note: format!("{} results{skipped}", counts.passed), report: Some(report) })
}
