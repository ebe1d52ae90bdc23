//! A line of text in a fixed buffer: what does not fit is cut off.

use core::fmt;

/// At most 104 bytes of text.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; 104],
    length: usize,
}

impl Text {
    /// Formats into a new text.
    pub fn new(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; 104], length: 0 };
        // Too long is cut off, which is what is wanted.
        let _ = fmt::write(&mut text, arguments);
        text
    }
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes.get(..self.length).unwrap_or(&[])).unwrap_or("?")
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            let slot = self.bytes.get_mut(self.length).ok_or(fmt::Error)?;
            *slot = byte;
            self.length += 1;
        }
        Ok(())
    }
}
