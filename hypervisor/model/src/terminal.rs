//! What the console and the line editor write to.

use core::fmt;

/// Where the bytes go. It cannot fail.
pub trait Terminal {
    /// Sends bytes.
    fn write(&mut self, bytes: &[u8]);
    /// Returns how many bytes it takes now.
    fn room(&self) -> usize {
        usize::MAX
    }
}

/// Formatting into a terminal.
pub(crate) struct Text<'a, T>(pub(crate) &'a mut T);

impl<T: Terminal> fmt::Write for Text<'_, T> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
