//! `trace`: the monitor's record of a VM's exits, as a file for Perfetto (ui.perfetto.dev) and chrome://tracing.

mod symbols;
mod syndrome;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use assay_harness::Event;
use clap::Args;
use serde_json::{Value, json};

use crate::failure::unusable;
use symbols::{Symbols, VmFile};
use syndrome::decoded;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A console's log, or run --log-dir's assay.log, with the lines that the monitor's `trace NAME show` printed
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// What a VM's program counters are: its ELF file, or Linux's System.map. Without VM= it is every VM's. Linux's
    /// addresses are those of the file only with `nokaslr` on its command line
    #[arg(long, value_name = "[VM=]FILE")]
    symbols: Vec<VmFile>,
    /// Ticks of the machine's counter in a second (CNTFRQ_EL0): 1 GHz from Armv8.6 on, 62500000 in QEMU's older CPUs
    #[arg(long, value_name = "HZ", default_value = "1000000000", value_parser = clap::value_parser!(u64).range(1..))]
    frequency: u64,
    /// Where to write it
    #[arg(short, value_name = "OUT", default_value = "trace.json")]
    output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A file that can't be read, or a log without a record (exit status 2).
pub(crate) fn run(options: &Options) -> Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let log = read(&options.log).map_err(unusable)?;
    let mut symbols = Vec::new();
    for VmFile { vm, file } in &options.symbols {
        let table = Symbols::read(&read(file).map_err(unusable)?).with_context(|| file.display().to_string());
        symbols.push((vm.clone(), table.map_err(unusable)?));
    }
    let exits = exits(&String::from_utf8_lossy(&log)).map_err(unusable)?;
    if exits.is_empty() {
        let what = "has no line `assay: trace …`: type `trace NAME on`, and later `trace NAME show`, at the monitor";
        return Err(unusable(anyhow!("{} {what}", options.log.display())));
    }
    let file = perfetto(&exits, &symbols, options.frequency);
    std::fs::write(&options.output, format!("{file}\n")).with_context(|| options.output.display().to_string())?;
    println!("{}: {} exits", options.output.display(), exits.len());
    Ok(())
}

/// One exit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Recorded {
    vm: String,
    vcpu: u64,
    ticks: u64,
    pc: u64,
    exit: String,
    esr: Option<u64>,
    /// Of an interrupt: its number, and what EL2 says that it is for.
    interrupt: Option<(u32, Option<String>)>,
}

/// The exits of a log, each once: a record may have been shown twice.
fn exits(log: &str) -> Result<Vec<Recorded>> {
    let lines = log.lines().filter_map(Event::parse).filter(|event| event.kind == "trace");
    let mut exits =
        lines.map(|event| recorded(&event).with_context(|| event.to_string())).collect::<Result<Vec<_>>>()?;
    exits.sort();
    exits.dedup();
    Ok(exits)
}

fn recorded(event: &Event) -> Result<Recorded> {
    let get = |key: &str| event.get(key).with_context(|| format!("no {key}"));
    Ok(Recorded {
        vm: get("vm")?.to_owned(),
        vcpu: get("vcpu")?.parse()?,
        ticks: get("ticks")?.parse()?,
        pc: hexadecimal(get("pc")?)?,
        exit: get("exit")?.to_owned(),
        esr: event.get("esr").map(hexadecimal).transpose()?,
        interrupt: match event.get("intid") {
            Some(number) => Some((number.parse()?, event.get("source").map(str::to_owned))),
            None => None,
        },
    })
}

impl Recorded {
    /// What the instant is called.
    fn name(&self) -> String {
        match &self.interrupt {
            Some((number, Some(source))) => format!("IRQ {number} ({source})"),
            Some((number, None)) => format!("IRQ {number}"),
            None => self.exit.clone(),
        }
    }
}

fn hexadecimal(text: &str) -> Result<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => Ok(u64::from_str_radix(digits, 16)?),
        None => bail!("{text:?} is no hexadecimal number"),
    }
}

/// Trace Event Format: a process for each VM, a thread for each vCPU, an instant for each exit.
fn perfetto(exits: &[Recorded], symbols: &[(Option<String>, Symbols)], frequency: u64) -> Value {
    let first = exits.iter().map(|exit| exit.ticks).min().unwrap_or(0);
    let mut vms = BTreeMap::new();
    let mut events = Vec::new();
    for exit in exits {
        let next = vms.len() + 1;
        let pid = *vms.entry(exit.vm.as_str()).or_insert_with(|| {
            events.push(json!({"ph": "M", "name": "process_name", "pid": next, "args": {"name": exit.vm}}));
            next
        });
        // Microseconds with three places. A record is of seconds, so nothing is lost.
        let nanoseconds = u128::from(exit.ticks - first) * 1_000_000_000 / u128::from(frequency);
        let time: Value =
            serde_json::from_str(&format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)).unwrap_or_default();
        let mine = symbols.iter().filter(|(vm, _)| vm.as_ref().is_none_or(|vm| *vm == exit.vm));
        let symbol = mine.filter_map(|(_, table)| table.name(exit.pc)).next();
        let mut arguments = json!({"pc": format!("{:#x}", exit.pc), "ticks": exit.ticks});
        if let Some(symbol) = symbol {
            arguments["symbol"] = symbol.into();
        }
        if let Some(syndrome) = exit.esr {
            arguments["esr"] = format!("{syndrome:#x}").into();
            arguments["what"] = decoded(syndrome).into();
        }
        if let Some((number, source)) = &exit.interrupt {
            arguments["intid"] = (*number).into();
            if let Some(source) = source {
                arguments["source"] = source.as_str().into();
            }
        }
        events.push(json!({
            "ph": "i", "s": "t", "name": exit.name(), "cat": "exit", "pid": pid, "tid": exit.vcpu, "ts": time,
            "args": arguments,
        }));
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}

#[cfg(test)]
mod tests {
    use super::symbols::Symbols;
    use super::{exits, perfetto};

    const LOG: &str = "assay: trace vm=linux vcpu=1 ticks=1000002500 pc=0xffff800008010010 exit=dabt esr=0x93820007\r\n\
        [linux] assay: trace vm=linux vcpu=1\n\
        assay: trace vm=linux vcpu=0 ticks=1000000000 pc=0x40 exit=irq intid=27 source=timer\n\
        assay: trace vm=linux vcpu=0 ticks=1000000000 pc=0x40 exit=irq intid=27 source=timer\n";

    #[test]
    fn exits_are_instants_of_their_vcpus_with_symbols_and_syndromes() {
        let exits = exits(LOG).unwrap();
        assert_eq!(exits.len(), 2);
        let map = b"ffff800008010000 T el1_irq\nffff800008020000 t next\n";
        let symbols = [(Some("linux".to_owned()), Symbols::read(map).unwrap())];
        let file = perfetto(&exits, &symbols, 1_000_000_000);
        let events = file["traceEvents"].as_array().unwrap();
        assert_eq!((events.len(), events[0]["args"]["name"].as_str()), (3, Some("linux")));
        assert_eq!((events[1]["name"].as_str(), events[1]["ts"].as_f64()), (Some("IRQ 27 (timer)"), Some(0.0)));
        assert_eq!((&events[1]["args"]["intid"], &events[1]["args"]["source"]), (&27.into(), &"timer".into()));
        let abort = &events[2];
        assert_eq!((abort["tid"].as_u64(), abort["ts"].as_f64()), (Some(1), Some(2.5)));
        assert_eq!(abort["args"]["symbol"], "el1_irq+0x10");
        assert_eq!(abort["args"]["what"], "load of 4 bytes to X2, translation fault, level 3");
        // Another VM's symbols are not this one's.
        let symbols = [(Some("other".to_owned()), Symbols::read(map).unwrap())];
        assert!(perfetto(&exits, &symbols, 1)["traceEvents"][2]["args"].get("symbol").is_none());
    }

    #[test]
    fn an_interrupt_that_was_gone_has_no_number() {
        let log = "assay: trace vm=a vcpu=0 ticks=1 pc=0x4 exit=irq\nassay: trace vm=a vcpu=0 ticks=2 pc=0x4 exit=irq intid=40\n";
        let file = perfetto(&exits(log).unwrap(), &[], 1);
        let names: Vec<_> = file["traceEvents"].as_array().unwrap()[1..].iter().map(|event| &event["name"]).collect();
        assert_eq!(names, ["irq", "IRQ 40"]);
    }

    #[test]
    fn a_line_that_is_cut_is_an_error() {
        assert!(exits("assay: trace vm=a vcpu=0 ticks=1 pc=12 exit=irq\n").is_err());
        assert!(exits("assay: vms name=a\n").unwrap().is_empty());
    }
}
