//! A line that a person types at a terminal: editing, history, and how it looks. Nothing is allocated.
//!
//! Keys are bytes as VT100-like terminals send them (ECMA-48 control sequences), and the common ones of Emacs
//! and the shells: `^A` `^B` `^D` `^E` `^F` `^K` `^L` `^N` `^P` `^U` `^W`. It knows no commands.

mod history;
#[cfg(test)]
mod tests;

use core::fmt::Write as _;

use crate::terminal::Terminal;
use history::History;

/// The longest line, in bytes.
pub const LINE_BYTES: usize = 120;
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
    line: [u8; LINE_BYTES],
    length: usize,
    /// Where the next byte goes, at most `length`.
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
        Self {
            line: [0; LINE_BYTES],
            length: 0,
            cursor: 0,
            sequence: Sequence::None,
            after_return: false,
            history: History::new(),
        }
    }

    /// Returns the line.
    pub fn line(&self) -> &str {
        text(self.line.get(..self.length))
    }

    /// Returns the part of the line that is before the cursor.
    pub fn before_cursor(&self) -> &str {
        text(self.line.get(..self.cursor))
    }

    /// Forgets the line.
    pub fn clear(&mut self) {
        (self.length, self.cursor) = (0, 0);
        self.sequence = Sequence::None;
        self.history.leave();
    }

    /// Keeps the line in the history and begins a new one.
    pub fn next(&mut self) {
        if let Some(line) = self.line.get(..self.length) {
            self.history.push(line);
        }
        self.clear();
    }

    /// Takes a byte from the terminal and shows what it does.
    pub fn key(&mut self, byte: u8, out: &mut impl Terminal) -> Reply {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match (self.sequence, byte) {
            (Sequence::Escape, b'[' | b'O') => {
                self.sequence = Sequence::Control(0);
                return Reply::Nothing;
            }
            (Sequence::Control(number), b'0'..=b'9') => {
                let digit = byte.wrapping_sub(b'0');
                self.sequence = Sequence::Control(number.wrapping_mul(10).wrapping_add(digit));
                return Reply::Nothing;
            }
            // A second number says which of Shift, Alt and Control were held: whichever, it is the same key.
            (Sequence::Control(number), b';') => {
                self.sequence = Sequence::Control(number);
                return Reply::Nothing;
            }
            (Sequence::Control(number), _) => {
                self.sequence = Sequence::None;
                self.control(number, byte);
                self.draw(out);
                return Reply::Nothing;
            }
            (Sequence::Escape | Sequence::None, _) => self.sequence = Sequence::None,
        }
        match byte {
            b'\n' if after_return => return Reply::Nothing,
            b'\r' | b'\n' => return Reply::Run,
            b'\t' => return Reply::Complete,
            0x1b => self.sequence = Sequence::Escape,
            ESCAPE => return Reply::Leave,
            0x04 if self.length == 0 => return Reply::Leave,
            b' '..=b'~' => {
                let at_end = self.cursor == self.length;
                if !self.insert(byte) {
                    out.write(b"\x07");
                } else if at_end {
                    out.write(&[byte]);
                } else {
                    self.draw(out);
                }
            }
            0x0c => {
                out.write(b"\x1b[2J\x1b[H");
                self.draw(out);
            }
            _ => {
                self.edit(byte);
                self.draw(out);
            }
        }
        Reply::Nothing
    }

    /// Inserts a byte at the cursor; `false` if the line is full.
    pub fn insert(&mut self, byte: u8) -> bool {
        let Some(tail) = self.line.get_mut(self.cursor..=self.length) else {
            return false;
        };
        tail.rotate_right(1);
        if let Some(place) = tail.first_mut() {
            *place = byte;
        }
        self.length += 1;
        self.cursor += 1;
        true
    }

    /// Shows prompt and line, with the cursor where it belongs.
    pub fn draw(&self, out: &mut impl Terminal) {
        out.write(b"\r");
        out.write(PROMPT.as_bytes());
        out.write(self.line().as_bytes());
        // Erase what an earlier, longer line left.
        out.write(b"\x1b[K");
        let back = self.length.saturating_sub(self.cursor);
        if back != 0 {
            let mut number = Number::default();
            // Two digits: a line has less than 1000 bytes.
            let _ = write!(number, "\x1b[{back}D");
            out.write(number.bytes.get(..number.length).unwrap_or_default());
        }
    }

    /// A control sequence, `number` its parameter and `last` its final byte.
    fn control(&mut self, number: u8, last: u8) {
        match (last, number) {
            (b'A', _) => self.recall(true),
            (b'B', _) => self.recall(false),
            (b'C', _) => self.edit(0x06),
            (b'D', _) => self.edit(0x02),
            (b'H', _) | (b'~', 1 | 7) => self.cursor = 0,
            (b'F', _) | (b'~', 4 | 8) => self.cursor = self.length,
            (b'~', 3) => self.edit(0x04),
            _ => {}
        }
    }

    /// A control character that edits.
    fn edit(&mut self, byte: u8) {
        match byte {
            0x01 => self.cursor = 0,
            0x02 => self.cursor = self.cursor.saturating_sub(1),
            0x03 => self.clear(),
            0x04 if self.cursor < self.length => self.remove(self.cursor + 1),
            0x05 => self.cursor = self.length,
            0x06 => self.cursor = self.length.min(self.cursor.saturating_add(1)),
            0x08 | 0x7f if self.cursor != 0 => {
                self.cursor -= 1;
                self.remove(self.cursor + 1);
            }
            0x0b => self.length = self.cursor,
            0x0e => self.recall(false),
            0x10 => self.recall(true),
            0x15 => {
                let end = self.cursor;
                self.cursor = 0;
                self.remove(end);
            }
            0x17 => {
                let end = self.cursor;
                let word = self.before_cursor().trim_end_matches(' ');
                self.cursor = word.rfind(' ').map_or(0, |space| space + 1);
                self.remove(end);
            }
            _ => {}
        }
    }

    /// Removes what is between the cursor and `end`.
    fn remove(&mut self, end: usize) {
        let end = end.min(self.length);
        self.line.copy_within(end..self.length, self.cursor);
        self.length -= end - self.cursor;
    }

    /// Puts an earlier (or later) line in place of this one.
    fn recall(&mut self, earlier: bool) {
        let found = self.history.step(earlier, self.line.get(..self.length));
        if let Some((line, length)) = found {
            self.line = line;
            self.length = length;
            self.cursor = length;
        }
    }
}

/// Only printable ASCII is ever put into a line.
fn text(bytes: Option<&[u8]>) -> &str {
    bytes.and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
}

/// Room for a cursor movement.
#[derive(Default)]
struct Number {
    bytes: [u8; 8],
    length: usize,
}

impl core::fmt::Write for Number {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            *self.bytes.get_mut(self.length).ok_or(core::fmt::Error)? = byte;
            self.length += 1;
        }
        Ok(())
    }
}
