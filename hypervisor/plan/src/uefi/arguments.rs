//! What a boot loader, or a boot option, gives the image to say: `LoadOptions` (UEFI 2.10 §9.1), text in UTF-16LE. As
//! Linux has it, that takes the place of the tree's `bootargs`.

/// The longest that is taken, in bytes of UTF-8.
const LONGEST: usize = 2047;

/// Load options that are text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    /// Bytes of UTF-8.
    length: usize,
}

impl<'a> Arguments<'a> {
    /// Takes load options up to their first NUL. `None` if there are none, or they are no text: a boot option may have any
    /// bytes.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut length = 0;
        for character in characters(bytes) {
            let character = character.filter(|character| !character.is_control())?;
            length += character.len_utf8();
        }
        let is_some = characters(bytes).flatten().any(|character| character != ' ');
        (is_some && length <= LONGEST).then_some(Self { bytes, length })
    }

    /// Returns how many bytes they are in UTF-8.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Tells whether there is nothing in them; never.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Iterates over them.
    pub fn characters(&self) -> impl Iterator<Item = char> + 'a {
        characters(self.bytes).flatten()
    }
}

/// The characters up to the first NUL; `None` for what is none.
fn characters(bytes: &[u8]) -> impl Iterator<Item = Option<char>> {
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units.take_while(|unit| *unit != 0)).map(Result::ok)
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::Arguments;

    fn units(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn text_is_taken_up_to_its_end() {
        for text in ["quiet assay.console=prefix", "quiet assay.console=prefix\0rest\u{1}"] {
            let bytes = units(text);
            let arguments = Arguments::of(&bytes).unwrap();
            assert_eq!(arguments.characters().collect::<String>(), "quiet assay.console=prefix");
            assert_eq!(arguments.len(), 26);
        }
        assert_eq!(Arguments::of(&units("ä")).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_text_or_nothing_is_left_alone() {
        assert_eq!(Arguments::of(&[]), None);
        assert_eq!(Arguments::of(&units("  \0")), None);
        // A GUID, as firmware marks its own boot options; half a pair; more than Linux takes.
        assert_eq!(Arguments::of(&[0x4e, 0xac, 0x08, 0x81, 0x11, 0x9f, 0x59, 0x4d, 0x05, 0xd8]), None);
        assert_eq!(Arguments::of(&units("a\u{7}")), None);
        assert_eq!(Arguments::of(&units(&"a".repeat(2048))), None);
    }
}
