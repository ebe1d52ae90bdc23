//! The wrapping of gzip (RFC 1952): what stands before and after the deflate stream.
//!
//! One member a file, as kernel builds and `gzip` write them.

use super::KernelError;
use core::ops::Range;

/// ID1, ID2 and CM = deflate.
pub const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// CRC32 and ISIZE.
const TRAILER: usize = 8;

/// Finds the deflate stream with the trailer behind it, and the length it inflates to.
///
/// ISIZE is modulo 2^32; a kernel of 4 GiB or more is found out when it inflates beyond it.
pub fn bounds(member: &[u8]) -> Result<(Range<usize>, u64), KernelError> {
    let start = header(member).ok_or(KernelError::Gzip)?;
    if start + TRAILER >= member.len() {
        return Err(KernelError::Gzip);
    }
    let (_, size) = trailer(member).ok_or(KernelError::Gzip)?;
    Ok((start..member.len(), u64::from(size)))
}

/// Reads CRC32 and ISIZE at the end of some bytes.
pub fn trailer(bytes: &[u8]) -> Option<(u32, u32)> {
    let (rest, size) = bytes.split_last_chunk::<4>()?;
    let crc = rest.last_chunk::<4>()?;
    Some((u32::from_le_bytes(*crc), u32::from_le_bytes(*size)))
}

/// Splits the trailer off.
pub fn stream(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..bytes.len().checked_sub(TRAILER)?)
}

/// Returns the header's length.
fn header(member: &[u8]) -> Option<usize> {
    const FHCRC: u8 = 1 << 1;
    const FEXTRA: u8 = 1 << 2;
    const FNAME: u8 = 1 << 3;
    const FCOMMENT: u8 = 1 << 4;
    let fixed = member.first_chunk::<10>()?;
    let flags = fixed[3];
    // RFC 1952 2.3.1.2: a set reserved bit may announce a field that we would take for data.
    if !fixed.starts_with(&MAGIC) || flags & 0xe0 != 0 {
        return None;
    }
    let mut at = fixed.len();
    if flags & FEXTRA != 0 {
        let length = member.get(at..)?.first_chunk::<2>()?;
        at += 2 + usize::from(u16::from_le_bytes(*length));
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            at += 1 + member.get(at..)?.iter().position(|&byte| byte == 0)?;
        }
    }
    if flags & FHCRC != 0 {
        at += 2;
    }
    (at <= member.len()).then_some(at)
}
