//! Numbers that a guest gives, as indices: what a CPU may do with one before it knows that it is too large.
//!
//! Whichever way a CPU predicts the comparison (Spectre variant 1), what it reads ahead with the masked index is in the table, or
//! within as much again behind it. The mask comes from the length by arithmetic, of which a compiler does not see that it
//! changes nothing. No CSDB follows (DDI0487 C6.2.97): it is for CPUs that predict what arithmetic gives, and needs assembly.

/// Returns `index` if it is below `len`, without the bits that no such index has.
#[inline(always)]
pub(crate) const fn below(index: usize, len: usize) -> Option<usize> {
    if index < len { Some(index & mask(len)) } else { None }
}

/// The bits that an index below `len` has, which is not 0; of 1 it is the index 0.
#[inline(always)]
const fn mask(len: usize) -> usize {
    usize::MAX.unbounded_shr((len - 1).leading_zeros())
}

/// How many there are of something, with the mask that goes with it: for a number that stays.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    len: usize,
    mask: usize,
}

impl Bound {
    pub(crate) const fn new(len: usize) -> Self {
        Self { len, mask: if len == 0 { 0 } else { mask(len) } }
    }

    /// Does as [`below`].
    #[inline(always)]
    pub(crate) const fn below(self, index: usize) -> Option<usize> {
        if index < self.len { Some(index & self.mask) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, below};

    #[test]
    fn all_indices_below_are_themselves() {
        for len in 0..600 {
            for index in 0..700 {
                assert_eq!(below(index, len), (index < len).then_some(index), "{index} of {len}");
                assert_eq!(Bound::new(len).below(index), below(index, len));
            }
        }
        for index in [1 << 32, usize::MAX / 2, usize::MAX - 1] {
            assert_eq!((below(index, index), below(index, index + 1)), (None, Some(index)));
        }
    }
}
