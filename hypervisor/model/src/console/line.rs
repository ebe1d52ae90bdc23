//! One VM's lines on a terminal that others share: its name before each, and of its control functions only those
//! that cannot reach the name or anything outside the line.
//!
//! The terminal is a VT100 in UTF-8 with 80 columns or more (ECMA-48 names the functions). What passes is text,
//! line ends, tabs, colours, and what shells edit a line with: steps back are counted, so that none goes beyond the
//! VM's own first column. A carriage return brings the name again. A sequence is held until it is whole, so nobody
//! else's output can become part of it; everything else of it is dropped. Bytes that are no UTF-8, the C1 controls
//! and the characters that end or turn a line are shown as `<9b>`.

#[cfg(test)]
mod tests;

use core::fmt::Write as _;

use crate::terminal::{Terminal, Text};

/// Bytes of a control sequence between `ESC [` and its end; a longer one's rest is text.
const SEQUENCE_BYTES: usize = 48;
/// Bytes that a control string (a title, the clipboard) hides at most; a longer one's rest is text.
const STRING_BYTES: usize = 4096;
/// What ends a line that goes on later. No VM can say it: its CUF has a count of 1 at least. A terminal shows nothing of it before
/// a line end.
const CUT: &[u8] = b"\x1b[0C";
/// Columns that every terminal has: a step back is counted from there at most, because the cursor may stand still
/// at the right edge.
const COLUMNS: usize = 80;

/// The largest count of a control sequence: more is as good as this.
const MOST: usize = 9999;

/// Where the cursor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Not in a line of this VM's: the next one begins with its name.
    Outside,
    /// At column 0 after a carriage return: only a line end may come without the name.
    Returned,
    /// Behind the name.
    Inside,
}

/// What the bytes held are the beginning of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    /// A character of several bytes, or nothing.
    Text,
    /// `ESC` and intermediate bytes (ECMA-35, 13.2.1).
    Escape,
    /// A control sequence (ECMA-48, 5.4).
    Sequence,
    /// A control string (ECMA-48, 5.6), of which this many bytes came.
    String(usize),
}

/// A VM's line as far as it has come.
pub(super) struct Line {
    place: Place,
    /// Columns between the VM's first one and the cursor, at least.
    column: usize,
    /// Its text may look different from what a terminal begins with.
    is_styled: bool,
    held: Held,
    bytes: [u8; SEQUENCE_BYTES],
    length: usize,
}

impl Line {
    /// Makes the state before the first line.
    pub(super) fn new() -> Self {
        Self {
            place: Place::Outside,
            column: 0,
            is_styled: false,
            held: Held::Text,
            bytes: [0; SEQUENCE_BYTES],
            length: 0,
        }
    }

    /// Tells whether the cursor is in a line of this VM's.
    pub(super) fn is_open(&self) -> bool {
        self.place != Place::Outside
    }

    /// Somebody else writes now: gives the terminal its own looks back, and says that the line is cut, if it is one. The caller
    /// ends it.
    pub(super) fn leave(&mut self, out: &mut impl Terminal) {
        self.plain(out);
        if self.is_open() {
            out.write(CUT);
        }
        self.place = Place::Outside;
    }

    /// Some of it is lost: gives the terminal its own looks back, and begins anew. The caller ends the line.
    pub(super) fn lose(&mut self, out: &mut impl Terminal) {
        self.plain(out);
        *self = Self::new();
    }

    /// Takes the next byte of the VM of this name.
    pub(super) fn take(&mut self, byte: u8, name: &str, out: &mut impl Terminal) {
        match (self.held, byte) {
            (Held::Text, 0x80..) => return self.take_part(byte, name, out),
            (Held::Escape, b'[') if self.length == 0 => self.held = Held::Sequence,
            (Held::Escape, b']' | b'P' | b'X' | b'^' | b'_') if self.length == 0 => self.held = Held::String(0),
            (Held::Escape, 0x30..=0x7e) => self.held = Held::Text,
            (Held::Sequence, 0x40..=0x7e) => self.end_sequence(byte, name, out),
            (Held::Escape, 0x20..=0x2f) | (Held::Sequence, 0x20..=0x3f) if self.length < SEQUENCE_BYTES => {
                self.hold(byte);
                return;
            }
            // BEL ends a control string of xterm's, `ESC \` every one.
            (Held::String(_), 0x07) => self.held = Held::Text,
            (Held::String(count), 0x08 | 0x09 | 0x20..) if count < STRING_BYTES => self.held = Held::String(count + 1),
            // No part of what was begun.
            _ => {
                self.give_up(name, out);
                return self.take_single(byte, name, out);
            }
        }
        self.length = 0;
    }

    fn hold(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Ends what was begun and did not go on.
    fn give_up(&mut self, name: &str, out: &mut impl Terminal) {
        if self.held == Held::Text {
            for index in 0..self.length {
                self.show_code(self.bytes[index], name, out);
            }
        }
        (self.held, self.length) = (Held::Text, 0);
    }

    /// Takes a byte above ASCII.
    fn take_part(&mut self, byte: u8, name: &str, out: &mut impl Terminal) {
        if byte >= 0xc0 {
            self.give_up(name, out);
        }
        self.hold(byte);
        let length = match self.bytes[0] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        if self.length < length {
            return;
        }
        let (bytes, length) = (self.bytes, core::mem::take(&mut self.length));
        let bytes = &bytes[..length];
        let is_text = core::str::from_utf8(bytes).is_ok_and(|text| !text.contains(acts));
        if is_text {
            // Its width is anybody's guess: not counted.
            self.begin(name, out);
            out.write(bytes);
        } else {
            bytes.iter().for_each(|byte| self.show_code(*byte, name, out));
        }
    }

    /// Takes an ASCII byte that stands for itself.
    fn take_single(&mut self, byte: u8, name: &str, out: &mut impl Terminal) {
        match byte {
            b'\n' | b'\r' => {
                if self.place == Place::Outside {
                    self.begin(name, out);
                }
                self.plain(out);
                out.write(&[byte]);
                self.place = if byte == b'\n' { Place::Outside } else { Place::Returned };
            }
            b'\t' | 0x20..=0x7e => {
                self.begin(name, out);
                out.write(&[byte]);
                self.step(1, name);
            }
            0x08 if self.place == Place::Inside && self.column != 0 => {
                out.write(&[byte]);
                self.column -= 1;
            }
            0x1b => self.held = Held::Escape,
            0x80.. => self.take_part(byte, name, out),
            _ => {}
        }
    }

    /// Does what a control sequence asks for, if it stays in the line and behind the name.
    fn end_sequence(&mut self, end: u8, name: &str, out: &mut impl Terminal) {
        self.held = Held::Text;
        let bytes = self.bytes;
        let parameters = &bytes[..self.length];
        // Others are private ones, or have intermediate bytes and so another meaning.
        if !parameters.iter().all(|byte| matches!(byte, b'0'..=b'9' | b':' | b';')) {
            return;
        }
        let number = parameters.iter().try_fold(0, |number: usize, byte| {
            byte.is_ascii_digit().then(|| (number * 10 + usize::from(byte - b'0')).min(MOST))
        });
        match (end, number) {
            // SGR: colours and such.
            (b'm', _) => {
                self.begin(name, out);
                out.write(b"\x1b[");
                out.write(parameters);
                out.write(b"m");
                self.is_styled = !parameters.iter().all(|byte| *byte == b'0');
            }
            // EL, ED: what follows the cursor goes. Below it is nothing of this VM's.
            (b'K' | b'J', Some(0)) => {
                self.begin(name, out);
                out.write(b"\x1b[K");
            }
            // CUF, ICH, DCH.
            (b'C' | b'@' | b'P', Some(number)) => {
                let count = number.max(1);
                self.begin(name, out);
                let _ = write!(Text(out), "\x1b[{count}{}", char::from(end));
                self.step(if end == b'C' { count } else { 0 }, name);
            }
            // CUB.
            (b'D', Some(number)) if self.place == Place::Inside && self.column != 0 => {
                let count = number.max(1).min(self.column);
                let _ = write!(Text(out), "\x1b[{count}D");
                self.column -= count;
            }
            _ => {}
        }
    }

    /// The cursor moved to the right.
    fn step(&mut self, count: usize, name: &str) {
        let most = COLUMNS.saturating_sub("[] ".len() + name.len() + 1);
        self.column = self.column.saturating_add(count).min(most);
    }

    /// Shows a byte that is no text.
    fn show_code(&mut self, byte: u8, name: &str, out: &mut impl Terminal) {
        self.begin(name, out);
        let _ = write!(Text(out), "<{byte:02x}>");
        self.step("<00>".len(), name);
    }

    /// Writes the name, if the cursor is not behind it.
    fn begin(&mut self, name: &str, out: &mut impl Terminal) {
        if self.place != Place::Inside {
            let _ = write!(Text(out), "[{name}] ");
            (self.place, self.column) = (Place::Inside, 0);
        }
    }

    /// Gives the terminal its own looks back.
    fn plain(&mut self, out: &mut impl Terminal) {
        if core::mem::take(&mut self.is_styled) {
            out.write(b"\x1b[m");
        }
    }
}

/// Tells whether a character acts on the line that it stands in: the C1 controls, what Unicode calls a line's or
/// paragraph's end, and the marks that turn the direction of writing.
fn acts(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}
