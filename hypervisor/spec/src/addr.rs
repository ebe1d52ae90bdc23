//! Physical, intermediate physical and virtual addresses as types that do not mix.
//!
//! There is no `From` between them and no arithmetic across them: a walk of the stage-2 tables is the
//! only way from an [`Ipa`] to a [`Pa`].

use core::fmt;

/// Bytes in a page of the 4 KiB granule.
pub const PAGE_SIZE: u64 = 0x1000;
/// Bytes in a level-2 block of the 4 KiB granule.
pub const BLOCK_2M: u64 = 0x20_0000;
/// Bytes in a level-1 block of the 4 KiB granule.
pub const BLOCK_1G: u64 = 0x4000_0000;

/// What the three address types have in common.
pub trait Address: Copy + Ord + fmt::Debug {
    /// Makes an address from its number.
    fn from_raw(raw: u64) -> Self;
    /// Returns the address as a number.
    fn raw(self) -> u64;

    /// Returns the address `bytes` further on, or `None` past 2^64.
    fn checked_add(self, bytes: u64) -> Option<Self> {
        self.raw().checked_add(bytes).map(Self::from_raw)
    }
    /// Tells whether the address is a multiple of `align`, a power of two.
    fn is_aligned(self, align: u64) -> bool {
        self.raw() & (align - 1) == 0
    }
    /// Returns the address rounded down to a multiple of `align`, a power of two.
    fn align_down(self, align: u64) -> Self {
        Self::from_raw(self.raw() & !(align - 1))
    }
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl Address for $name {
            fn from_raw(raw: u64) -> Self {
                Self(raw)
            }
            fn raw(self) -> u64 {
                self.0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address: what comes out of stage 2, and what EL2's identity map uses.
    Pa
}
address! {
    /// An intermediate physical address: what a guest believes to be physical.
    Ipa
}
address! {
    /// A virtual address, EL2's own or a guest's.
    Va
}

/// A non-empty range of addresses of one kind that does not wrap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region<A> {
    /// The first address.
    pub start: A,
    /// The length in bytes, at least 1.
    pub size: u64,
}

impl<A: Address> Region<A> {
    /// Makes a region, or `None` if it is empty or its end passes 2^64 - 1.
    pub fn new(start: A, size: u64) -> Option<Self> {
        (size != 0 && start.raw().checked_add(size).is_some()).then_some(Self { start, size })
    }
    /// Returns the page that `address` lies in, or `None` if its end passes 2^64 - 1.
    pub fn page_of(address: A) -> Option<Self> {
        Self::new(address.align_down(PAGE_SIZE), PAGE_SIZE)
    }
    /// Returns the first address after the region.
    pub fn end(&self) -> A {
        A::from_raw(self.start.raw() + self.size)
    }
    /// Tells whether `address` lies in the region.
    pub fn contains(&self, address: A) -> bool {
        self.start <= address && address.raw() - self.start.raw() < self.size
    }
    /// Tells whether all of `other` lies in the region.
    pub fn covers(&self, other: &Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }
    /// Tells whether the two regions share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
    /// Tells whether start and size are multiples of `align`, a power of two.
    pub fn is_aligned(&self, align: u64) -> bool {
        (self.start.raw() | self.size) & (align - 1) == 0
    }
}

impl<A: Address> fmt::Debug for Region<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}+{:#x}", self.start, self.size)
    }
}

#[cfg(test)]
mod tests;
