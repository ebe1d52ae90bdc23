//! What an I/O of a virtio device between two VMs costs beside its data: a notice one way, an interrupt the other.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;

use super::exits::Log;
use super::plugin::Plugin;
use super::{Figure, Figures, programs};

const LIMIT: Duration = Duration::from_secs(120);
/// What is beside the I/Os is in both runs.
const TIMES: [u32; 2] = [500, 1500];

/// One run.
struct Run {
    figures: Figures,
    /// Exits of the driver, and of the backend.
    exits: [u64; 2],
    /// Instructions of EL2.
    insns: u64,
}

/// Measures. Each VM has a CPU of its own; with `-icount` QEMU runs the two in turn by one clock, which counts what both
/// execute.
pub(super) fn measure() -> Result<Figures> {
    let (few, many) = super::with_folder("virtio", |folder| Ok((run(folder, TIMES[0])?, run(folder, TIMES[1])?)))?;
    let each = |few: u64, many: u64| {
        Ok::<_, anyhow::Error>(super::whole(many.saturating_sub(few))? / f64::from(TIMES[1] - TIMES[0]))
    };
    let mut figures = many.figures;
    for (at, name) in ["virtio_io_exits_driver", "virtio_io_exits_backend"].into_iter().enumerate() {
        let value = each(few.exits[at], many.exits[at])?;
        let _ = figures.insert(name.to_owned(), Figure { value, unit: "exits".to_owned() });
    }
    let value = each(few.insns, many.insns)?;
    let _ = figures.insert("virtio_io_el2_insns".to_owned(), Figure { value, unit: "insns".to_owned() });
    Ok(figures)
}

fn run(folder: &Path, times: u32) -> Result<Run> {
    let (plugin, log) = (Plugin::build(folder)?, Log::new());
    let vm = |name: &str, words: &str| {
        format!("[[vm]]\nname = \"{name}\"\nmemory = \"16M\"\nkernel = \"virtio\"\ncmdline = \"{words}io={times}\"\n")
    };
    let text =
        vm("front", "") + "[[vm.virtio]]\nname = \"dev0\"\ntype = \"net\"\nbackend = \"back\"\n" + &vm("back", "back ");
    let builder = Machine::builder().manifest_text(&text).physical_cpus(2).icount();
    let mut machine = builder.arguments(log.arguments()).arguments(plugin.arguments()).start()?;
    machine.wait(LIMIT)?;
    let output = machine.output("front");
    let figures = programs::read(&output);
    ensure!(!figures.is_empty(), "no figure:\n{}", machine.log());
    let exits = log.read()?;
    let of = |cpu: usize| exits.get(&cpu).map(|exits| exits.all()).context("a CPU without exits");
    Ok(Run { figures, exits: [of(0)?, of(1)?], insns: plugin.read()? })
}
