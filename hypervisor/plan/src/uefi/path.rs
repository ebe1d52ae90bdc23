//! Device paths of files (UEFI 2.10 §10.3.5.4).

/// Media, file path.
const FILE: [u8; 2] = [4, 4];
const END: u8 = 0x7f;
const SLASH: u16 = b'\\' as u16;

/// Writes the path of the file `name` in the folder of the file that a device path names, with a NUL at its end.
/// A path that names none means the volume's root. `None` if it is too long for `out`.
pub fn beside<'o>(path: &[u8], name: &str, out: &'o mut [u16]) -> Option<&'o [u16]> {
    let (mut length, mut rest) = (0, path);
    // Each node: type, subtype, length in bytes (little-endian).
    while let Some(&[kind, subtype, low, high]) = rest.first_chunk()
        && kind != END
    {
        let node = rest.get(4..usize::from(u16::from_le_bytes([low, high])))?;
        if [kind, subtype] == FILE {
            if length != 0 {
                put(out, &mut length, SLASH)?;
            }
            let units = node.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            units.take_while(|&unit| unit != 0).try_for_each(|unit| put(out, &mut length, unit))?;
        }
        rest = rest.get(4 + node.len()..)?;
    }
    let folder = out.get(..length)?.iter().rposition(|&unit| unit == SLASH);
    length = folder.unwrap_or(0);
    put(out, &mut length, SLASH)?;
    name.encode_utf16().try_for_each(|unit| put(out, &mut length, unit))?;
    put(out, &mut length, 0)?;
    out.get(..length)
}

fn put(out: &mut [u16], length: &mut usize, unit: u16) -> Option<()> {
    *out.get_mut(*length)? = unit;
    *length += 1;
    Some(())
}
