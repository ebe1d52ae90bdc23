//! A machine that runs: QEMU with Assay and its VMs, from start to end.

mod builder;
mod expect;
mod feed;
mod monitor;
mod scratch;
mod shell;

use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::error::{Error, Kind, Result};
use crate::events::{self, Event};
use crate::ktap::{Counts, Report};
use crate::qemu;
use crate::qmp::Qmp;

pub use builder::Builder;
use feed::Feed;
use scratch::Scratch;
pub use shell::Output;

/// Starts of QEMU's monitor commands; doubled when a guest shall get it.
const MUX_ESCAPE: u8 = 1;

/// A running machine. Dropping it ends QEMU, if need be by force, and only this one.
pub struct Machine {
    feed: Feed,
    names: Vec<String>,
    /// How far `expect` has read in each VM's stream.
    read: Vec<usize>,
    /// How far `expect_event` has read.
    events_read: usize,
    /// How many of Assay's lines the caller has seen as far as each VM's end is concerned.
    ends_seen: Vec<usize>,
    /// The VM that the console's input goes to, once one was chosen.
    listener: Option<usize>,
    scratch: Scratch,
}

impl Machine {
    /// Describes a machine to start.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Waits for a line of Assay's own that `wanted` accepts, after all that was expected before.
    ///
    /// # Errors
    /// As [`Machine::expect`].
    pub fn expect_event(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let from = self.events_read;
        let found = self.feed.wait(limit, |console| {
            let events = console.events().iter().enumerate().skip(from);
            events.into_iter().find(|(_, event)| wanted(event)).map(|(index, event)| (index, event.clone()))
        });
        match found {
            Some((index, event)) => {
                self.events_read = index + 1;
                self.has_seen(&event, index + 1);
                Ok(event)
            }
            None => {
                let (kind, why) = self.why_nothing();
                Err(self.failed(kind, &format!("no line of Assay's said {what}: {why} ({limit:?})")))
            }
        }
    }

    /// Types `text` to a VM; where there are several, the console's input is switched to it by the monitor first.
    ///
    /// # Errors
    /// QEMU has ended, or the monitor doesn't answer.
    pub fn send(&mut self, vm: &str, text: &str) -> Result<()> {
        let index = self.index(vm)?;
        if self.names.len() > 1 && self.listener != Some(index) {
            self.enter_monitor()?;
            self.leave_monitor(&format!("console {vm}"))?;
            // All are shown again, and the input stays.
            self.enter_monitor()?;
            self.leave_monitor("console all")?;
            self.listener = Some(index);
        }
        self.send_raw(text)
    }

    fn send_raw(&self, text: &str) -> Result<()> {
        let mut bytes = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            if byte == MUX_ESCAPE {
                bytes.push(byte);
            }
            bytes.push(byte);
        }
        self.feed.send(bytes)
    }

    /// All that the VM has said so far.
    #[must_use]
    pub fn output(&self, vm: &str) -> String {
        self.feed.look(|console| String::from_utf8_lossy(console.stream(vm)).into_owned())
    }

    /// How many bytes of [`Machine::output`] have been expected so far; 0 for a name that is none.
    #[must_use]
    pub fn was_read(&self, vm: &str) -> usize {
        let index = self.index(vm).ok();
        index.and_then(|index| self.read.get(index)).copied().unwrap_or(0)
    }

    /// Assay's own lines so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.feed.look(|console| console.events().to_vec())
    }

    /// The whole console so far, as it came.
    #[must_use]
    pub fn log(&self) -> String {
        self.feed.look(|console| String::from_utf8_lossy(console.raw()).into_owned())
    }

    /// A connection to QEMU's machine protocol.
    ///
    /// # Errors
    /// QEMU has ended or doesn't answer.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.scratch.socket())
    }

    /// Whether QEMU has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.feed.ended()
    }

    /// Waits until QEMU ends by itself, and gives its exit status.
    ///
    /// # Errors
    /// It didn't within `limit`; it is ended by force then.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        let start = Instant::now();
        let Some(status) = self.feed.join(limit) else {
            self.feed.kill();
            return Err(self.failed(Kind::TimedOut, &format!("the machine still ran after {limit:?}")));
        };
        status.ok_or_else(|| Kind::Qemu.error(anyhow!("QEMU was ended by a signal after {:?}", start.elapsed())))
    }

    /// Waits for the end as [`Machine::wait`], and checks that QEMU ended well and every VM started and
    /// powered off.
    ///
    /// # Errors
    /// One of them didn't.
    pub fn finish(mut self, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        if status != 0 {
            let said = self.feed.complaint();
            if self.events().is_empty() {
                return Err(Kind::Qemu.error(anyhow!(qemu::refusal(&said, &[], "of this machine"))));
            }
            return Err(Kind::Qemu.error(anyhow!("QEMU ended with status {status}: {said}")));
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        events::verdict(&self.events(), &names).map_err(|reason| self.failed(Kind::Failed, &reason))
    }

    /// Waits for the end and counts the results of the VM's KTAP report.
    ///
    /// # Errors
    /// As [`Machine::finish_report`].
    pub fn finish_ktap(self, vm: &str, limit: Duration) -> Result<Counts> {
        self.finish_report(vm, limit).map(|report| report.counts())
    }

    /// Waits for the end and reads the VM's KTAP report.
    ///
    /// # Errors
    /// The machine ends badly, or the report has a failure or a hole.
    pub fn finish_report(mut self, vm: &str, limit: Duration) -> Result<Report> {
        let waited = self.wait(limit);
        let report = Report::parse(&self.output(vm));
        // A guest that hangs has often said before what is wrong.
        match (waited, report.check()) {
            (Ok(_), Ok(_)) => self.finish(Duration::ZERO).map(|()| report),
            (Ok(_), Err(complaint)) => {
                Err(Kind::Failed.error(anyhow!("{complaint}\nThe console's end:\n{}", self.tail())))
            }
            (Err(error), Err(complaint)) => Err(error.context(complaint)),
            (Err(error), Ok(_)) => Err(error),
        }
    }

    fn index(&self, vm: &str) -> Result<usize> {
        let found = self.names.iter().position(|name| name == vm);
        found.ok_or_else(|| Kind::Unusable.error(anyhow!("no VM is named {vm}: there are {}", self.names.join(", "))))
    }

    /// What happened, and the console's end.
    fn failed(&self, kind: Kind, what: &str) -> Error {
        kind.error(anyhow!("{what}. The console's end:\n{}", self.tail()))
    }

    /// The last lines of the console and what QEMU complained of.
    fn tail(&self) -> String {
        let log = self.log();
        let tail = last_lines(&log);
        let complaint = self.feed.complaint();
        if complaint.is_empty() { tail.to_owned() } else { format!("{tail}\nQEMU says: {complaint}") }
    }
}

/// As much of a text's end as an error shows.
fn last_lines(text: &str) -> &str {
    const LINES: usize = 25;
    let start = text.trim_end().rmatch_indices('\n').nth(LINES - 1).map_or(0, |(at, _)| at + 1);
    &text[start..]
}
