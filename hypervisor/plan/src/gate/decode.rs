//! Property values: big-endian cells and strings out of bytes.
//!
//! Each function gives `None` for bytes of another form. Nothing here knows of nodes.

/// Reads exactly one cell.
#[inline(never)]
pub fn u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Reads one or two cells as one number, the more significant first.
pub fn u64(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => u32(value).map(u64::from),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// Reads a whole number of cells.
pub fn cells(value: &[u8]) -> Option<CellList<'_>> {
    value.len().is_multiple_of(4).then_some(CellList(value))
}

/// The cells of a value, one after the other.
#[derive(Clone, Copy, Default)]
pub struct CellList<'a>(&'a [u8]);

impl CellList<'_> {
    /// Returns how many cells are left.
    pub fn count_left(&self) -> usize {
        self.0.len() / 4
    }
}

impl Iterator for CellList<'_> {
    type Item = u32;

    #[inline(never)]
    fn next(&mut self) -> Option<u32> {
        let (cell, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*cell))
    }
}

/// Reads one string: UTF-8 with exactly one NUL, at its end.
pub fn str(value: &[u8]) -> Option<&str> {
    let (last, text) = value.split_last()?;
    (*last == 0 && !text.contains(&0)).then_some(())?;
    core::str::from_utf8(text).ok()
}

/// Reads a list of at least one string, each ended by a NUL.
pub fn strs(value: &[u8]) -> Option<StrList<'_>> {
    let (last, text) = value.split_last()?;
    (*last == 0).then_some(())?;
    Some(StrList(Some(core::str::from_utf8(text).ok()?)))
}

/// The strings of a value, one after the other.
#[derive(Clone, Copy, Default)]
pub struct StrList<'a>(Option<&'a str>);

impl<'a> Iterator for StrList<'a> {
    type Item = &'a str;

    #[inline(never)]
    fn next(&mut self) -> Option<&'a str> {
        let list = self.0?;
        let Some(end) = list.bytes().position(|byte| byte == 0) else {
            self.0 = None;
            return Some(list);
        };
        self.0 = list.get(end + 1..);
        list.get(..end)
    }
}

/// How many cells addresses and sizes have in the `reg` of a node's children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cells {
    /// `#address-cells`.
    pub address: u32,
    /// `#size-cells`.
    pub size: u32,
}

impl Cells {
    /// What holds where a node says nothing (Devicetree Specification 0.4 §2.3.5).
    pub const DEFAULT: Self = Self { address: 2, size: 1 };

    /// Splits a `reg` value into (address, size in bytes) pairs.
    ///
    /// Addresses must have 1 or 2 cells and sizes at most 2 (0 gives size 0), and the value must be a
    /// whole number of entries, else `None`.
    pub fn entries(self, value: &[u8]) -> Option<Entries<'_>> {
        let address = cell_bytes(self.address).filter(|&bytes| bytes != 0)?;
        let entry = address + cell_bytes(self.size)?;
        value.len().is_multiple_of(entry).then_some(Entries { rest: value, address, entry })
    }
}

/// The entries of a `reg` value as (address, size in bytes), one after the other.
#[derive(Clone, Copy, Default)]
pub struct Entries<'a> {
    rest: &'a [u8],
    /// Bytes of an address.
    address: usize,
    /// Bytes of an entry.
    entry: usize,
}

impl Iterator for Entries<'_> {
    type Item = (u64, u64);

    #[inline(never)]
    fn next(&mut self) -> Option<(u64, u64)> {
        if self.rest.is_empty() {
            return None;
        }
        let (entry, rest) = self.rest.split_at_checked(self.entry)?;
        let (start, size) = entry.split_at_checked(self.address)?;
        self.rest = rest;
        Some((number(start), number(size)))
    }
}

/// The bytes of so many cells, if a `u64` holds them.
pub(crate) fn cell_bytes(cells: u32) -> Option<usize> {
    (cells <= 2).then_some(cells as usize * 4)
}

/// A number of zero to two cells, the length having been checked.
pub(crate) fn number(value: &[u8]) -> u64 {
    u64(value).unwrap_or_default()
}
