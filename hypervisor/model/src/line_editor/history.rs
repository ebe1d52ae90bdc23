//! The last lines that were run, in a fixed buffer.

use super::LINE_BYTES;

/// How many lines are kept.
const LINES: usize = 16;

#[derive(Clone, Copy)]
struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    const EMPTY: Self = Self { bytes: [0; LINE_BYTES], length: 0 };

    fn of(text: &[u8]) -> Self {
        let mut line = Self::EMPTY;
        for (place, byte) in line.bytes.iter_mut().zip(text) {
            *place = *byte;
            line.length += 1;
        }
        line
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The lines, the newest first, and which of them is looked at.
pub(super) struct History {
    lines: [Line; LINES],
    count: usize,
    /// How far back: 0 is the line being typed.
    back: usize,
    /// The line being typed, while an older one is looked at.
    draft: Line,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { lines: [Line::EMPTY; LINES], count: 0, back: 0, draft: Line::EMPTY }
    }

    /// Keeps a line, unless it is blank or the same as the last.
    pub(super) fn push(&mut self, text: &[u8]) {
        let is_blank = text.iter().all(|byte| *byte == b' ');
        let is_last = self.count != 0 && self.lines.first().is_some_and(|newest| newest.text() == text);
        if is_blank || is_last {
            return;
        }
        self.lines.rotate_right(1);
        if let Some(newest) = self.lines.first_mut() {
            *newest = Line::of(text);
        }
        self.count = LINES.min(self.count + 1);
    }

    /// Goes back to the line being typed.
    pub(super) fn leave(&mut self) {
        self.back = 0;
    }

    /// Goes one line back or forth from `current`; returns what is there.
    pub(super) fn step(&mut self, earlier: bool, current: Option<&[u8]>) -> Option<([u8; LINE_BYTES], usize)> {
        let back =
            if earlier { (self.back < self.count).then_some(self.back + 1)? } else { self.back.checked_sub(1)? };
        if self.back == 0 {
            self.draft = Line::of(current?);
        }
        self.back = back;
        let line = match back.checked_sub(1) {
            Some(index) => self.lines.get(index)?,
            None => &self.draft,
        };
        Some((line.bytes, line.length))
    }
}
