//! Random numbers that repeat: xorshift64.

use crate::machine::machine;

/// A sequence of numbers.
pub struct Random(u64);

impl Random {
    /// Begins the sequence of the bootarg `seed=N`, or of the usual seed.
    pub fn of_bootargs() -> Self {
        let seed = machine().bootarg("seed").and_then(|number| number.parse().ok());
        Self(seed.unwrap_or(0x5eed).max(1))
    }
    /// Returns the state, which is the seed at the beginning.
    pub fn seed(&self) -> u64 {
        self.0
    }
    /// Returns the next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// Returns a number below `limit`; `limit` 0 gives 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw().checked_rem(limit).unwrap_or(0)
    }
}
