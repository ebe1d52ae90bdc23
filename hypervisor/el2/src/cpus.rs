//! The CPUs by index: the order of the platform tree.

use alloc::vec::Vec;
use assay_spec::cpu_id::PcpuId;

use spin::Once;

static MPIDRS: Once<Vec<u64>> = Once::new();

/// Affinity fields of MPIDR: Aff3, Aff2, Aff1, Aff0.
pub(crate) const AFFINITY: u64 = 0xff_00ff_ffff;

/// Sets the table, once, from the `reg` of the tree's `/cpus` nodes.
pub fn set(mpidrs: Vec<u64>) {
    let _ = MPIDRS.call_once(|| mpidrs);
}

/// Returns how many there are.
pub(crate) fn count() -> usize {
    MPIDRS.get().map_or(0, Vec::len)
}

/// Returns the affinity of a CPU.
pub fn affinity(cpu: PcpuId) -> Option<u64> {
    MPIDRS.get()?.get(cpu.0).map(|mpidr| mpidr & AFFINITY)
}

/// Returns the index of the CPU that this is called on, by its MPIDR.
pub fn this_by_mpidr() -> Option<PcpuId> {
    let this = crate::cpu::mpidr() & AFFINITY;
    MPIDRS.get()?.iter().position(|mpidr| mpidr & AFFINITY == this).map(PcpuId)
}
