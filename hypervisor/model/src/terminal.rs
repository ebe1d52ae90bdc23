//! What the console and the line editor write to.

/// Where the bytes go. It cannot fail.
pub trait Terminal {
    /// Sends bytes.
    fn write(&mut self, bytes: &[u8]);
}
