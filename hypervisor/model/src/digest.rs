//! Digests of members: the length and CRC-32 that the VM tree gives for each of them.
//!
//! The sum itself is handed in, since a CPU with the CRC32 instructions takes it in the same pass as the
//! copy. It guards against a damaged or mixed-up archive, not against an attacker.

use thiserror::Error;

/// Continues a CRC-32 (the one of IEEE 802.3, gzip and zlib) over more bytes; it starts from 0.
pub type Crc32 = fn(crc: u32, bytes: &[u8]) -> u32;

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
    /// There is no such member.
    #[error("not in the bundle")]
    Missing,
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
    /// Computes the digest of some bytes.
    pub fn of(data: &[u8], crc32: Crc32) -> Self {
        Self { size: data.len() as u64, crc32: crc32(0, data) }
    }

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

    /// Checks the length and the sum of some bytes.
    ///
    /// # Errors
    ///
    /// Length or sum is another one.
    pub fn check(self, data: &[u8], crc32: Crc32) -> Result<(), DigestError> {
        self.check_size(data)?;
        self.check_sum(crc32(0, data))
    }
}

/// The sum in portable code, for hosts and for CPUs without the CRC32 instructions.
pub fn portable_crc32(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}
