//! Which CPU: physical ones and virtual ones are counted apart, and the compiler keeps them apart.

use core::fmt;

/// A physical CPU: its place in the platform tree's `/cpus`, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PcpuId(pub usize);

/// A virtual CPU of one VM, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VcpuId(pub usize);

impl fmt::Display for PcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u8> for VcpuId {
    fn from(index: u8) -> Self {
        Self(index.into())
    }
}
