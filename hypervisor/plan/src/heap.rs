//! How much memory the boot takes for itself: the size of EL2's heap, from what there is to be read and made.
//!
//! Upper bounds, and generous: what they cost is the memory of machines that are large. `tests/heap.rs` measures.

use crate::gate::{self, Measure};
use crate::policy::ProofAt;
use crate::vm_tree::VmConfig;

/// Whatever the trees say: warnings, and what the boot itself needs.
const BASE: usize = 128 << 10;

/// Returns the bytes that reading these trees takes, and what is made of them before there are VMs.
pub fn to_read<'a>(trees: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let tree = |blob| {
        let Measure { bytes, nodes, paths } = gate::measure(blob);
        nodes * 1024 + paths * 2 + bytes * 2
    };
    trees.into_iter().map(tree).sum::<usize>() + BASE
}

/// Returns the bytes that planning and making a VM takes: its devices, its guest's tree while it is written, and what
/// its vCPUs are kept in.
pub fn to_make(vm: &VmConfig) -> usize {
    let claims = vm.coherent.len() + vm.flash.len() + vm.shared.len() + vm.virtio.len();
    // Which pages are looked at is kept for each start.
    let at_start = vm.coherent.iter().filter(|claim| claim.proof == ProofAt::Start).count();
    (24 << 10) + vm.cpus.count() * (6 << 10) + claims * (4 << 10) + at_start * (12 << 10) + vm.bootargs.len() * 8
}

/// Returns the bytes that are needed after the last VM is made: to schedule the vCPUs, and to show what VMs print.
pub fn to_run(vms: &[VmConfig]) -> usize {
    let vcpus: usize = vms.iter().map(|vm| vm.cpus.count()).sum();
    assay_model::console::RINGS_BYTES + (32 << 10) + vms.len() * 1024 + vcpus * 512
}
