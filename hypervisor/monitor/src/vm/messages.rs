//! LPIs that stand for interrupts of VMs.

use assay_model::layout;
use assay_spec::intid::IntId;

use super::{Phase, Vm};

/// A device has sent a message. A VM that does not run hears nothing.
pub(crate) fn deliver(intid: IntId) {
    let index = |vm: &Vm| {
        let firsts = vm.functions.iter().filter_map(|function| function.first_lpi);
        let mut offsets = firsts.filter_map(|first| intid.0.checked_sub(first));
        offsets.find(|offset| *offset < layout::MSI_COUNT)
    };
    let found = super::all().iter().find_map(|vm| Some((*vm, index(vm)?)));
    if let Some((vm, index)) = found.filter(|(vm, _)| vm.phase() == Phase::Running) {
        let kicks = vm.devices.lock().message(index);
        vm.kick(kicks);
    }
}
