//! Work between beats whose result is known: a table is filled from a seed, and read back.

use core::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 0x8000;

static TABLE: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// How much was done, and how often the result was another.
#[derive(Default)]
pub struct Work {
    pub rounds: u64,
    pub wrong: u64,
}

impl Work {
    /// One round: half a megabyte written and read.
    pub fn round(&mut self) {
        let seed = self.rounds.wrapping_add(0x5eed);
        let mut value = seed;
        let mut written = 0;
        for word in &TABLE {
            value = next(value);
            written = fold(written, value);
            word.store(value, Ordering::Relaxed);
        }
        let read = TABLE.iter().fold(0, |sum, word| fold(sum, word.load(Ordering::Relaxed)));
        self.rounds = self.rounds.wrapping_add(1);
        // Again from the seed: registers may be what was disturbed.
        let (mut value, mut again) = (seed, 0);
        for _ in 0..WORDS {
            value = next(value);
            again = fold(again, value);
        }
        if read != written || again != written {
            self.wrong = self.wrong.wrapping_add(1);
        }
    }
}

/// Xorshift64.
fn next(mut value: u64) -> u64 {
    value ^= value << 13;
    value ^= value >> 7;
    value ^ value << 17
}

fn fold(sum: u64, value: u64) -> u64 {
    sum.rotate_left(5) ^ value
}
