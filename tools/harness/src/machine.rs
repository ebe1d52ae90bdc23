//! A machine that runs: QEMU with Assay and its VMs, from start to end.

mod builder;
mod feed;
mod monitor;
mod scratch;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::events::{self, Event};
use crate::ktap::{Counts, Report};
use crate::qmp::Qmp;

pub use builder::Builder;
use feed::Feed;
use scratch::Scratch;

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

    /// Waits until the VM has said `what`, after all that was expected before, and gives what came up to
    /// its end.
    ///
    /// # Errors
    /// It didn't within `limit`, or the machine ended first: the message shows the console's end.
    pub fn expect(&mut self, vm: &str, what: &str, limit: Duration) -> Result<String> {
        let index = self.index(vm)?;
        let from = self.read[index];
        let found = self.feed.wait(limit, |console| find(console.stream(vm), what.as_bytes(), from));
        let Some(end) = found else {
            let ended = if self.events().iter().any(Event::is_panic) {
                "Assay panicked"
            } else if self.feed.ended() {
                "the machine ended"
            } else {
                "it didn't come in time"
            };
            bail!("expected {what:?} from {vm}, but {ended} ({limit:?}). The console's end:\n{}", self.tail());
        };
        self.read[index] = end;
        let text = self.feed.look(|console| String::from_utf8_lossy(&console.stream(vm)[from..end]).into_owned());
        Ok(text)
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
                Ok(event)
            }
            None => bail!("no line of Assay's said {what} within {limit:?}. The console's end:\n{}", self.tail()),
        }
    }

    /// Types `text` to a VM; where there are several, the console's input is switched to it by the monitor first.
    ///
    /// # Errors
    /// QEMU has ended, or the monitor doesn't answer.
    pub fn send(&mut self, vm: &str, text: &str) -> Result<()> {
        let index = self.index(vm)?;
        if self.names.len() > 1 && self.listener != Some(index) {
            self.open_monitor()?;
            self.leave_monitor(&format!("console {vm}"))?;
            // All are shown again, and the input stays.
            self.open_monitor()?;
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

    /// Types a command at a shell and gives what it printed, without its echo and the next prompt.
    ///
    /// # Errors
    /// As [`Machine::expect`]; the prompt comes back late or never.
    pub fn shell(&mut self, vm: &str, command: &str, prompt: &str, limit: Duration) -> Result<String> {
        self.send(vm, &format!("{command}\n"))?;
        let text = self.expect(vm, prompt, limit)?;
        let text = text.strip_suffix(prompt).unwrap_or(&text);
        let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches('\r')).collect();
        // The first line is the terminal's echo of the command.
        Ok(lines.get(1..).unwrap_or_default().join("\n"))
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
            bail!("the machine still ran after {limit:?}. The console's end:\n{}", self.tail());
        };
        let status = status.with_context(|| format!("QEMU was ended by a signal after {:?}", start.elapsed()))?;
        Ok(status)
    }

    /// Waits for the end as [`Machine::wait`], and checks that QEMU ended well and every VM started and
    /// powered off.
    ///
    /// # Errors
    /// One of them didn't.
    pub fn finish(mut self, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        if status != 0 {
            bail!("QEMU ended with status {status}: {}", self.feed.complaint());
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        events::verdict(&self.events(), &names)
            .map_err(|reason| anyhow::anyhow!("{reason}. The console's end:\n{}", self.tail()))
    }

    /// Waits for the end and reads the VM's KTAP report.
    ///
    /// # Errors
    /// The machine ends badly, or the report has a failure or a hole.
    pub fn finish_ktap(mut self, vm: &str, limit: Duration) -> Result<Counts> {
        let waited = self.wait(limit);
        let report = Report::parse(&self.output(vm)).check();
        // A guest that hangs has often said before what is wrong.
        match (waited, report) {
            (Ok(_), Ok(counts)) => self.finish(Duration::ZERO).map(|()| counts),
            (Ok(_), Err(complaint)) => bail!("{complaint}\nThe console's end:\n{}", self.tail()),
            (Err(error), Err(complaint)) => Err(error.context(complaint)),
            (Err(error), Ok(_)) => Err(error),
        }
    }

    fn index(&self, vm: &str) -> Result<usize> {
        let found = self.names.iter().position(|name| name == vm);
        found.with_context(|| format!("no VM is named {vm}: there are {}", self.names.join(", ")))
    }

    /// The last lines of the console and what QEMU complained of.
    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n");
        let complaint = self.feed.complaint();
        if complaint.is_empty() { tail } else { format!("{tail}\nQEMU says: {complaint}") }
    }
}

/// The end of the first `what` in `text` at or after `from`.
fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    if what.is_empty() {
        return Some(from);
    }
    rest.windows(what.len()).position(|window| window == what).map(|at| from + at + what.len())
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_text_is_found_only_after_what_was_read() {
        assert_eq!(find(b"ok ok", b"ok", 0), Some(2));
        assert_eq!(find(b"ok ok", b"ok", 2), Some(5));
        assert_eq!(find(b"ok ok", b"ok", 4), None);
        assert_eq!(find(b"o", b"ok", 7), None);
    }
}
