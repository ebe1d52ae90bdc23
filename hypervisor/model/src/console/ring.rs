//! One VM's output: the newest bytes of it, and how far they have been shown.

use alloc::boxed::Box;
use alloc::vec;

/// A ring of bytes that is never full: what is oldest goes.
pub struct Ring {
    bytes: Box<[u8]>,
    /// Bytes ever written.
    written: usize,
    /// Bytes ever shown or given up, never more than `written`.
    shown: usize,
}

impl Ring {
    /// Makes a ring of `size` bytes, or of the next power of two.
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size.next_power_of_two()].into_boxed_slice(), written: 0, shown: 0 }
    }

    fn at(&mut self, place: usize) -> &mut u8 {
        // A power of two, so that no byte costs a division.
        let last = self.bytes.len() - 1;
        &mut self.bytes[place & last]
    }

    /// Adds a byte.
    pub fn push(&mut self, byte: u8) {
        *self.at(self.written) = byte;
        self.written += 1;
    }

    /// Returns how many bytes wait to be shown, those that were overwritten included.
    pub fn waiting(&self) -> usize {
        self.written - self.shown
    }

    /// Tells whether what waits is more than half of what the ring keeps.
    pub fn is_half_full(&self) -> bool {
        self.waiting() > self.bytes.len() / 2
    }

    /// Gives up what was overwritten before it was shown; returns how many bytes that were.
    pub fn take_lost(&mut self) -> usize {
        let lost = self.waiting().saturating_sub(self.bytes.len());
        self.shown += lost;
        lost
    }

    /// Returns the next byte to show.
    pub fn take(&mut self) -> Option<u8> {
        let _ = self.take_lost();
        if self.waiting() == 0 {
            return None;
        }
        self.shown += 1;
        Some(*self.at(self.shown - 1))
    }

    /// Makes the open line wait to be shown once more, at most `most` bytes of it: a prompt that was hidden is
    /// seen again.
    pub fn rewind_line(&mut self, most: usize) {
        let oldest = self.written.saturating_sub(self.bytes.len().min(most));
        while self.shown > oldest && *self.at(self.shown - 1) != b'\n' {
            self.shown -= 1;
        }
    }
}
