//! Base address registers as values. (PCI 3.0 §6.2.5)

/// What a BAR answers in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// I/O space.
    Io,
    /// Memory space.
    Memory {
        /// It takes two registers, for an address of 64 bits.
        wide: bool,
        /// Reads have no side effects, and writes may be merged.
        prefetchable: bool,
    },
}

/// One BAR of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Its index, 0 to 5; of a 64-bit one that of its lower half.
    pub index: u8,
    /// What it answers in.
    pub space: Space,
    /// The bus address in it; 0 if nobody gave it one.
    pub address: u64,
    /// Its bytes, a power of two.
    pub size: u64,
}

impl Bar {
    /// Returns whether it takes two registers, and whether it is prefetchable; `None` of I/O space.
    pub const fn memory(&self) -> Option<(bool, bool)> {
        match self.space {
            Space::Memory { wide, prefetchable } => Some((wide, prefetchable)),
            Space::Io => None,
        }
    }
}
