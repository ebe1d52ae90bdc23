//! Random numbers for guests' trees, from all that firmware and the CPU give: ChaCha20 whose key is erased.
//!
//! Each source is mixed into one key by the cipher itself, so no bit of it is lost and none cancels another's. A draw
//! takes the next key and what it gives out from one stream, and forgets the key that the stream came of: who knows a
//! draw, or later the key, learns nothing of another draw. Each draw is of one VM's one life and has a number of its
//! own, which is the stream's.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

#[cfg(test)]
mod tests;

const KEY_BYTES: usize = 32;
/// Bits that nobody knows, without which nothing that is drawn may seed a generator.
pub const ENOUGH_BITS: usize = 128;
/// The streams that mix sources in are not those that are drawn from.
const MIXING: u64 = 1 << 63;

/// The generator.
pub struct Generator {
    key: [u8; KEY_BYTES],
    /// Bits of the sources so far.
    bits: usize,
    draws: u64,
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl Generator {
    /// Makes one that knows nothing yet.
    pub const fn new() -> Self {
        Self { key: [0; KEY_BYTES], bits: 0, draws: 0 }
    }

    /// Mixes in what nobody else knows. Bytes that are all 0 stand for a source that has nothing.
    pub fn add_secret(&mut self, bytes: &[u8]) {
        if bytes.iter().any(|byte| *byte != 0) {
            self.bits = self.bits.saturating_add(bytes.len().saturating_mul(8));
        }
        self.add(bytes);
    }

    /// Mixes in what may differ from boot to boot, and counts for nothing.
    pub fn add(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(KEY_BYTES) {
            for (key, byte) in self.key.iter_mut().zip(chunk) {
                *key ^= byte;
            }
            self.stream(MIXING | chunk.len() as u64).fill_bytes(&mut self.key);
        }
    }

    /// Tells whether there is any secret in it.
    pub fn is_seeded(&self) -> bool {
        self.bits != 0
    }

    /// Tells whether what is drawn may seed another generator.
    pub fn is_strong(&self) -> bool {
        self.bits >= ENOUGH_BITS
    }

    /// Draws for one life of one VM: a number and 32 bytes.
    pub fn draw(&mut self) -> (u64, [u8; 32]) {
        let mut stream = self.stream(self.draws & !MIXING);
        self.draws = self.draws.wrapping_add(1);
        stream.fill_bytes(&mut self.key);
        let mut bytes = [0; 32];
        stream.fill_bytes(&mut bytes);
        (stream.next_u64(), bytes)
    }

    fn stream(&self, number: u64) -> ChaCha20Rng {
        let mut stream = ChaCha20Rng::from_seed(self.key);
        stream.set_stream(number);
        stream
    }
}
