//! The figures as a table and as a file.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::{Figure, Figures};

/// What each figure must reach at most, as its unit counts. Figures on shared CPUs have those that are named so.
const TARGETS: &[(&str, f64)] = &[
    ("hvc_psci_version", 70.0),
    ("hvc_unknown", 80.0),
    ("smc_psci_version", 80.0),
    ("psci_affinity_info", 120.0),
    ("trng_rnd64", 120.0),
    ("trap_id_register_read", 100.0),
    ("mmio_gicd_typer_read", 180.0),
    ("mmio_gicd_iidr_read", 180.0),
    ("mmio_gicd_ctlr_read", 180.0),
    ("mmio_gicd_pidr2_read", 180.0),
    ("mmio_gicd_isenabler_read", 220.0),
    ("mmio_gicd_isenabler_write", 220.0),
    ("mmio_gicr_typer_read", 180.0),
    ("mmio_gicr_typer_read_32", 180.0),
    ("mmio_uart_status_read", 180.0),
    ("shared_mmio_gicd_typer_read", 250.0),
    ("shared_mmio_gicr_typer_read_32", 250.0),
    ("shared_mmio_gicd_isenabler_read", 250.0),
    ("shared_mmio_gicd_isenabler_write", 250.0),
    ("abort_injected", 200.0),
    ("sgi_self", 250.0),
    ("sgi_to_nobody", 120.0),
    ("vtimer_spin", 150.0),
    ("vtimer_wfi", 150.0),
    ("ptimer_spin", 250.0),
    ("ipi", 900.0),
    ("shared_ipi", 1500.0),
    ("stage2_first_touch", 0.0),
    ("reset_to_guest_entry", 6_000_000.0),
    ("linux_reset_to_guest_entry", 16_000_000.0),
    ("linux_boot_el2_insns", 80_000.0),
    ("linux_boot_el2_entries", 300.0),
    ("linux_boot_2_cpus_el2_insns", 250_000.0),
    ("linux_boot_ratio", 1.0005),
    ("image_bytes", 153_600.0),
    ("el2_memory_bytes", 2_097_152.0),
    ("el2_memory_64_cpus_bytes", 3_145_728.0),
];

/// Prints every figure with those of others `beside` it, its limit, and what it was `before`.
pub(super) fn print(figures: &Figures, beside: &[(&str, &Figures)], before: Option<&Figures>) {
    let heading = if before.is_some() { format!(" {:>12} {:>9}", "before", "change") } else { String::new() };
    let columns = |of: &dyn Fn(&str, &Figures) -> String| -> String {
        beside.iter().map(|(whose, figures)| format!(" {:>10}", of(whose, figures))).collect()
    };
    let named = columns(&|whose, _| whose.to_owned());
    println!("{:41}{named} {:>12}{heading} {:>10}  unit", "figure", "Assay", "at most");
    let target = |name: &str| TARGETS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    for (name, figure) in figures {
        let limit = target(name);
        let missed = limit.is_some_and(|limit| figure.value > limit);
        println!(
            "{name:41}{} {:>12}{} {:>10}  {}{}",
            columns(&|_, figures| figures.get(name).map_or("-".to_owned(), |figure| number(figure.value))),
            number(figure.value),
            before.map_or(String::new(), |before| compared(figure, before.get(name))),
            limit.map_or("-".to_owned(), number),
            figure.unit,
            if missed { "  missed" } else { "" },
        );
    }
    for (name, value) in TARGETS.iter().filter(|(name, _)| !figures.contains_key(*name)) {
        println!("{name:41}{} {:>12} {:>10}  not measured", columns(&|_, _| "-".to_owned()), "-", number(*value));
    }
    for name in before.into_iter().flat_map(Figures::keys).filter(|name| !figures.contains_key(*name)) {
        println!("{name:41} was in the file, and is not measured now");
    }
}

/// What a figure was, and how much it has grown.
fn compared(figure: &Figure, before: Option<&Figure>) -> String {
    match before {
        Some(before) => {
            let change = figure.value - before.value;
            let change = if change == 0.0 { "=".to_owned() } else { format!("{change:+}") };
            format!(" {:>12} {:>9.9}", number(before.value), change)
        }
        None => format!(" {:>12} {:>9}", "-", "new"),
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.5}") }
}

/// Writes the figures as JSON.
pub(super) fn write_json(figures: &Figures, path: &Path) -> Result<()> {
    let all: Map<String, Value> = figures
        .iter()
        .map(|(name, figure)| (name.clone(), json!({ "value": exact(figure.value), "unit": figure.unit })))
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "figures": all }))?;
    std::fs::write(path, text + "\n").with_context(|| format!("can't write {}", path.display()))
}

/// Reads what [`write_json`] wrote.
///
/// # Errors
/// The file cannot be read, or has no figures.
pub(super) fn read_json(path: &Path) -> Result<Figures> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no file of `bench --json`", path.display()))
}

fn parse(text: &str) -> Option<Figures> {
    let value: Value = serde_json::from_str(text).ok()?;
    let figure = |(name, figure): (&String, &Value)| {
        let (value, unit) = (figure.get("value")?.as_f64()?, figure.get("unit")?.as_str()?.to_owned());
        Some((name.clone(), Figure { value, unit }))
    };
    value.get("figures")?.as_object()?.iter().map(figure).collect()
}

/// Whole numbers without a fraction, as a reader of counts expects them.
fn exact(value: f64) -> Value {
    number(value).parse::<u64>().map_or_else(|_| json!(value), |whole| json!(whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Figure;
    use super::{compared, exact, parse};

    #[test]
    fn counts_are_written_without_a_fraction() {
        assert_eq!(exact(98.0), json!(98));
        assert_eq!(exact(1.0004), json!(1.0004));
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
        let figures = parse(r#"{"figures":{"ipi":{"value":98,"unit":"ns"}}}"#).unwrap();
        assert_eq!(figures["ipi"], Figure { value: 98.0, unit: "ns".to_owned() });
        for broken in ["", "{}", r#"{"figures":{"ipi":98}}"#, r#"{"figures":{"ipi":{"value":"98","unit":"ns"}}}"#] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_change_has_its_sign() {
        let of = |value| Figure { value, unit: "ns".to_owned() };
        let change = |before: Option<f64>| {
            let text = compared(&of(98.0), before.map(of).as_ref());
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(change(Some(100.0)), ["100", "-2"]);
        assert_eq!(change(Some(90.0)), ["90", "+8"]);
        assert_eq!(change(Some(98.0)), ["98", "="]);
        assert_eq!(change(None), ["-", "new"]);
    }
}
