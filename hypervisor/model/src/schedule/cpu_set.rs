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
    pub(super) fn set(&mut self, cpu: usize, inside: bool) {
        if let Some(word) = self.words.get_mut(cpu / 64) {
            let bit = 1 << (cpu % 64);
            *word = if inside { *word | bit } else { *word & !bit };
        }
    }

    /// Returns whether a CPU is inside.
    pub(super) fn contains(&self, cpu: usize) -> bool {
        let word = self.words.get(cpu / 64);
        word.is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    /// Returns the first CPU that is inside and not in `except`.
    pub(super) fn first_except(&self, except: &Self) -> Option<usize> {
        first(self.pairs(except).map(|(mine, other)| mine & !other))
    }

    /// Returns the first CPU that is inside and in `with`, but not in `except`.
    pub(super) fn first_with(&self, with: &Self, except: &Self) -> Option<usize> {
        let pairs = self.pairs(with).zip(&except.words);
        first(pairs.map(|((mine, with), except)| mine & with & !except))
    }

    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a u64, &'a u64)> {
        self.words.iter().zip(&other.words)
    }
}

fn first(words: impl Iterator<Item = u64>) -> Option<usize> {
    let (at, word) = words.enumerate().find(|(_, word)| *word != 0)?;
    Some(at * 64 + word.trailing_zeros() as usize)
}
