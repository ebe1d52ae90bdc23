//! The wrapping of gzip (RFC 1952): what stands before and after a deflate stream.

/// ID1, ID2 and CM = deflate.
pub const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Takes CRC32 and ISIZE, which is modulo 2^32, from where a deflate stream ends.
pub(crate) fn trailer(rest: &[u8]) -> Option<(u32, u32)> {
    let (crc, size) = rest.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*crc), u32::from_le_bytes(*size.first_chunk()?)))
}

/// The bytes that [`trailer`] reads.
pub(crate) const TRAILER: usize = 8;

/// Returns the length of a member's header.
pub(crate) fn header(member: &[u8]) -> Option<usize> {
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
