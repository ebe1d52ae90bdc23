//! A line that a person types at a terminal: editing, history, and how it looks. Nothing is allocated.
//!
//! Keys are bytes as VT100-like terminals send them (ECMA-48 control sequences), and the common ones of Emacs
//! and the shells: `^A` `^B` `^D` `^E` `^F` `^K` `^L` `^N` `^P` `^U` `^W`. It knows no commands.

mod history;
mod line;
#[cfg(test)]
mod tests;

use core::fmt::Write as _;

use crate::terminal::{Terminal, Text};
use history::History;
use line::Line;

pub use line::LINE_BYTES;

/// What stands before the line.
pub const PROMPT: &str = "assay> ";
/// `Ctrl-]`, which opens the monitor and leaves it.
pub const ESCAPE: u8 = 0x1d;

/// What a key asks for beyond the editing, which is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// The line is to be run.
    Run,
    /// The monitor is to be left.
    Leave,
    /// The word before the cursor is to be completed.
    Complete,
}

/// How far a control sequence has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sequence {
    None,
    /// After ESC.
    Escape,
    /// After ESC and `[` or `O`, with the number so far.
    Control(u8),
}

/// A line being edited.
pub struct LineEditor {
    line: Line,
    /// Where the next byte goes, at most the line's length.
    cursor: usize,
    sequence: Sequence,
    /// The last byte was CR: a LF after it is the same key.
    after_return: bool,
    history: History,
}

impl Default for LineEditor {
    fn default() -> Self {
        Self::new()
    }
}

impl LineEditor {
    /// Makes an empty line with no history.
    pub const fn new() -> Self {
        let (line, history) = (Line::EMPTY, History::new());
        Self { line, cursor: 0, sequence: Sequence::None, after_return: false, history }
    }

    /// Returns the line.
    pub fn line(&self) -> &str {
        self.line.text()
    }

    /// Returns the part of the line that is before the cursor.
    pub fn before_cursor(&self) -> &str {
        self.line.text().get(..self.cursor).unwrap_or_default()
    }

    /// Forgets the line.
    pub fn clear(&mut self) {
        self.set(Line::EMPTY);
        self.sequence = Sequence::None;
        self.history.leave();
    }

    /// Keeps the line in the history and begins a new one.
    pub fn next(&mut self) {
        self.history.push(self.line);
        self.clear();
    }

    /// Takes a byte from the terminal and shows what it does.
    pub fn key(&mut self, byte: u8, out: &mut impl Terminal) -> Reply {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match core::mem::replace(&mut self.sequence, Sequence::None) {
            Sequence::Escape if matches!(byte, b'[' | b'O') => {
                self.sequence = Sequence::Control(0);
                return Reply::Nothing;
            }
            Sequence::Control(number) => {
                match byte {
                    b'0'..=b'9' => {
                        self.sequence = Sequence::Control(number.wrapping_mul(10).wrapping_add(byte - b'0'));
                    }
                    // A second number says which of Shift, Alt and Control were held: whichever, it is the same key.
                    b';' => self.sequence = Sequence::Control(number),
                    last => self.edit(control_character(number, last), out),
                }
                return Reply::Nothing;
            }
            Sequence::Escape | Sequence::None => {}
        }
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => return Reply::Run,
            b'\t' => return Reply::Complete,
            0x1b => self.sequence = Sequence::Escape,
            ESCAPE => return Reply::Leave,
            0x04 if self.line().is_empty() => return Reply::Leave,
            b' '..=b'~' => {
                let at_end = self.cursor == self.line().len();
                if !self.insert(byte) {
                    out.write(b"\x07");
                } else if at_end {
                    out.write(&[byte]);
                } else {
                    self.draw(out);
                }
            }
            _ => self.edit(byte, out),
        }
        Reply::Nothing
    }

    /// Inserts a byte at the cursor; `false` if it is not printable, or the line is full.
    pub fn insert(&mut self, byte: u8) -> bool {
        let is_room = self.line.insert(self.cursor, byte);
        self.cursor += usize::from(is_room);
        is_room
    }

    /// Shows prompt and line, with the cursor where it belongs.
    pub fn draw(&self, out: &mut impl Terminal) {
        let line = self.line();
        // What an earlier, longer line left is erased. Terminals cannot fail.
        let _ = write!(Text(out), "\r{PROMPT}{line}\x1b[K");
        let back = line.len() - self.cursor;
        if back != 0 {
            let _ = write!(Text(out), "\x1b[{back}D");
        }
    }

    /// A control character that edits.
    fn edit(&mut self, byte: u8, out: &mut impl Terminal) {
        let (end, before) = (self.line().len(), self.cursor.saturating_sub(1));
        match byte {
            0x01 => self.cursor = 0,
            0x02 => self.cursor = before,
            0x03 => self.clear(),
            0x04 => self.line.remove(self.cursor..end.min(self.cursor + 1)),
            0x05 => self.cursor = end,
            0x06 => self.cursor = end.min(self.cursor + 1),
            0x08 | 0x7f => self.remove_from(before),
            0x0b => self.line.remove(self.cursor..end),
            0x0c => out.write(b"\x1b[2J\x1b[H"),
            0x0e => self.recall(false),
            0x10 => self.recall(true),
            0x15 => self.remove_from(0),
            0x17 => {
                let word = self.before_cursor().trim_end_matches(' ');
                self.remove_from(word.rfind(' ').map_or(0, |space| space + 1));
            }
            _ => {}
        }
        self.draw(out);
    }

    /// Removes what is between `start` and the cursor.
    fn remove_from(&mut self, start: usize) {
        self.line.remove(start..self.cursor);
        self.cursor = start;
    }

    /// Puts an earlier (or later) line in place of this one.
    fn recall(&mut self, earlier: bool) {
        if let Some(line) = self.history.step(earlier, self.line) {
            self.set(line);
        }
    }

    fn set(&mut self, line: Line) {
        self.line = line;
        self.cursor = line.text().len();
    }
}

/// Returns the control character that does what a control sequence asks for, 0 if there is none.
const fn control_character(number: u8, last: u8) -> u8 {
    match (last, number) {
        (b'A', _) => 0x10,
        (b'B', _) => 0x0e,
        (b'C', _) => 0x06,
        (b'D', _) => 0x02,
        (b'H', _) | (b'~', 1 | 7) => 0x01,
        (b'F', _) | (b'~', 4 | 8) => 0x05,
        (b'~', 3) => 0x04,
        _ => 0,
    }
}
