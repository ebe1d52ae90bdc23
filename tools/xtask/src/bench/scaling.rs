//! `bench --scaling`: what 1, 2, 4, 8 and 16 VMs side by side cost, on one and the same machine of 16 CPUs.
//!
//! With `-icount` QEMU runs the CPUs in turn, and its clock counts the instructions of all of them together: two
//! VMs that start at once take twice as long by that clock as one. So a time here is a sum of work, and work
//! that grows evenly with the number of VMs is what no interference looks like. Exits are counted in QEMU's log
//! of exceptions, CPU by CPU: EL2 has no part in that.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Event, Machine};

use super::exits::{Exits, Log};
use super::plot::{Chart, Series};

/// How many VMs.
const COUNTS: [u32; 5] = [1, 2, 4, 8, 16];
/// The machine: the same for all.
const CPUS: u32 = 16;
const MEMORY: u64 = 4 << 30;
/// 16 Debians on one host CPU take their time.
const LIMIT: Duration = Duration::from_secs(3600);
const PROMPT: &str = "debian:/# ";

/// One guest, N times.
struct Guest {
    name: &'static str,
    /// Lines of each VM in the manifest.
    lines: &'static str,
    /// What each VM says when it is measured: the end of the run, unless it powers off.
    until: Option<&'static str>,
    /// Reads when it was up, in ns, from what it said without line ends.
    up: fn(&str) -> Option<u64>,
    /// Whether that number counts from the VM's start instead of from power-on.
    from_start: bool,
}

const SMALL: Guest = Guest {
    name: "scale",
    lines: "memory = \"64M\"\nkernel = \"scale\"\n",
    until: None,
    up: |text| {
        let (_, rest) = text.split_once("scale: first_ns=")?;
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest[..end].parse().ok()
    },
    from_start: false,
};

const DEBIAN: Guest = Guest {
    name: "debian",
    lines: "memory = \"128M\"\nkernel = \"debian\"\ninitrd = \"busybox\"\ncmdline = \"console=ttyAMA0\"\n",
    until: Some(PROMPT),
    up: |text| {
        let (before, _) = text.split_once("Run /init")?;
        let stamp = before.rsplit_once('[')?.1.split_once(']')?.0.trim();
        let (seconds, micro) = stamp.split_once('.')?;
        Some((seconds.parse::<u64>().ok()? * 1_000_000 + micro.parse::<u64>().ok()?) * 1000)
    },
    from_start: true,
};

/// What one run showed. Times in ns from power-on.
struct Row {
    vms: u32,
    /// EL2 has made all VMs.
    made: u64,
    /// The last VM's first instruction.
    started: u64,
    /// The last VM is up.
    up: u64,
    exits: Vec<Exits>,
}

/// Measures and prints; the charts go to `plot`.
pub(super) fn run(linux: bool, plot: Option<&Path>) -> Result<()> {
    println!(
        "{:8} {:>4} {:>12} {:>14} {:>12} {:>14} {:>11} {:>8}  ms, and exits per VM",
        "guest", "VMs", "VMs made", "last started", "last up", "interrupts", "devices", "others"
    );
    let mut charts = Vec::new();
    for guest in [SMALL, DEBIAN].iter().take(if linux { 2 } else { 1 }) {
        let mut rows = Vec::new();
        for vms in COUNTS {
            let row = measure(guest, vms).with_context(|| format!("{vms} × {}", guest.name))?;
            print(guest, &row);
            rows.push(row);
        }
        charts.extend(charts_of(guest, &rows));
    }
    if let Some(path) = plot {
        std::fs::write(path, super::plot::draw(&charts)).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

fn measure(guest: &Guest, vms: u32) -> Result<Row> {
    let manifest: String =
        (0..vms).map(|vm| format!("[[vm]]\nname = \"v{vm}\"\ncpus = [{vm}]\n{}", guest.lines)).collect();
    let log = Log::new();
    let mut machine = Machine::builder()
        .manifest_text(&manifest)
        .physical_cpus(CPUS)
        .physical_memory(MEMORY)
        .icount()
        .arguments(log.arguments())
        .start()?;
    let names: Vec<String> = (0..vms).map(|vm| format!("v{vm}")).collect();
    if let Some(until) = guest.until {
        for name in &names {
            machine.expect(name, until, LIMIT)?;
        }
    } else {
        machine.wait(LIMIT)?;
    }
    let events = machine.events();
    // Where VMs talk at once, one's line may be cut by another's.
    let outputs = names.iter().map(|name| machine.output(name).replace(['\r', '\n'], ""));
    let outputs: Vec<String> = outputs.collect();
    // QEMU writes to the log until it has ended.
    drop(machine);
    let exits = log.read()?;
    let ticks = |event: &Event| event.get("ticks")?.parse::<u64>().ok();
    let boot = events.iter().find_map(|event| event.get("vms").and_then(|_| ticks(event)));
    let mut row = Row { vms, made: boot.context("no boot line")?, started: 0, up: 0, exits: Vec::new() };
    for (index, (name, output)) in names.iter().zip(&outputs).enumerate() {
        let started = events.iter().find(|event| event.is_vm(name, "started"));
        let started = started.and_then(ticks);
        let started = started.with_context(|| format!("{name} never started"))?;
        let up = (guest.up)(output).with_context(|| format!("{name} doesn't say its time"))?;
        let up = if guest.from_start { started + up } else { up };
        row.started = row.started.max(started);
        row.up = row.up.max(up);
        let exits = exits.get(&index).copied().unwrap_or_default();
        ensure!(exits.all() > 0, "the log has no exit of {name}");
        row.exits.push(exits);
    }
    Ok(row)
}

fn print(guest: &Guest, row: &Row) {
    println!(
        "{:8} {:>4} {:>12} {:>14} {:>12} {:>14} {:>11} {:>8}",
        guest.name,
        row.vms,
        milliseconds(row.made),
        milliseconds(row.started),
        milliseconds(row.up),
        span(&row.exits, |exits| exits.interrupts),
        span(&row.exits, |exits| exits.devices),
        span(&row.exits, |exits| exits.others),
    );
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:02}", nanoseconds / 1_000_000, nanoseconds / 10_000 % 100)
}

/// The least and the most of all VMs.
fn span(exits: &[Exits], of: impl Fn(&Exits) -> u64) -> String {
    let least = exits.iter().map(&of).min().unwrap_or(0);
    let most = exits.iter().map(&of).max().unwrap_or(0);
    if least == most { format!("{most}") } else { format!("{least}–{most}") }
}

fn charts_of(guest: &Guest, rows: &[Row]) -> [Chart; 2] {
    let series = |name: &str, of: &dyn Fn(&Row) -> f64| Series {
        name: name.to_owned(),
        points: rows.iter().map(|row| (f64::from(row.vms), of(row))).collect(),
    };
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let most = |row: &Row, of: &dyn Fn(&Exits) -> u64| row.exits.iter().map(of).max().unwrap_or(0).max(1) as f64;
    [
        Chart {
            title: format!("{}: ms from power-on, instructions of all CPUs", guest.name),
            series: vec![
                series("all VMs made", &|row| ms(row.made)),
                series("last VM started", &|row| ms(row.started)),
                series("last VM up", &|row| ms(row.up)),
            ],
        },
        Chart {
            title: format!("{}: exits of the VM with most", guest.name),
            series: vec![
                series("interrupts", &|row| most(row, &|exits| exits.interrupts)),
                series("devices", &|row| most(row, &|exits| exits.devices)),
                series("others", &|row| most(row, &|exits| exits.others)),
            ],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{DEBIAN, SMALL};

    #[test]
    fn the_time_is_read_from_what_a_guest_says() {
        assert_eq!((SMALL.up)("scale: first_ns=3735KTAP version 1"), Some(3735));
        let log = "[    0.000000] Booting[    1.762039] Run /init as init process";
        assert_eq!((DEBIAN.up)(log), Some(1_762_039_000));
        assert_eq!((DEBIAN.up)("[    0.000000] Booting"), None);
    }
}
