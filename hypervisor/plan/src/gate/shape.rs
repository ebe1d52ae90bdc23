//! The check of a blob before anything reads it: header, tokens, names, depth, size.
//!
//! It is one loop over the structure block without recursion, so its time is bounded by the size. After
//! it the `fdt` crate finds nothing that it could trip over (Devicetree Specification 0.4 §5).

use super::{MAX_BYTES, MAX_DEPTH, MAX_NAME, MAX_SCANNED, Measure, TreeError, decode};

pub(crate) const MAGIC: u32 = 0xd00d_feed;
pub(crate) const VERSION: u32 = 17;
pub(crate) const HEADER_BYTES: usize = 40;

pub(crate) const FDT_BEGIN_NODE: u32 = 1;
pub(crate) const FDT_END_NODE: u32 = 2;
pub(crate) const FDT_PROP: u32 = 3;
pub(crate) const FDT_NOP: u32 = 4;
pub(crate) const FDT_END: u32 = 9;

/// What the check found.
pub(crate) struct Shape<'a> {
    /// The blob, cut to its `totalsize`.
    pub(super) bytes: &'a [u8],
    /// How much of everything there is.
    pub(super) measure: Measure,
    /// The memory reservation entries without the end mark.
    pub(crate) reservations: &'a [u8],
    /// The structure block: its tokens are whole and in order.
    pub(crate) structs: &'a [u8],
    /// The strings block, in which all names of properties end.
    pub(crate) strings: &'a [u8],
}

/// Is shown each property: its node's number, its name and its value.
type See<'s, 'a> = &'s mut dyn FnMut(usize, &'a str, &'a [u8]);

/// Checks a blob whole.
pub(crate) fn check(bytes: &[u8]) -> Result<Shape<'_>, TreeError> {
    check_up_to(Bounds::Kept, bytes, &mut |_, _, _| {})
}

/// Checks a blob that may be larger, deeper and have longer names than is read, and shows its properties on the way.
pub(super) fn check_and_show<'a>(bytes: &'a [u8], see: See<'_, 'a>) -> Result<Shape<'a>, TreeError> {
    check_up_to(Bounds::Passed, bytes, see)
}

/// Whether what is whole must also be small enough to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// It must.
    Kept,
    /// It may be refused aloud.
    Passed,
}

impl Bounds {
    fn most(self) -> usize {
        match self {
            Self::Kept => MAX_BYTES,
            Self::Passed => MAX_SCANNED,
        }
    }

    /// A bound is passed.
    fn pass(self, error: TreeError) -> Result<(), TreeError> {
        if self == Self::Kept { Err(error) } else { Ok(()) }
    }
}

fn check_up_to<'a>(bounds: Bounds, bytes: &'a [u8], see: See<'_, 'a>) -> Result<Shape<'a>, TreeError> {
    if word(bytes, 0).ok_or(TreeError::NoMagic)? != MAGIC {
        return Err(TreeError::NoMagic);
    }
    let total = word(bytes, 4).ok_or(TreeError::Truncated)? as usize;
    if total > bounds.most() {
        return Err(TreeError::TooLarge);
    }
    let bytes = bytes.get(..total).ok_or(TreeError::Truncated)?;
    let header = bytes.get(..HEADER_BYTES).ok_or(TreeError::Truncated)?;
    let field = |at: usize| word(header, at).map_or(usize::MAX, |field| field as usize);
    if field(20) < VERSION as usize || field(24) > VERSION as usize {
        return Err(TreeError::Version);
    }
    let structs = block(bytes, field(8), field(36)).ok_or(TreeError::Header)?;
    let strings = block(bytes, field(12), field(32)).ok_or(TreeError::Header)?;
    if !field(8).is_multiple_of(4) || !structs.len().is_multiple_of(4) {
        return Err(TreeError::Header);
    }
    let (nodes, paths) = walk(bounds, structs, strings, see)?;
    let reservations = reservations(bytes, field(16))?;
    let end = |start: usize, length: usize| start.saturating_add(length);
    // The list of reservations has an entry of zeros at its end.
    let ends = [end(field(8), structs.len()), end(field(12), strings.len()), end(field(16), reservations.len() + 16)];
    let used = ends.into_iter().fold(HEADER_BYTES, usize::max).min(total);
    Ok(Shape { bytes, measure: Measure { bytes: used, nodes, paths }, reservations, structs, strings })
}

pub(crate) fn block(bytes: &[u8], start: usize, size: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(size)?)
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    decode::u32(bytes.get(at..at.checked_add(4)?)?)
}

/// Follows all tokens and returns the number of nodes, and of the bytes in their paths.
fn walk<'a>(
    bounds: Bounds,
    structs: &'a [u8],
    strings: &'a [u8],
    see: See<'_, 'a>,
) -> Result<(usize, usize), TreeError> {
    let (mut at, mut depth, mut nodes) = (0usize, 0usize, 0usize);
    // The length of the path at each depth, and of all.
    let (mut path, mut paths) = ([0usize; MAX_DEPTH + 2], 0usize);
    // Properties come before child nodes (§5.4.2); `fdt` stops at the first one that does not.
    let mut may_have_properties = false;
    loop {
        let broken = TreeError::Structure(at);
        let token = word(structs, at).ok_or(broken)?;
        at = at.wrapping_add(4);
        match token {
            FDT_BEGIN_NODE => {
                // One root, and it alone has no name.
                let name = structs.get(at..).and_then(name_at).filter(|name| !name.contains('/')).ok_or(broken)?;
                if name.len() > MAX_NAME {
                    bounds.pass(TreeError::LongName)?;
                }
                if (depth == 0) != (nodes == 0) || (depth == 0) != name.is_empty() {
                    return Err(broken);
                }
                (depth, nodes) = (depth.wrapping_add(1), nodes.wrapping_add(1));
                if depth > MAX_DEPTH + 1 {
                    bounds.pass(TreeError::TooDeep)?;
                }
                let above = depth.checked_sub(1).and_then(|above| path.get(above)).copied();
                let length = above.unwrap_or(0).wrapping_add(name.len()).wrapping_add(1);
                if let Some(path) = path.get_mut(depth) {
                    *path = length;
                }
                paths = paths.wrapping_add(length);
                at = padded(at, name.len().wrapping_add(1));
                may_have_properties = true;
            }
            FDT_END_NODE => {
                depth = depth.checked_sub(1).ok_or(broken)?;
                may_have_properties = false;
            }
            FDT_PROP if may_have_properties => {
                let size = word(structs, at).ok_or(broken)? as usize;
                let name = word(structs, at.wrapping_add(4)).ok_or(broken)? as usize;
                at = at.wrapping_add(8);
                let value = block(structs, at, size).ok_or(broken)?;
                let name = property_name(bounds, strings.get(name..).ok_or(broken)?, broken)?;
                // What `reg` and `ranges` list is kept with the node's path, an entry at a time.
                if let ("reg" | "ranges", Some(length)) = (name, depth.checked_sub(1).and_then(|at| path.get(at))) {
                    paths = paths.wrapping_add(length.wrapping_mul(value.len() / 8));
                }
                see(nodes, name, value);
                at = padded(at, size);
            }
            FDT_NOP => {}
            FDT_END if depth == 0 && nodes != 0 && at == structs.len() => return Ok((nodes, paths)),
            _ => return Err(broken),
        }
    }
}

/// A property's name at the start of `strings`; nothing of one that is too long.
fn property_name(bounds: Bounds, strings: &[u8], broken: TreeError) -> Result<&str, TreeError> {
    match strings.get(..=MAX_NAME).unwrap_or(strings) {
        bytes if bytes.contains(&0) => name_at(bytes).filter(|name| !name.is_empty()).ok_or(broken),
        bytes if bytes.len() > MAX_NAME => bounds.pass(TreeError::LongName).map(|()| ""),
        _ => Err(broken),
    }
}

/// The offset after `size` bytes and the padding to a cell; both are below [`super::MAX_SCANNED`] here.
pub(crate) fn padded(at: usize, size: usize) -> usize {
    at.wrapping_add(size).wrapping_add(3) & !3
}

/// The NUL-terminated name at the start of `bytes`, of printable ASCII.
pub(crate) fn name_at(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let name = bytes.get(..end)?;
    name.iter().all(u8::is_ascii_graphic).then(|| core::str::from_utf8(name).ok())?
}

/// The entries of the memory reservation block up to the one that is all zero (§5.3.2).
fn reservations(bytes: &[u8], start: usize) -> Result<&[u8], TreeError> {
    let block = bytes.get(start..).ok_or(TreeError::Header)?;
    let mut entries = block.chunks_exact(16);
    let count = entries.position(|entry| entry.iter().all(|&byte| byte == 0));
    let size = count.ok_or(TreeError::Reservations)?.wrapping_mul(16);
    block.get(..size).ok_or(TreeError::Reservations)
}
