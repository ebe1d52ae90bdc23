//! The monitor's lines for people: values in columns below their keys, where scripts get `key=value`.
//!
//! A line is made once, as `KIND key=value …`, and these cut it while it is written: nothing is kept of it. A key that has no
//! column stays before its value, so that no line is told less of than to a script.

#[cfg(test)]
mod tests;

use core::fmt::{self, Write};

/// Keys with columns, and how wide these are. What is longer moves the rest of its line.
const COLUMNS: [(&str, usize); 37] = [
    ("name", 16),
    ("vm", 16),
    ("region", 16),
    ("state", 8),
    ("cpus", 8),
    ("memory", 12),
    ("lives", 6),
    ("crashes", 7),
    ("uptime_ms", 10),
    ("use", 8),
    ("ipa", 14),
    ("size", 14),
    ("attr", 15),
    ("exec", 4),
    ("mte", 7),
    ("rule", 4),
    ("proof", 13),
    ("vcpu", 4),
    ("cpu", 6),
    ("ran_ms", 9),
    ("steal_ms", 9),
    ("hvc", 8),
    ("smc", 8),
    ("sysreg", 8),
    ("dabt", 8),
    ("iabt", 8),
    ("wfx", 8),
    ("fp", 8),
    ("sve", 8),
    ("other", 8),
    ("timer", 8),
    ("kick", 8),
    ("deadline", 8),
    ("maintenance", 11),
    ("irq", 8),
    ("command", 22),
    ("does", 0),
];

/// The values of a line, each in its column.
pub struct Row<'a>(pub fmt::Arguments<'a>);

/// The keys of a line, above their columns.
pub struct Head<'a>(pub fmt::Arguments<'a>);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cut = Cut::new(f, Show::Values);
        cut.write_fmt(self.0)?;
        cut.end()
    }
}

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cut::new(f, Show::Keys).write_fmt(self.0)
    }
}

/// Returns a number that two lines share if the same columns are in them: 0 if none is.
pub fn columns(line: fmt::Arguments<'_>) -> u64 {
    /// Takes the heading's bytes (FNV-1a).
    struct Sum(u64);
    impl Write for Sum {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            Ok(())
        }
    }
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    let mut sum = Sum(START);
    // It cannot fail, and our own messages format without error.
    let _ = write!(sum, "{}", Head(line));
    if sum.0 == START { 0 } else { sum.0 }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Keys,
    Values,
}

/// Where in a line the writer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Kind,
    Key,
    /// In a value; within quotes or not.
    Value {
        quoted: bool,
    },
}

/// The longest key: what is longer is no key.
const KEY_BYTES: usize = 32;

struct Cut<'a, W> {
    out: &'a mut W,
    show: Show,
    place: Place,
    key: [u8; KEY_BYTES],
    key_length: usize,
    /// Whether the key has a column.
    has_column: bool,
    /// Blanks that come before whatever comes next.
    gap: usize,
    /// What is left of the column.
    left: usize,
    is_escaped: bool,
}

impl<'a, W: Write> Cut<'a, W> {
    fn new(out: &'a mut W, show: Show) -> Self {
        Self {
            out,
            show,
            place: Place::Kind,
            key: [0; KEY_BYTES],
            key_length: 0,
            has_column: false,
            gap: 0,
            left: 0,
            is_escaped: false,
        }
    }

    fn put(&mut self, letter: char) -> fmt::Result {
        for _ in 0..core::mem::take(&mut self.gap) {
            self.out.write_char(' ')?;
        }
        self.left = self.left.saturating_sub(1);
        self.out.write_char(letter)
    }

    fn put_key(&mut self, is_heading: bool) -> fmt::Result {
        for place in 0..self.key_length.min(KEY_BYTES) {
            let letter = char::from(self.key[place]);
            self.put(if is_heading { letter.to_ascii_uppercase() } else { letter })?;
        }
        Ok(())
    }

    /// A key is whole: its column begins, or it is shown.
    fn begin_value(&mut self) -> fmt::Result {
        let key = self.key.get(..self.key_length).unwrap_or_default();
        let column = COLUMNS.iter().find(|(name, _)| name.as_bytes() == key);
        self.has_column = column.is_some();
        self.left = column.map_or(0, |(_, width)| *width);
        self.place = Place::Value { quoted: false };
        match (self.show, self.has_column) {
            (Show::Keys, true) => self.put_key(true),
            (Show::Values, false) => self.put_key(false).and_then(|()| self.put('=')),
            _ => Ok(()),
        }
    }

    /// What there is of a key is a word without a value.
    fn end(&mut self) -> fmt::Result {
        if self.place != Place::Key {
            return Ok(());
        }
        (self.has_column, self.left) = (false, 0);
        if self.show == Show::Values { self.put_key(false) } else { Ok(()) }
    }

    /// A value or a word is whole.
    fn end_value(&mut self) {
        let is_shown = self.has_column || self.show == Show::Values;
        self.gap += if is_shown { self.left + 1 } else { 0 };
        (self.place, self.key_length) = (Place::Key, 0);
    }

    fn take(&mut self, letter: char) -> fmt::Result {
        match self.place {
            Place::Kind if letter == ' ' => self.place = Place::Key,
            Place::Kind => {}
            Place::Key if letter == '=' => return self.begin_value(),
            Place::Key if letter == ' ' => {
                self.end()?;
                self.end_value();
            }
            Place::Key => {
                if let (Some(place), true) = (self.key.get_mut(self.key_length), letter.is_ascii()) {
                    *place = letter as u8;
                }
                self.key_length += 1;
            }
            Place::Value { quoted: false } if letter == ' ' => self.end_value(),
            Place::Value { quoted } => return self.take_of_value(letter, quoted),
        }
        Ok(())
    }

    fn take_of_value(&mut self, letter: char, quoted: bool) -> fmt::Result {
        let is_quote = letter == '"' && !self.is_escaped;
        self.is_escaped = quoted && letter == '\\' && !self.is_escaped;
        if is_quote {
            self.place = Place::Value { quoted: !quoted };
        }
        // A column ends where the next begins: it needs no quotes.
        let is_shown = self.show == Show::Values && !(is_quote && self.has_column);
        if is_shown { self.put(letter) } else { Ok(()) }
    }
}

impl<W: Write> Write for Cut<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| self.take(letter))
    }
}
