//! Sizes as people write them: `512M`.

use anyhow::{Context as _, Result, bail};

const UNITS: [(char, u32); 3] = [('K', 10), ('M', 20), ('G', 30)];

/// Reads `65536K`, `512M`, `2G` or a number of bytes, decimal or hexadecimal. Gives bytes.
///
/// # Errors
/// It is none of these, or larger than 64 bits hold.
pub(super) fn parse_size(text: &str) -> Result<u64> {
    let text = text.trim();
    let (digits, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix([*unit, unit.to_ascii_lowercase()])?, *shift)))
        .unwrap_or((text, 0));
    let number = match digits.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    let number = number.ok().with_context(|| format!("`{text}` is not a size: write it as 512M or 2G"))?;
    match number.checked_mul(1 << shift) {
        Some(bytes) => Ok(bytes),
        None => bail!("`{text}` is too large"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [("4096", 4096), ("64K", 65536), ("512M", 1 << 29), ("2g", 2 << 30), ("0x1000", 4096)] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "M", "1.5G", "12T", "-1", "99999999999999999999", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
