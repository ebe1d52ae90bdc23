//! Base64 (RFC 4648), read: how a guest's shell hands a file out through a terminal.

use anyhow::{Result, bail};

/// The bytes of `text`; white space counts for nothing.
///
/// # Errors
/// A letter that is none of the alphabet.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            other => bail!("not base64: {:?}", char::from(other)),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff)?);
        }
        bits &= 0x3f;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn text_is_read_with_line_ends_and_padding() {
        assert_eq!(decode("aGVs\r\nbG8=\n").unwrap(), b"hello");
        assert_eq!(decode("/+8=").unwrap(), [0xff, 0xef]);
        assert!(decode("a*b").is_err());
    }
}
