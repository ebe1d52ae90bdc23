//! Assay's own lines that wait for the end of a VM's, so that no word of a guest's is cut in two.

use core::fmt::{self, Write as _};

use super::OWN;
use crate::terminal::Terminal;

/// Bytes that wait at most, a line or two: together with the next line they find room in the half of the queue that VMs leave
/// to Assay's own lines, and what a VM's byte is sure to leave besides.
pub(super) const HELD_BYTES: usize = 320;

/// Whole lines, in the order in which they were said.
pub(super) struct Held {
    bytes: [u8; HELD_BYTES],
    length: usize,
    /// When the first of them was said, in ticks.
    since: u64,
}

impl Held {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; HELD_BYTES], length: 0, since: 0 }
    }

    /// Returns how many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.length
    }

    /// Returns when the first of what waits was said.
    pub(super) fn since(&self) -> Option<u64> {
        (self.length != 0).then_some(self.since)
    }

    /// Takes a line, whole or not at all. Returns whether it had room.
    pub(super) fn take(&mut self, line: fmt::Arguments<'_>, now: u64) -> bool {
        let before = self.length;
        if before == 0 {
            self.since = now;
        }
        let has_room = write!(self, "{OWN}{line}\r\n").is_ok();
        if !has_room {
            self.length = before;
        }
        has_room
    }

    /// Writes all that waits.
    pub(super) fn release(&mut self, out: &mut impl Terminal) {
        if self.length != 0 {
            out.write(&self.bytes[..self.length]);
            self.length = 0;
        }
    }
}

impl fmt::Write for Held {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
