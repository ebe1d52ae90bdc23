//! The monitor at the other end of the console: opened, asked and left as a person would.

use std::time::Duration;

use super::Machine;
use crate::console::{is_answered, is_taken};
use crate::error::Result;
use crate::events::Event;

/// `Ctrl-]`.
const ESCAPE: &str = "\x1d";
/// How long a prompt has to stay. A line of Assay's own makes the monitor show a half-typed command again: its prompt
/// first, then what was typed.
const SETTLE: Duration = Duration::from_millis(20);
/// How long the monitor may take for a prompt.
const LIMIT: Duration = Duration::from_secs(60);

impl Machine {
    /// Opens the monitor: until it is left, no guest's output comes.
    ///
    /// # Errors
    /// It doesn't show its prompt.
    pub fn open_monitor(&mut self) -> Result<()> {
        // What has ended until now may be started anew from here.
        let seen = self.feed.look(|console| console.events().len());
        self.ends_seen.fill(seen);
        self.enter_monitor()
    }

    pub(super) fn enter_monitor(&self) -> Result<()> {
        let from = self.log().len();
        self.send_raw(ESCAPE)?;
        self.prompted(from, "")
    }

    /// Types a command at the monitor's prompt, waits for the next prompt, and gives the lines of Assay's own that
    /// came meanwhile.
    ///
    /// # Errors
    /// There is no prompt in time.
    pub fn monitor(&mut self, command: &str) -> Result<Vec<Event>> {
        let from = self.log().len();
        let events = self.events().len();
        self.send_raw(&format!("{command}\r"))?;
        self.prompted(from, &format!("{command}\r\n"))?;
        Ok(self.events().split_off(events))
    }

    /// Types a command that leaves the monitor: `quit`, or `console` of something.
    ///
    /// # Errors
    /// It is not taken in time.
    pub fn leave_monitor(&mut self, command: &str) -> Result<()> {
        let from = self.log().len();
        self.send_raw(&format!("{command}\r"))?;
        self.typed(from, &format!("{command}\r\n"), false)
    }

    /// Types keys as they are, wherever they go.
    ///
    /// # Errors
    /// QEMU has ended.
    pub fn send_keys(&mut self, keys: &str) -> Result<()> {
        self.send_raw(keys)
    }

    /// Waits for a prompt after what was typed, which may be drawn in several pieces.
    fn prompted(&self, from: usize, typed: &str) -> Result<()> {
        loop {
            self.typed(from, typed, true)?;
            std::thread::sleep(SETTLE);
            if self.feed.look(|console| is_answered(console.raw(), "")) {
                return Ok(());
            }
        }
    }

    fn typed(&self, from: usize, typed: &str, prompt: bool) -> Result<()> {
        let found = self.feed.wait(LIMIT, |console| {
            let said = console.raw().get(from..)?;
            (if prompt { is_answered(said, typed) } else { is_taken(said, typed) }).then_some(())
        });
        if found.is_none() {
            let (kind, why) = self.why_nothing();
            return Err(self.failed(kind, &format!("the monitor didn't take {typed:?}: {why} ({LIMIT:?})")));
        }
        Ok(())
    }
}
