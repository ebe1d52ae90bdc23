//! The last lines that were run, in a fixed buffer.

use super::line::Line;

/// How many lines are kept.
const LINES: usize = 16;

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
    pub(super) fn push(&mut self, line: Line) {
        if line.text().trim_matches(' ').is_empty() || line.text() == self.lines[0].text() {
            return;
        }
        self.lines.rotate_right(1);
        self.lines[0] = line;
        self.count = LINES.min(self.count + 1);
    }

    /// Goes back to the line being typed.
    pub(super) fn leave(&mut self) {
        self.back = 0;
    }

    /// Goes one line back or forth from `current`; returns what is there.
    pub(super) fn step(&mut self, earlier: bool, current: Line) -> Option<Line> {
        let back =
            if earlier { (self.back < self.count).then_some(self.back + 1)? } else { self.back.checked_sub(1)? };
        if self.back == 0 {
            self.draft = current;
        }
        self.back = back;
        Some(if back == 0 { self.draft } else { self.lines[back - 1] })
    }
}
