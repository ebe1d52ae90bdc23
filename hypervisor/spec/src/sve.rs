//! Vector lengths of the Scalable Vector Extension (DDI0487 A1.4, ZCR_ELx).

/// Bytes of the shortest vectors, and the unit of `ZCR_ELx.LEN`.
const QUADWORD: u64 = 16;
/// Bytes of the longest vectors: 2048 bits.
pub const MAX_BYTES: u64 = 256;
/// `ZCR_ELx.LEN` for [`MAX_BYTES`].
pub const MAX_LEN: u64 = 0xf;

/// Returns the bytes of the longest vectors that CPUs have in common, of which the least has up to `longest` bytes.
///
/// A CPU has every length that is a power of two up to its longest, and may lack the others.
pub const fn common_bytes(longest: u64) -> u64 {
    let mut bytes = QUADWORD;
    while bytes < MAX_BYTES && bytes * 2 <= longest {
        bytes *= 2;
    }
    bytes
}

/// Returns `ZCR_ELx.LEN` for vectors of `bytes` bytes.
pub const fn length(bytes: u64) -> u64 {
    (bytes / QUADWORD).saturating_sub(1) & MAX_LEN
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, MAX_LEN, common_bytes, length};

    #[test]
    fn what_cpus_have_in_common_is_a_power_of_two() {
        for (longest, common) in [(16, 16), (32, 32), (48, 32), (112, 64), (240, 128), (256, 256)] {
            assert_eq!(common_bytes(longest), common, "{longest}");
        }
        // No CPU says such a thing.
        assert_eq!((common_bytes(0), common_bytes(u64::MAX)), (16, MAX_BYTES));
    }

    #[test]
    fn a_length_counts_quadwords_beyond_the_first() {
        for (bytes, len) in [(16, 0), (32, 1), (64, 3), (MAX_BYTES, MAX_LEN), (0, 0)] {
            assert_eq!(length(bytes), len, "{bytes}");
        }
    }
}
