//! `bench`: the project's figures, in QEMU with one instruction a nanosecond. Reported whatever they are:
//! a missed target shows in the table and fails nothing.

mod boot;
mod plot;
mod scaling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_harness::{Machine, programs};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{build, setup, size};

const LIMIT: Duration = Duration::from_secs(600);

/// What each figure must reach at most, as its unit counts.
const TARGETS: &[(&str, f64)] = &[
    ("hvc_psci_version", 100.0),
    ("hvc_unknown", 100.0),
    ("mmio_gicd_typer_read", 180.0),
    ("mmio_gicr_typer_read", 180.0),
    ("mmio_uart_status_read", 180.0),
    ("trap_id_register_read", 100.0),
    ("sgi_self", 300.0),
    ("vtimer_spin", 180.0),
    ("vtimer_wfi", 180.0),
    ("stage2_first_touch", 0.0),
    ("reset_to_guest_entry", 6_000_000.0),
    ("linux_reset_to_guest_entry", 16_000_000.0),
    ("linux_boot_el2_insns", 180_000.0),
    ("linux_boot_el2_entries", 600.0),
    ("linux_boot_ratio", 1.0005),
    ("image_bytes", 153_600.0),
    ("el2_memory_bytes", 2_097_152.0),
];

/// Figures of an exit, which are measured on a shared CPU too: how their names begin.
const EXITS: &[&str] = &["hvc_", "mmio_", "trap_", "sgi_", "vtimer_"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the small guest's figures, without Linux
    #[arg(long)]
    no_linux: bool,
    /// Instead: what 1, 2, 4, 8 and 16 VMs cost (with Linux half an hour)
    #[arg(long, conflicts_with = "json")]
    scaling: bool,
    /// Draw that into this SVG file
    #[arg(long, value_name = "FILE", requires = "scaling")]
    plot: Option<PathBuf>,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    value: f64,
    unit: String,
}

type Figures = BTreeMap<String, Figure>;

/// Runs the command.
///
/// # Errors
/// Something can't be built or doesn't run; never a figure.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(setup::Needs { qemu: true, guests: if options.no_linux { &[] } else { &["debian", "busybox"] } })?;
    let artifacts = build::firmware(build::Profile::Release)?;
    if options.scaling {
        build::guests(&["scale"])?;
        return scaling::run(!options.no_linux, options.plot.as_deref());
    }
    build::guests(&["bench"])?;
    let mut native = small_guest(On::Machine).context("the small guest, natively")?;
    let mut figures = small_guest(On::DedicatedCpu).context("the small guest under Assay")?;
    let shared = small_guest(On::SharedCpu).context("the small guest on a shared CPU")?;
    figures.extend(shared.into_iter().filter_map(|(name, figure)| {
        let exit = EXITS.iter().any(|prefix| name.starts_with(prefix));
        exit.then(|| (format!("shared_{name}"), figure))
    }));
    let image = size::image(&artifacts.elf, &artifacts.image)?;
    let mut put = |name: &str, value: f64, unit: &str| {
        figures.insert(name.to_owned(), Figure { value, unit: unit.to_owned() });
    };
    put("image_bytes", whole(image.loaded)?, "bytes");
    put("image_bss_bytes", whole(image.bss)?, "bytes");
    if !options.no_linux {
        let linux = boot::measure().context("the Linux boot")?;
        put("linux_boot_to_init", linux.under_assay, "ns");
        native.insert("linux_boot_to_init".to_owned(), Figure { value: linux.native, unit: "ns".to_owned() });
        put("linux_boot_ratio", linux.under_assay / linux.native, "ratio");
    }
    table(&figures, &native);
    if let Some(path) = &options.json {
        write_json(&figures, path)?;
    }
    Ok(())
}

/// Where the small guest runs.
#[derive(Clone, Copy, PartialEq)]
enum On {
    /// On the machine itself.
    Machine,
    /// In a VM with a CPU of its own.
    DedicatedCpu,
    /// In a VM that shares the CPU.
    SharedCpu,
}

/// The `BENCH` lines of the program `bench`, on one CPU.
fn small_guest(on: On) -> Result<Figures> {
    let manifest = "[[vm]]\nname = \"bench\"\nmemory = \"256M\"\nkernel = \"bench\"\n";
    let builder = match on {
        On::Machine => Machine::builder().native(programs::path("bench")?).physical_memory(256 << 20),
        On::DedicatedCpu => Machine::builder().manifest_text(manifest),
        On::SharedCpu => Machine::builder().manifest_text(&format!("{manifest}sched = \"shared\"\n")),
    };
    let mut machine = builder.physical_cpus(1).icount().start()?;
    let native = on == On::Machine;
    let name = if native { "native" } else { "bench" };
    machine.wait(LIMIT)?;
    let mut figures = read(&machine.output(name));
    let boot = machine.events().iter().find_map(|event| event.get("el2_bytes")?.parse().ok());
    if let (Some(value), false) = (boot, native) {
        figures.insert("el2_memory_bytes".to_owned(), Figure { value, unit: "bytes".to_owned() });
    }
    anyhow::ensure!(!figures.is_empty(), "it reported no figure:\n{}", machine.log());
    Ok(figures)
}

/// `BENCH NAME VALUE UNIT` lines.
fn read(text: &str) -> Figures {
    let figure = |line: &str| {
        let mut words = line.trim().strip_prefix("BENCH ")?.split_whitespace();
        let (name, value, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some((name.to_owned(), Figure { value, unit: unit.to_owned() }))
    };
    text.lines().filter_map(figure).collect()
}

fn table(figures: &Figures, native: &Figures) {
    println!("{:28} {:>14} {:>14} {:>14}  unit", "figure", "native", "Assay", "at most");
    let target = |name: &str| TARGETS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    for (name, figure) in figures {
        let limit = target(name);
        let missed = limit.is_some_and(|limit| figure.value > limit);
        println!(
            "{name:28} {:>14} {:>14} {:>14}  {}{}",
            native.get(name).map_or("-".to_owned(), |figure| number(figure.value)),
            number(figure.value),
            limit.map_or("-".to_owned(), number),
            figure.unit,
            if missed { "  missed" } else { "" },
        );
    }
    for (name, _) in TARGETS.iter().filter(|(name, _)| !figures.contains_key(*name)) {
        println!("{name:28} {:>14} {:>14} {:>14}  not measured", "-", "-", target(name).map_or("-".to_owned(), number));
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.5}") }
}

fn whole(value: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(value)?))
}

fn write_json(figures: &Figures, path: &Path) -> Result<()> {
    let all: Map<String, Value> = figures
        .iter()
        .map(|(name, figure)| (name.clone(), json!({ "value": exact(figure.value), "unit": figure.unit })))
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "figures": all }))?;
    std::fs::write(path, text + "\n").with_context(|| format!("can't write {}", path.display()))
}

/// Whole numbers without a fraction, as a reader of counts expects them.
fn exact(value: f64) -> Value {
    number(value).parse::<u64>().map_or_else(|_| json!(value), |whole| json!(whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{exact, read};

    #[test]
    fn figures_are_read_from_between_other_lines() {
        let figures = read("KTAP version 1\r\nBENCH hvc_unknown 98 ns\r\nok 1 hvc_unknown\r\nBENCH broken\r\n");
        assert_eq!(figures.len(), 1);
        assert_eq!((figures["hvc_unknown"].value, figures["hvc_unknown"].unit.as_str()), (98.0, "ns"));
    }

    #[test]
    fn counts_are_written_without_a_fraction() {
        assert_eq!(exact(98.0), json!(98));
        assert_eq!(exact(1.0004), json!(1.0004));
    }
}
