//! A set of one VM's vCPUs.

/// A set of vCPUs of one VM, by index (0 to 63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VcpuSet(pub u64);

impl VcpuSet {
    /// No vCPU.
    pub const EMPTY: Self = Self(0);

    /// The set of one vCPU; an index beyond 63 gives the empty set.
    pub const fn one(vcpu: usize) -> Self {
        if vcpu < 64 { Self(1 << vcpu) } else { Self(0) }
    }
    /// The first `count` vCPUs.
    pub const fn first(count: usize) -> Self {
        if count >= 64 {
            Self(u64::MAX)
        } else {
            Self((1 << count) - 1)
        }
    }
    /// Adds one vCPU.
    pub const fn insert(&mut self, vcpu: usize) {
        self.0 |= Self::one(vcpu).0;
    }
    /// Removes one vCPU.
    pub const fn remove(&mut self, vcpu: usize) {
        self.0 &= !Self::one(vcpu).0;
    }
    /// Tells whether a vCPU is in the set.
    pub const fn contains(self, vcpu: usize) -> bool {
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
    /// Iterates over the indices, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |&vcpu| self.contains(vcpu))
    }
}
