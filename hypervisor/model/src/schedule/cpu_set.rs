//! A set of the pool's CPUs, by their places in it.

use alloc::vec;
use alloc::vec::Vec;

/// The set.
#[derive(Debug)]
pub(super) struct CpuSet {
    words: Vec<u64>,
}

impl CpuSet {
    /// Makes the empty set of CPUs below `cpus`.
    pub(super) fn new(cpus: usize) -> Self {
        Self { words: vec![0; cpus.div_ceil(64)] }
    }

    /// Puts a CPU in or takes it out.
    #[inline(always)]
    pub(super) fn set(&mut self, cpu: usize, inside: bool) {
        let bit = 1 << (cpu % 64);
        let word = &mut self.words[cpu / 64];
        *word = if inside { *word | bit } else { *word & !bit };
    }

    /// Returns whether a CPU is inside.
    #[inline(always)]
    pub(super) fn contains(&self, cpu: usize) -> bool {
        self.words[cpu / 64] & (1 << (cpu % 64)) != 0
    }

    /// Returns whether no CPU is inside.
    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Returns the first CPU that is inside and in `with`.
    pub(super) fn first_with(&self, with: &Self) -> Option<usize> {
        Self::first(self.words.iter().zip(&with.words).map(|(mine, with)| mine & with))
    }

    /// Returns the first CPU that is inside and in `with`, but not in `except`.
    pub(super) fn first_with_except(&self, with: &Self, except: &Self) -> Option<usize> {
        let words = self.words.iter().zip(&with.words).zip(&except.words);
        Self::first(words.map(|((mine, with), except)| mine & with & !except))
    }

    fn first(words: impl Iterator<Item = u64>) -> Option<usize> {
        let (at, word) = words.enumerate().find(|(_, word)| *word != 0)?;
        Some(at * 64 + word.trailing_zeros() as usize)
    }
}
