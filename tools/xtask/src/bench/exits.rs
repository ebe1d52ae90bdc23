//! Exits to EL2, as QEMU's own log of exceptions tells: EL2 has no part in that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

/// Exits of one VM: from its first instruction to its first exception from EL0, or to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exits {
    pub(super) interrupts: u64,
    /// Data Aborts: accesses to emulated devices.
    pub(super) devices: u64,
    pub(super) others: u64,
}

impl Exits {
    pub(super) fn all(self) -> u64 {
        self.interrupts + self.devices + self.others
    }
}

/// The log of one machine, a file that goes when this does.
pub(super) struct Log {
    path: PathBuf,
    name: String,
}

impl Log {
    /// Makes the name of one that there is not yet.
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("assay-int-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        Self { name: path.display().to_string(), path }
    }

    /// What QEMU is told.
    pub(super) fn arguments(&self) -> [&str; 4] {
        ["-d", "int", "-D", &self.name]
    }

    /// Counts the exits of each CPU. QEMU writes until it has ended.
    pub(super) fn read(&self) -> Result<BTreeMap<usize, Exits>> {
        count(BufReader::new(File::open(&self.path).context("QEMU's log of exceptions")?))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Counts exits by CPU in a log of `-d int`: `Taking exception N [KIND] on CPU C`, then `...from ELx to ELy`.
fn count(log: impl std::io::BufRead) -> Result<BTreeMap<usize, Exits>> {
    let mut all: BTreeMap<usize, (Exits, bool)> = BTreeMap::new();
    let mut last: Option<(usize, bool, bool)> = None;
    for line in log.lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("Taking exception ") {
            let cpu = rest.rsplit_once(" on CPU ");
            last = cpu.and_then(|(kind, cpu)| {
                let cpu = cpu.trim().parse().ok()?;
                let interrupt = kind.contains("[IRQ]") || kind.contains("[FIQ]");
                Some((cpu, interrupt, kind.contains("[Data Abort]")))
            });
        } else if let Some((cpu, interrupt, device)) = last {
            let (exits, over) = all.entry(cpu).or_default();
            if line.starts_with("...from EL0") {
                *over = true;
            } else if line.starts_with("...from EL1 to EL2") && !*over {
                exits.interrupts += u64::from(interrupt);
                exits.devices += u64::from(device);
                exits.others += u64::from(!interrupt && !device);
            }
            if line.starts_with("...from") {
                last = None;
            }
        }
    }
    Ok(all.into_iter().map(|(cpu, (exits, _))| (cpu, exits)).collect())
}

#[cfg(test)]
mod tests {
    use super::{Exits, count};

    #[test]
    fn exits_are_counted_by_cpu_until_el0_is_seen() {
        let log = "\
Taking exception 13 [Secure Monitor Call] on CPU 0
...from EL2 to EL3
...with ESR 0x17/0x5e000000
Taking exception 5 [IRQ] on CPU 0
...from EL1 to EL2
Taking exception 4 [Data Abort] on CPU 1
...from EL1 to EL2
...with ESR 0x24/0x93800007
Taking exception 4 [Data Abort] on CPU 1
...from EL1 to EL1
Taking exception 11 [Hypervisor Call] on CPU 1
...from EL1 to EL2
Taking exception 2 [SVC] on CPU 1
...from EL0 to EL1
Taking exception 5 [IRQ] on CPU 1
...from EL1 to EL2
";
        let exits = count(log.as_bytes()).unwrap();
        let of = |interrupts, devices, others| Exits { interrupts, devices, others };
        assert_eq!(exits[&0], of(1, 0, 0));
        assert_eq!(exits[&1], of(0, 1, 1));
    }
}
