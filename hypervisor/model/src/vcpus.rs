//! A set of one VM's vCPUs.
use assay_spec::cpu_id::VcpuId;

/// A set of vCPUs of one VM, by index (0 to 63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VcpuSet(pub u64);

impl VcpuSet {
    /// No vCPU.
    pub const EMPTY: Self = Self(0);

    /// The set of one vCPU; an index beyond 63 gives the empty set.
    pub const fn one(vcpu: VcpuId) -> Self {
        if vcpu.0 < 64 { Self(1 << vcpu.0) } else { Self(0) }
    }
    /// The first `count` vCPUs.
    pub const fn first(count: usize) -> Self {
        if count >= 64 { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }
    /// Adds one vCPU.
    pub const fn insert(&mut self, vcpu: VcpuId) {
        self.0 |= Self::one(vcpu).0;
    }
    /// Removes one vCPU.
    pub const fn remove(&mut self, vcpu: VcpuId) {
        self.0 &= !Self::one(vcpu).0;
    }
    /// Tells whether a vCPU is in the set.
    pub const fn contains(self, vcpu: VcpuId) -> bool {
        self.0 & Self::one(vcpu).0 != 0
    }
    /// Tells whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Returns the union.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Returns what is not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Iterates over the indices, lowest first.
    pub fn iter(mut self) -> impl Iterator<Item = VcpuId> {
        // Most sets have one member or none, and guests' exits walk them.
        core::iter::from_fn(move || {
            let lowest = self.0.trailing_zeros() as usize;
            self.0 &= self.0.wrapping_sub(1);
            (lowest < 64).then_some(VcpuId(lowest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::VcpuSet;
    use assay_spec::cpu_id::VcpuId;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::vec::Vec;

    #[test]
    fn an_index_beyond_63_is_in_no_set() {
        assert_eq!(VcpuSet::one(VcpuId(63)), VcpuSet(1 << 63));
        for beyond in [64, 65, usize::MAX] {
            assert_eq!(VcpuSet::one(VcpuId(beyond)), VcpuSet::EMPTY);
            assert!(!VcpuSet(u64::MAX).contains(VcpuId(beyond)));
            let mut set = VcpuSet(u64::MAX);
            set.remove(VcpuId(beyond));
            set.insert(VcpuId(beyond));
            assert_eq!(set, VcpuSet(u64::MAX));
        }
    }

    #[test]
    fn the_first_few_are_those_with_the_lowest_indices() {
        assert_eq!(VcpuSet::first(0), VcpuSet::EMPTY);
        assert_eq!(VcpuSet::first(3), VcpuSet(0b111));
        assert_eq!(VcpuSet::first(63), VcpuSet(u64::MAX >> 1));
        assert_eq!(VcpuSet::first(64), VcpuSet(u64::MAX));
        assert_eq!(VcpuSet::first(usize::MAX), VcpuSet(u64::MAX));
    }

    #[test]
    fn what_is_inserted_is_in_it_until_it_is_removed() {
        let mut set = VcpuSet::EMPTY;
        set.insert(VcpuId(5));
        set.insert(VcpuId(63));
        assert!(set.contains(VcpuId(5)) && set.contains(VcpuId(63)) && !set.contains(VcpuId(4)));
        set.remove(VcpuId(5));
        assert_eq!(set, VcpuSet::one(VcpuId(63)));
        set.remove(VcpuId(63));
        assert!(set.is_empty());
    }

    #[test]
    fn an_empty_set_has_nothing_to_go_through() {
        assert_eq!(VcpuSet::EMPTY.iter().next(), None);
    }

    proptest! {
        #[test]
        fn going_through_a_set_meets_each_member_once_lowest_first(a in any::<u64>(), b in any::<u64>()) {
            let set = VcpuSet(a).union(VcpuSet(b));
            let members: Vec<VcpuId> = (0..64).filter(|&n| (a | b) >> n & 1 != 0).map(VcpuId).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), members);
        }
    }
}
