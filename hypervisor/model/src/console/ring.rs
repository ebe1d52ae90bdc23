//! One VM's output: the newest bytes of it, and how far they have been shown.

use alloc::boxed::Box;
use alloc::vec;

/// A ring of bytes that is never full: what is oldest goes.
pub struct Ring {
    bytes: Box<[u8]>,
    /// Bytes ever written.
    written: u64,
    /// Bytes ever shown or given up, never more than `written`.
    shown: u64,
}

impl Ring {
    /// Makes a ring of `size` bytes (a power of two is quickest).
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size.max(1)].into_boxed_slice(), written: 0, shown: 0 }
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn slot(&self, at: u64) -> usize {
        // A remainder by the length of a slice fits its index.
        usize::try_from(at % self.size()).unwrap_or(0)
    }

    /// Adds a byte.
    pub fn push(&mut self, byte: u8) {
        let slot = self.slot(self.written);
        if let Some(place) = self.bytes.get_mut(slot) {
            *place = byte;
        }
        self.written = self.written.wrapping_add(1);
    }

    /// Returns how many bytes wait to be shown, those that were overwritten included.
    pub fn waiting(&self) -> u64 {
        self.written.wrapping_sub(self.shown)
    }

    /// Tells whether what waits is more than half of what the ring keeps.
    pub fn is_half_full(&self) -> bool {
        self.waiting() > self.size() / 2
    }

    /// Gives up what was overwritten before it was shown; returns how many bytes that were.
    pub fn take_lost(&mut self) -> u64 {
        let lost = self.waiting().saturating_sub(self.size());
        self.shown = self.shown.wrapping_add(lost);
        lost
    }

    /// Returns the next byte to show.
    pub fn take(&mut self) -> Option<u8> {
        let _ = self.take_lost();
        if self.waiting() == 0 {
            return None;
        }
        let byte = self.bytes.get(self.slot(self.shown)).copied();
        self.shown = self.shown.wrapping_add(1);
        byte
    }

    /// Makes the open line wait to be shown once more, at most `most` bytes of it: a prompt that was hidden is
    /// seen again.
    pub fn rewind_line(&mut self, most: u64) {
        let oldest = self.written.saturating_sub(self.size().min(most));
        while self.shown > oldest {
            let before = self.shown.wrapping_sub(1);
            if self.bytes.get(self.slot(before)) == Some(&b'\n') {
                return;
            }
            self.shown = before;
        }
    }
}
