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
    pub(super) fn contains(&self, cpu: usize) -> bool {
        self.words[cpu / 64] & (1 << (cpu % 64)) != 0
    }

    /// Returns the first CPU that is inside and not in `except`.
    pub(super) fn first_except(&self, except: &Self) -> Option<usize> {
        self.first_with(self, except)
    }

    /// Returns the first CPU that is inside and in `with`, but not in `except`.
    pub(super) fn first_with(&self, with: &Self, except: &Self) -> Option<usize> {
        let words = self.words.iter().zip(&with.words).zip(&except.words);
        let mut words = words.map(|((mine, with), except)| mine & with & !except).enumerate();
        let (at, word) = words.find(|(_, word)| *word != 0)?;
        Some(at * 64 + word.trailing_zeros() as usize)
    }
}
