//! The virtio devices between VMs: which VMs are a device's two ends, and what each is told of the other.

use alloc::vec::Vec;

use assay_model::virtio::News;
use spin::Once;

use super::{Phase, Vm};

/// A VM, and which of its devices or faces that is.
type End = Option<(&'static Vm, usize)>;

/// The driver's and the backend's VM, by the device's number.
static ENDS: Once<Vec<(End, End)>> = Once::new();

/// Connects the devices of all VMs, once. One whose backend could not be made is as one whose backend has not come yet.
pub(crate) fn connect(vms: &[&'static Vm]) {
    let mut ends: Vec<(End, End)> = Vec::new();
    let numbers = |vm: &Vm| vm.machine.virtio.iter().chain(&vm.machine.faces).map(|link| link.number).max();
    ends.resize(vms.iter().filter_map(|vm| numbers(vm)).max().map_or(0, |most| most + 1), (None, None));
    for vm in vms {
        for (index, link) in vm.machine.virtio.iter().enumerate() {
            ends[link.number].0 = Some((vm, index));
        }
        for (index, link) in vm.machine.faces.iter().enumerate() {
            ends[link.number].1 = Some((vm, index));
        }
    }
    let _ = ENDS.call_once(|| ends);
}

/// Carries the lines of device `number` that may have changed, and wakes who waits. The caller holds no VM's lock.
pub(crate) fn tell(number: usize, news: News) {
    let Some((front, back)) = ENDS.get().and_then(|ends| ends.get(number)) else { return };
    let runs = |end: &(&'static Vm, usize)| end.0.phase() == Phase::Running;
    if let Some((vm, index)) = front.filter(runs).filter(|_| news.front) {
        let kicks = vm.devices.lock().update_virtio(&vm.machine, index);
        vm.kick(kicks);
    }
    if let Some((vm, _)) = front.filter(runs).filter(|_| news.wake) {
        vm.kick_all();
    }
    if let Some((vm, index)) = back.filter(runs).filter(|_| news.back) {
        let kicks = vm.devices.lock().update_face(&vm.machine, index);
        vm.kick(kicks);
    }
}

/// A life of the VM has ended: its devices are reset, and nobody serves those that it was the backend of.
pub(super) fn end(vm: &Vm) {
    vm.machine.virtio.iter().for_each(|link| {
        let _ = link.end_front();
    });
    vm.machine.faces.iter().for_each(|link| {
        let _ = link.end_back();
    });
}

/// Tells the other VMs of what [`end`] has done.
pub(super) fn tell_of_end(vm: &Vm) {
    for link in vm.machine.virtio.iter().chain(&vm.machine.faces) {
        tell(link.number, News { front: true, wake: true, back: true });
    }
}
