//! The cases that run guests under Assay in QEMU, one behaviour each.

mod between;
mod boards;
mod boots;
mod coherent;
mod contract;
pub(crate) mod devices;
mod dom0less;
mod endings;
mod firmware;
mod large;
mod leak;
pub(crate) mod linux;
mod many;
mod matrix;
mod operator;
mod platform;
mod programs;
mod ramdisk;
mod refused;
mod selftests;
mod shared;
pub(crate) mod virtio;

use std::time::Duration;

use anyhow::{Result, bail};
use assay_harness::{Event, Machine, Report};

use crate::setup::Extra;

/// What a case does.
type Run = Box<dyn Fn() -> Result<Success> + Send + Sync>;

/// What a case that passed says.
pub(crate) struct Success {
    /// A note for people.
    pub(crate) note: String,
    /// What its guest reported, result by result.
    pub(crate) report: Option<Report>,
}

impl From<String> for Success {
    fn from(note: String) -> Self {
        Self { note, report: None }
    }
}

/// One named case.
pub(crate) struct Case {
    /// `GROUP/NAME`.
    pub(crate) name: String,
    /// Runs only with `--long`.
    pub(crate) long: bool,
    /// Boots Debian's kernels and ramdisks.
    pub(crate) linux: bool,
    /// What it needs beside those.
    pub(crate) extras: Vec<Extra>,
    /// The case itself.
    pub(crate) run: Run,
}

impl Case {
    pub(crate) fn new<S: Into<Success>>(
        name: impl Into<String>,
        run: impl Fn() -> Result<S> + Send + Sync + 'static,
    ) -> Self {
        let run = Box::new(move || run().map(Into::into));
        Self { name: name.into(), long: false, linux: false, extras: Vec::new(), run }
    }

    /// A case that boots Debian.
    fn linux(name: impl Into<String>, run: impl Fn() -> Result<String> + Send + Sync + 'static) -> Self {
        Self { linux: true, ..Self::new(name, run) }
    }

    fn long(self) -> Self {
        Self { long: true, ..self }
    }

    /// Fails without being run.
    pub(crate) fn fail(&mut self, why: String) {
        self.run = Box::new(move || bail!("{why}"));
    }

    /// What is fetched for this is nothing that takes long.
    pub(crate) fn wants(mut self, extra: Extra) -> Self {
        self.extras.push(extra);
        self
    }

    /// What is fetched for this alone is nothing that the quick tests should wait for.
    fn needs(self, extra: Extra) -> Self {
        self.wants(extra).long()
    }
}

/// Lets the VM's last life, which waits for a key, go on to the end of the machine. Returns how many results it has, all good.
fn last_life(machine: &mut Machine, vm: &str, limit: Duration) -> Result<usize> {
    machine.send(vm, "q")?;
    machine.wait(limit)?;
    let counts = Report::parse(&machine.output(vm)).check().map_err(anyhow::Error::msg)?;
    Ok(counts.passed)
}

/// Tells whether a VM has powered off.
fn is_power_off(event: &Event) -> bool {
    event.get("event") == Some("stopped") && event.get("cause") == Some("off")
}

/// All of them, the quick ones first.
///
/// # Errors
/// The guests' programs can't be listed.
pub(crate) fn all() -> Result<Vec<Case>> {
    let mut cases = programs::cases()?;
    cases.extend(contract::cases());
    cases.extend(endings::cases());
    cases.extend(firmware::cases());
    cases.extend(boots::cases());
    cases.extend(operator::cases());
    cases.extend(refused::cases());
    cases.extend(dom0less::cases());
    cases.extend(large::cases());
    cases.extend(leak::cases());
    cases.extend(shared::cases());
    cases.extend(between::cases());
    cases.extend(virtio::cases());
    cases.extend(coherent::cases());
    cases.extend(devices::cases());
    cases.extend(platform::cases());
    cases.extend(linux::cases());
    cases.extend(many::cases());
    cases.extend(matrix::cases());
    cases.extend(selftests::cases());
    cases.extend(boards::cases()?);
    Ok(cases)
}
