//! The bundle: the newc `cpio` archive that carries the VM tree, kernels and ramdisks.
//!
//! A reader over bytes that somebody else keeps in memory. It copies nothing and allocates nothing; the
//! whole archive is checked once, when it is opened, and what comes after cannot fail. It does not know
//! what the members mean. The format is the one that Linux describes in
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

#[cfg(test)]
mod tests;

use core::fmt;

use crate::policy::line::Quoted;

/// The name of the member that holds the VM tree.
pub const VM_TREE: &str = "vms.dtb";

/// Bytes in a header: the magic and 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;
/// Longest name that is read; Linux's own limit for a path.
const NAME_MAX: usize = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that was found whole.
#[derive(Clone, Copy)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    /// Where the archive ends; what follows is padding of the loader.
    end: usize,
}

/// One file of the archive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, without a leading `./`.
    pub name: &'a str,
    /// The contents.
    pub data: &'a [u8],
}

/// Why an archive cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BundleError<'a> {
    /// Where in the archive the offending entry begins, in bytes.
    pub offset: usize,
    /// The entry's name, where it could be read.
    pub member: Option<&'a str>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an entry of an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Neither `070701` nor `070702` stands at the entry's beginning.
    #[error("not a newc cpio entry; write the archive with `cpio -o -H newc`")]
    Magic,
    /// A number in the header is not hexadecimal.
    #[error("a number in its header is not hexadecimal; write the archive again")]
    Number,
    /// The name is empty, too long, not ended by a NUL or not UTF-8.
    #[error("its name is empty, too long or not UTF-8; rename it")]
    Name,
    /// The archive ends inside the entry, or before its trailer.
    #[error("the archive is cut off; load all of it")]
    Truncated,
    /// The entry is a link or a device.
    #[error("a link or a device; put the file itself into the archive")]
    NotAFile,
    /// An earlier member has the same name.
    #[error("a second member of this name; leave one of them out")]
    Duplicate,
}

impl<'a> Bundle<'a> {
    /// Opens an archive and checks every entry of it.
    ///
    /// # Errors
    ///
    /// The first entry that cannot be used, with its offset. Bytes after the trailer are not looked at:
    /// boot loaders round an initrd's size up.
    pub fn new(bytes: &'a [u8]) -> Result<Self, BundleError<'a>> {
        let mut at = 0;
        loop {
            let entry = read(bytes, at)?;
            if entry.kind == Kind::Trailer {
                return Ok(Self { bytes, end: at });
            }
            let earlier = Self { bytes, end: at };
            if entry.kind == Kind::File && earlier.member(entry.name).is_some() {
                return Err(fault(at, Some(entry.name), Fault::Duplicate));
            }
            at = entry.next;
        }
    }

    /// Returns the contents of the member of this name.
    pub fn member(&self, name: &str) -> Option<&'a [u8]> {
        self.members().find(|member| member.name == name).map(|member| member.data)
    }

    /// Iterates over the files, in the archive's order; directories are left out.
    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let Self { bytes, end } = *self;
        let mut at = 0;
        core::iter::from_fn(move || {
            while at < end {
                let entry = read(bytes, at).ok()?;
                at = entry.next;
                if entry.kind == Kind::File {
                    return Some(Member { name: entry.name, data: entry.data });
                }
            }
            None
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Trailer,
}

struct Entry<'a> {
    name: &'a str,
    data: &'a [u8],
    kind: Kind,
    next: usize,
}

/// Reads the entry at an offset. Header and name together, and the data, are padded to 4 bytes.
fn read(bytes: &[u8], at: usize) -> Result<Entry<'_>, BundleError<'_>> {
    let truncated = fault(at, None, Fault::Truncated);
    let header = slice(bytes, at, HEADER).ok_or(truncated)?;
    if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
        return Err(fault(at, None, Fault::Magic));
    }
    let number = |index: usize| hex(header, 6 + index * 8).ok_or(fault(at, None, Fault::Number));
    let (mode, links) = (number(1)?, number(4)?);
    let (size, name_size) = (number(6)?, number(11)?);
    if name_size > NAME_MAX {
        return Err(fault(at, None, Fault::Name));
    }
    let raw = slice(bytes, at + HEADER, name_size).ok_or(truncated)?;
    let name = name_of(raw).ok_or(fault(at, None, Fault::Name))?;
    let named = |what| fault(at, Some(name), what);
    let start = (at + HEADER + name_size).checked_next_multiple_of(4).ok_or(truncated)?;
    let data = slice(bytes, start, size).ok_or(named(Fault::Truncated))?;
    // The last entry's padding may be missing where a loader was told the exact size.
    let next = (start + size).checked_next_multiple_of(4).ok_or(truncated)?.min(bytes.len());
    let kind = match mode & 0o170_000 {
        _ if name == TRAILER => Kind::Trailer,
        0o040_000 => Kind::Directory,
        // A second name of a file stands in the archive without the file's data.
        0o100_000 if links > 1 && size == 0 => return Err(named(Fault::NotAFile)),
        0o100_000 => Kind::File,
        _ => return Err(named(Fault::NotAFile)),
    };
    Ok(Entry { name: name.strip_prefix("./").unwrap_or(name), data, kind, next })
}

fn fault(offset: usize, member: Option<&str>, fault: Fault) -> BundleError<'_> {
    BundleError { offset, member, fault }
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn hex(header: &[u8], at: usize) -> Option<usize> {
    let digits = &header[at..at + 8];
    // Unlike `from_str_radix`, this takes no sign.
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)? as usize))
}

fn name_of(raw: &[u8]) -> Option<&str> {
    let (&end, name) = raw.split_last()?;
    let clean = end == 0 && !name.is_empty() && !name.contains(&0);
    core::str::from_utf8(name).ok().filter(|_| clean)
}

impl fmt::Display for BundleError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bundle ")?;
        if let Some(member) = self.member {
            write!(f, "member {} ", Quoted(&member))?;
        }
        write!(f, "at offset {:#x}: {}", self.offset, self.fault)
    }
}

impl core::error::Error for BundleError<'_> {}
