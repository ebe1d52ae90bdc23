//! The tables of a folder, checked: length and checksum are right, entries lie within.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::layout::{Header, Madt};

/// The tables that are read; others are passed over.
const KNOWN: [&str; 11] = ["FACP", "APIC", "GTDT", "SRAT", "SLIT", "MCFG", "IORT", "SPCR", "CEDT", "DSDT", "SSDT"];

/// The tables, by signature. Of most there is one at most.
pub(super) struct Tables(Vec<(String, Vec<u8>)>);

impl Tables {
    /// Reads a folder, and its folder `dynamic`, where Linux keeps SSDTs that were loaded later.
    ///
    /// A file is known by its content: sysfs and `acpidump` name them differently.
    ///
    /// # Errors
    /// It can't be read, has no tables, or a table is damaged.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut files = files(folder)?;
        files.extend(files_if_any(&folder.join("dynamic")));
        let mut tables = Vec::new();
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("can't read {}", file.display()))?;
            if let Some(table) = known(bytes).with_context(|| file.display().to_string())? {
                tables.push(table);
            }
        }
        ensure!(!tables.is_empty(), "{}: no ACPI tables; copy /sys/firmware/acpi/tables as root", folder.display());
        Ok(Self(tables))
    }

    /// The tables that a test made.
    #[cfg(test)]
    pub(super) fn new(tables: Vec<Vec<u8>>) -> Self {
        Self(tables.into_iter().filter_map(|bytes| known(bytes).unwrap()).collect())
    }

    /// The table of this signature.
    pub(super) fn find(&self, signature: &str) -> Option<&[u8]> {
        self.all(signature).next()
    }

    /// All tables of this signature.
    pub(super) fn all(&self, signature: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(name, _)| name == signature).map(|(_, bytes)| bytes.as_slice())
    }

    /// The table of this signature.
    ///
    /// # Errors
    /// There is none; `why` says what it is needed for.
    pub(super) fn needed(&self, signature: &str, why: &str) -> Result<&[u8]> {
        self.find(signature).with_context(|| format!("there is no {signature}, which says {why}"))
    }

    /// The entries of the MADT of one type.
    ///
    /// # Errors
    /// There is no MADT, or it is malformed.
    pub(super) fn madt<T>(&self, kind: u8, name: &str) -> Result<Vec<&T>>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let table = self.needed("APIC", "which CPUs and which interrupt controller there are")?;
        let all = entries(table, size_of::<Madt>(), "APIC")?;
        all.into_iter().filter(|(of, _)| *of == kind).map(|(_, entry)| part(entry, name)).collect()
    }
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let paths: std::io::Result<Vec<_>> = list.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.is_file());
    // By name, so that the same folder gives the same tree everywhere.
    paths.sort();
    Ok(paths)
}

fn files_if_any(folder: &Path) -> Vec<std::path::PathBuf> {
    files(folder).unwrap_or_default()
}

/// A table that is read, with its signature; what else is there is none.
fn known(mut bytes: Vec<u8>) -> Result<Option<(String, Vec<u8>)>> {
    let signature = bytes.get(..4).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default().to_owned();
    if !KNOWN.contains(&signature.as_str()) {
        return Ok(None);
    }
    let length = part::<Header>(&bytes, "its header")?.length.get() as usize;
    ensure!(
        (size_of::<Header>()..=bytes.len()).contains(&length),
        "{signature} says that it has {length} bytes, and the file has {}: copy it whole",
        bytes.len()
    );
    bytes.truncate(length);
    let sum = bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
    ensure!(sum == 0, "{signature}'s checksum is wrong: it was changed or is damaged");
    Ok(Some((signature, bytes)))
}

/// The structure at the beginning of `bytes`.
///
/// # Errors
/// They are too few for it.
pub(super) fn part<'a, T>(bytes: &'a [u8], what: &str) -> Result<&'a T>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let short = || format!("{what} is cut off: {} bytes of {}", bytes.len(), size_of::<T>());
    T::ref_from_prefix(bytes).ok().map(|(part, _)| part).with_context(short)
}

/// The entries of a MADT or an SRAT (type and length of a byte each) that begin at `from`.
///
/// # Errors
/// An entry that ends outside of the table, or has no length.
pub(super) fn entries<'a>(table: &'a [u8], from: usize, name: &str) -> Result<Vec<(u8, &'a [u8])>> {
    split(table, from, name, |entry| Some((*entry.first()?, usize::from(*entry.get(1)?))))
}

/// The entries of a CEDT: a byte of type, one that is reserved, and two of length (CXL 3.1 §9.18.1).
///
/// # Errors
/// As with [`entries`].
pub(super) fn wide_entries<'a>(table: &'a [u8], from: usize, name: &str) -> Result<Vec<(u8, &'a [u8])>> {
    split(table, from, name, |entry| {
        Some((*entry.first()?, usize::from(u16::from_le_bytes([*entry.get(2)?, *entry.get(3)?]))))
    })
}

fn split<'a>(
    table: &'a [u8],
    from: usize,
    name: &str,
    head: impl Fn(&[u8]) -> Option<(u8, usize)>,
) -> Result<Vec<(u8, &'a [u8])>> {
    let mut entries = Vec::new();
    let mut rest = table.get(from..).unwrap_or_default();
    while !rest.is_empty() {
        let bad = || format!("{name}: an entry {} bytes before the end has a wrong length", rest.len());
        let (kind, length) = head(rest).with_context(bad)?;
        let entry = rest.get(..length).filter(|entry| entry.len() > 1).with_context(bad)?;
        entries.push((kind, entry));
        rest = &rest[length..];
    }
    Ok(entries)
}
