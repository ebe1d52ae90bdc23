//! Durations as people write them: `2ms`.

use anyhow::{Context as _, Result};

/// `ms` and `us` come first: they end like `s`.
const UNITS: [(&str, u32); 3] = [("ms", 1000), ("us", 1), ("s", 1_000_000)];

/// Reads `500us`, `2ms` or `1s`. Gives microseconds.
///
/// # Errors
/// It is none of these, or more than 32 bits hold.
pub(super) fn parse(text: &str) -> Result<u32> {
    let text = text.trim();
    UNITS
        .iter()
        .find_map(|(unit, micros)| {
            let digits = text.strip_suffix(unit)?;
            digits.trim_end().parse::<u32>().ok()?.checked_mul(*micros)
        })
        .with_context(|| format!("`{text}` is not a duration: write it as \"2ms\" or \"500us\""))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, micros) in [("500us", 500), ("2ms", 2000), ("10 ms", 10_000), ("1s", 1_000_000)] {
            assert_eq!(parse(text).unwrap(), micros, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "2", "ms", "1.5ms", "-1us", "2m", "5000s", "99999999999us"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
