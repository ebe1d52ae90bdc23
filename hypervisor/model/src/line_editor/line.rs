//! A line of printable ASCII, in a fixed buffer.

use core::ops::Range;

/// The longest line, in bytes.
pub const LINE_BYTES: usize = 120;

#[derive(Clone, Copy)]
pub(super) struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    pub(super) const EMPTY: Self = Self { bytes: [0; LINE_BYTES], length: 0 };

    pub(super) fn text(&self) -> &str {
        // ASCII is UTF-8.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }

    /// Inserts a byte; `false` if it is not printable, or the line is full.
    pub(super) fn insert(&mut self, at: usize, byte: u8) -> bool {
        let is_room = self.length < LINE_BYTES && matches!(byte, b' '..=b'~');
        if is_room {
            self.bytes.copy_within(at..self.length, at + 1);
            self.bytes[at] = byte;
            self.length += 1;
        }
        is_room
    }

    pub(super) fn remove(&mut self, part: Range<usize>) {
        self.bytes.copy_within(part.end..self.length, part.start);
        self.length -= part.len();
    }
}
