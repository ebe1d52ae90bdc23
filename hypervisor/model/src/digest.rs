//! Digests of members: the length and CRC-32 that the VM tree gives for each of them.
//!
//! The sum is CRC-32 (the one of IEEE 802.3, gzip and zlib), which whoever copies takes in the same pass. It guards
//! against a damaged or mixed-up archive, not against an attacker.

use thiserror::Error;

/// What a member must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// Its length in bytes.
    pub size: u64,
    /// Its CRC-32.
    pub crc32: u32,
}

/// How a member differs from its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DigestError {
    /// It is of another length, in bytes.
    #[error("{found} bytes in the bundle, {expected} in the VM tree")]
    Size {
        /// The length that the VM tree gives.
        expected: u64,
        /// The length found.
        found: u64,
    },
    /// It has another sum.
    #[error("CRC-32 {found:#010x} in the bundle, {expected:#010x} in the VM tree")]
    Crc32 {
        /// The sum that the VM tree gives.
        expected: u32,
        /// The sum found.
        found: u32,
    },
}

impl Digest {
    /// Checks the length alone.
    ///
    /// # Errors
    ///
    /// The length is another one.
    pub fn check_size(self, data: &[u8]) -> Result<(), DigestError> {
        let (expected, found) = (self.size, data.len() as u64);
        if expected == found { Ok(()) } else { Err(DigestError::Size { expected, found }) }
    }

    /// Checks a sum that was taken already.
    ///
    /// # Errors
    ///
    /// The sum is another one.
    pub fn check_sum(self, found: u32) -> Result<(), DigestError> {
        let expected = self.crc32;
        if expected == found { Ok(()) } else { Err(DigestError::Crc32 { expected, found }) }
    }
}
