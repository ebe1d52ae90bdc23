//! What a field's value can be, and the words for it.

use core::fmt;

/// The values of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// 1 to 31 letters, digits, `.`, `_` and `-`; of a region, the first a letter, and not `memory`.
    Name {
        /// Whether it is a region's.
        region: bool,
    },
    /// A list of strings.
    Texts,
    /// True or false; as a property, there or not.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A whole number in this range; as a property, one cell.
    Number {
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// A time in this range; as a property, one cell of microseconds.
    Duration {
        /// The shortest, in microseconds.
        least: u32,
        /// The longest, in microseconds.
        most: u32,
    },
    /// Bytes, a multiple of 4 KiB from 4 KiB; as a property, two cells.
    Size,
    /// An address, a multiple of 4 KiB; as a property, two cells.
    Address,
    /// An instruction's address, a multiple of 4; as a property, two cells.
    Code,
    /// A number of CPUs, or a list of indices into `/cpus`.
    Cpus,
    /// An array of tables; their path.
    Tables(&'static str),
}

/// The most CPUs that a manifest can give one VM.
pub const CPUS_MAX: usize = 64;

impl Kind {
    /// Tells whether a number, or a time in microseconds, is in the range.
    pub const fn takes(self, number: u32) -> bool {
        match self {
            Self::Number { least, most } | Self::Duration { least, most } => least <= number && number <= most,
            _ => true,
        }
    }

    /// Tells whether a word is one of those.
    pub fn has(self, word: &str) -> bool {
        matches!(self, Self::Word(words) | Self::Words(words) if words.contains(&word))
    }

    /// Tells whether bytes or an address are such a multiple as they have to be.
    pub const fn takes_wide(self, number: u64) -> bool {
        match self {
            Self::Size => number != 0 && number.is_multiple_of(4096),
            Self::Address => number.is_multiple_of(4096),
            Self::Code => number.is_multiple_of(4),
            _ => true,
        }
    }
}

/// A sentence's end: "must be …".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text => f.write_str("must be a string"),
            Self::Name { region: false } => f.write_str("must be 1 to 31 letters, digits, `.`, `_` or `-`"),
            Self::Name { region: true } => {
                f.write_str("must be 1 to 31 letters, digits, `.`, `_` or `-`, the first a letter, and not \"memory\"")
            }
            Self::Texts => f.write_str("must be a list of strings"),
            Self::Flag => f.write_str("must be true or false"),
            Self::Word(words) => one_of(f, "must be ", words),
            Self::Words(words) => one_of(f, "must be a list of ", words),
            Self::Number { least, most: u32::MAX } => write!(f, "must be a number from {least}"),
            Self::Number { least, most } => write!(f, "must be a number from {least} to {most}"),
            Self::Duration { least, most: u32::MAX } => write!(f, "must be a time from {least}us"),
            Self::Duration { least, most } => write!(f, "must be a time from {least}us to {most}us"),
            Self::Size => f.write_str("must be a multiple of 4K, from 4K"),
            Self::Address => f.write_str("must be an address, a multiple of 4K"),
            Self::Code => f.write_str("must be an address, a multiple of 4"),
            Self::Cpus => {
                write!(f, "must be a number of CPUs from 1 to {0}, or a list of 1 to {0} different indices", CPUS_MAX)
            }
            Self::Tables(path) => write!(f, "must be written as [[{path}]]"),
        }
    }
}

fn one_of(f: &mut fmt::Formatter<'_>, start: &str, words: &[&str]) -> fmt::Result {
    f.write_str(start)?;
    for (index, word) in words.iter().enumerate() {
        let before = match index {
            0 => "",
            _ if index + 1 == words.len() => " or ",
            _ => ", ",
        };
        write!(f, "{before}\"{word}\"")?;
    }
    Ok(())
}
