//! The figures that programs of `guests/` measure of themselves, on machines of each kind.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::qemu::Gic;
use assay_harness::{Builder, Machine, programs};

use super::{Figure, Figures};

const LIMIT: Duration = Duration::from_secs(120);

/// How the names of figures begin that are measured in each [`Place`]: those of exits.
const EXITS: &[&str] =
    &["abort_", "console_", "hvc_", "ipi", "mmio_", "psci_", "ptimer_", "sgi_", "smc_", "trap_", "trng_", "vtimer_"];

/// Where the program `bench` runs.
struct Place {
    /// How the names of its figures begin.
    prefix: &'static str,
    gic: Gic,
    /// Lines of the VM in the manifest.
    lines: &'static str,
}

/// The first has all figures.
const PLACES: [Place; 4] = [
    Place { prefix: "", gic: Gic::V3, lines: "" },
    Place { prefix: "shared_", gic: Gic::V3, lines: "sched = \"shared\"\n" },
    Place { prefix: "gicv2_", gic: Gic::V2, lines: "" },
    Place { prefix: "gicv2_shared_", gic: Gic::V2, lines: "sched = \"shared\"\n" },
];

/// Measures. Returns the figures under Assay, and those at EL1 of the machine itself.
pub(super) fn measure() -> Result<(Figures, Figures)> {
    let (mut all, mut native) = (Figures::new(), Figures::new());
    for place in &PLACES {
        for cpus in [1, 2] {
            let what = || format!("the program `bench` as {}{cpus} CPUs", place.prefix);
            add(&mut all, place, under_assay(place, cpus).with_context(what)?);
            if place.lines.is_empty() {
                add(&mut native, place, natively(place.gic, cpus).with_context(what)?);
            }
        }
    }
    let memory = Figure { value: memory(64).context("EL2's memory on 64 CPUs")?, unit: "bytes".to_owned() };
    all.insert("el2_memory_64_cpus_bytes".to_owned(), memory);
    all.extend(message().context("a message of a PCI function")?);
    Ok((all, native))
}

fn add(all: &mut Figures, place: &Place, figures: Figures) {
    let wanted = |name: &str| place.prefix.is_empty() || EXITS.iter().any(|prefix| name.starts_with(prefix));
    let named = figures.into_iter().filter(|(name, _)| wanted(name));
    all.extend(named.map(|(name, figure)| (format!("{}{name}", place.prefix), figure)));
}

fn natively(gic: Gic, cpus: u32) -> Result<Figures> {
    let builder = Machine::builder().native(programs::path("bench")?).physical_memory(256 << 20).gic(gic);
    Ok(run(builder.physical_cpus(cpus).arguments(["-append", "native"]), "native")?.0)
}

fn under_assay(place: &Place, cpus: u32) -> Result<Figures> {
    let lines = place.lines;
    let manifest = format!("[[vm]]\nname = \"bench\"\ncpus = {cpus}\nmemory = \"256M\"\nkernel = \"bench\"\n{lines}");
    let builder = Machine::builder().manifest_text(&manifest).gic(place.gic).physical_cpus(cpus);
    let (mut figures, machine) = run(builder, "bench")?;
    if cpus == 1 {
        let memory = Figure { value: el2_bytes(&machine)?, unit: "bytes".to_owned() };
        figures.insert("el2_memory_bytes".to_owned(), memory);
    }
    Ok(figures)
}

/// What EL2 takes on a machine of so many CPUs with a VM of one.
fn memory(cpus: u32) -> Result<f64> {
    let manifest = "[[vm]]\nname = \"hello\"\nmemory = \"64M\"\nkernel = \"hello\"\n";
    let mut machine = Machine::builder().manifest_text(manifest).physical_cpus(cpus).icount().start()?;
    machine.wait(LIMIT)?;
    el2_bytes(&machine)
}

fn el2_bytes(machine: &Machine) -> Result<f64> {
    let bytes = machine.events().iter().find_map(|event| event.get("el2_bytes")?.parse().ok());
    bytes.with_context(|| format!("no word of EL2's memory:\n{}", machine.log()))
}

/// A message of a PCI function behind an SMMUv3, through the ITS, to the VM's handler.
fn message() -> Result<Figures> {
    let manifest = "[[vm]]\nname = \"bench\"\nmemory = \"64M\"\nkernel = \"pci\"\ncmdline = \"device=edu-latency\"\n\
        devices = [\"0000:00:02.0\"]\n";
    let builder = Machine::builder().manifest_text(manifest).physical_cpus(1);
    let builder = builder.arguments(["-M", "iommu=smmuv3", "-device", "edu,addr=2.0,dma_mask=0xffffffffffffffff"]);
    Ok(run(builder, "bench")?.0)
}

/// The `BENCH` lines of a machine that runs until it powers off.
pub(super) fn run(builder: Builder, name: &str) -> Result<(Figures, Machine)> {
    let mut machine = builder.icount().start()?;
    machine.wait(LIMIT)?;
    let output = machine.output(name);
    ensure!(!output.contains("Bail out!"), "it went no further:\n{}", machine.log());
    let figures = read(&output);
    ensure!(!figures.is_empty(), "it reported no figure:\n{}", machine.log());
    Ok((figures, machine))
}

/// `BENCH NAME VALUE UNIT` lines.
pub(super) fn read(text: &str) -> Figures {
    let figure = |line: &str| {
        let mut words = line.trim().strip_prefix("BENCH ")?.split_whitespace();
        let (name, value, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some((name.to_owned(), Figure { value, unit: unit.to_owned() }))
    };
    text.lines().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Figures;
    use super::{PLACES, add, read};

    #[test]
    fn figures_are_read_from_between_other_lines() {
        let figures = read("KTAP version 1\r\nBENCH hvc_unknown 98 ns\r\nok 1 hvc_unknown\r\nBENCH broken\r\n");
        assert_eq!(figures.len(), 1);
        assert_eq!((figures["hvc_unknown"].value, figures["hvc_unknown"].unit.as_str()), (98.0, "ns"));
    }

    #[test]
    fn of_other_places_only_exits_are_figures() {
        let measured = read("BENCH ipi 98 ns\nBENCH stage2_first_touch 0 ns\n");
        let mut all = Figures::new();
        PLACES.iter().for_each(|place| add(&mut all, place, measured.clone()));
        let names: Vec<_> = all.into_keys().collect();
        assert_eq!(names, ["gicv2_ipi", "gicv2_shared_ipi", "ipi", "shared_ipi", "stage2_first_touch"]);
    }
}
