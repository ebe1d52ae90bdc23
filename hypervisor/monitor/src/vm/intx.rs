//! Interrupts of the devices that VMs have, INTx of PCI functions and wires of the platform: physical SPIs that stand behind
//! virtual ones.
//!
//! With a GICv3 and dedicated CPUs, a level-triggered one goes to the CPU of the vCPU that the guest has sent it to. It
//! stays active until the guest ends the virtual one, which deactivates it; if the line is still high, it comes again.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_el2::{gic, percpu};
use assay_model::vgic::Version;
use assay_plan::pci::Progress;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

use super::{Phase, Vm};
use crate::adapter::Lists;
use crate::device::Device;
use crate::pci::{Owned, Ready};

/// An interrupt that devices of a VM are wired to.
pub(crate) struct Line {
    physical: IntId,
    guest: IntId,
    /// Each edge makes the guest's pending once, and the physical interrupt is dealt with at once.
    pub(crate) is_edge: bool,
    /// GICv2 and shared CPUs: the physical interrupt is kept active while the model has the line high. Changed under the
    /// lock of `Vm::devices`.
    held: AtomicBool,
}

/// Lists the lines of a VM's devices, each once.
pub(crate) fn lines(functions: &[Owned], platform: &[Device]) -> Vec<Line> {
    let intx = functions.iter().filter_map(|function| function.intx);
    let intx = intx.map(|(physical, guest)| (physical, guest, false));
    let wires = platform.iter().flat_map(|device| &device.lines);
    let wires = wires.map(|(wire, guest)| (wire.intid, *guest, wire.is_edge));
    let mut lines: Vec<Line> = Vec::new();
    for (physical, guest, is_edge) in intx.chain(wires) {
        if lines.iter().all(|line| line.physical != physical) {
            lines.push(Line { physical, guest, is_edge, held: AtomicBool::new(false) });
        }
    }
    lines
}

/// Returns the VM whose device is wired to a physical interrupt, and its line.
pub(crate) fn owner(intid: IntId) -> Option<(&'static Vm, &'static Line)> {
    let line = |vm: &'static Vm| vm.lines.iter().find(|line| line.physical == intid);
    super::all().iter().find_map(|vm| Some((*vm, line(vm)?)))
}

/// Takes edges from now on, before a VM's first life: those that firmware has left are dropped.
pub(super) fn take_edges(vm: &Vm) {
    for line in vm.lines.iter().filter(|line| line.is_edge) {
        gic::enable_spi(line.physical, percpu::index(), true);
    }
}

/// An edge has come. A VM that does not run hears nothing.
pub(crate) fn pulse(vm: &Vm, line: &Line) {
    if vm.phase() == Phase::Running {
        let kicks = vm.devices.lock().vgic.pulse(VcpuId(0), line.guest);
        vm.kick(kicks);
    }
}

/// An interrupt while vCPU `vcpu` of `here` is on this CPU, List Registers and all; they are to be flushed next.
pub(crate) fn deliver(here: &Vm, vcpu: VcpuId, intid: IntId) {
    let found = owner(intid).filter(|(vm, _)| core::ptr::eq(*vm, here) && !is_sampled(vm));
    let Some((vm, line)) = found else {
        return keep(intid);
    };
    let mut devices = vm.devices.lock();
    let target = devices.vgic.target(line.guest);
    let elsewhere = target.filter(|target| *target != vcpu);
    let kicks = if elsewhere.is_some() {
        // What is listed here of it has been ended, or it would not have come: that is noted before it moves.
        devices.vgic.sync_lr(vcpu, &mut Lists)
    } else {
        devices.vgic.hw_fired_shared(vcpu, line.guest, intid, &mut Lists)
    };
    drop(devices);
    if let Some(target) = elsewhere {
        redirect(vm, target, intid);
    }
    vm.kick(kicks);
}

/// An interrupt while no guest is on this CPU, or none whose List Registers matter for it.
pub(crate) fn keep(intid: IntId) {
    let found = owner(intid).filter(|(vm, _)| vm.phase() == Phase::Running);
    let Some((vm, line)) = found else {
        // The next life enables it again.
        gic::disable_spi(intid);
        gic::deactivate_intid(intid);
        return;
    };
    let this = percpu::index();
    let vcpu = vm.cpus.iter().position(|cpu| *cpu == this).map(VcpuId);
    if is_sampled(vm) {
        return raise(vm, line, vcpu.unwrap_or_default());
    }
    let mut devices = vm.devices.lock();
    let target = devices.vgic.target(line.guest);
    if let Some(target) = target.filter(|target| Some(*target) != vcpu) {
        drop(devices);
        return redirect(vm, target, intid);
    }
    let kicks = devices.vgic.hold(vcpu.unwrap_or_default(), line.guest, intid);
    drop(devices);
    vm.kick(kicks);
}

/// Tells whether the line is an emulated source that EL2 samples, as the timer's is: QEMU's GICv2 does not look at a
/// line again when a guest deactivates through a linked List Register, and a vCPU that shares CPUs may be on none.
fn is_sampled(vm: &Vm) -> bool {
    vm.machine.gic.version == Version::V2 || vm.sharing.is_some()
}

/// The line is high; the physical interrupt stays active, so that it is quiet.
fn raise(vm: &Vm, line: &Line, vcpu: VcpuId) {
    let mut devices = vm.devices.lock();
    // Under the lock, as everywhere: else the line could stay high with nobody to look at it.
    line.held.store(true, Ordering::Relaxed);
    let kicks = devices.vgic.set_level(vcpu, line.guest, true);
    drop(devices);
    vm.kick(kicks);
}

/// Looks at the lines again, before List Registers are folded that the guest may have ended: a line that it has had lowered
/// must not raise the interrupt anew. Once one is low, the physical interrupt may come again. A GICv3 is not asked: there the
/// interrupt is let come again, and comes if the line is high, but only if `has_ended`, or it would come at each exit.
#[inline]
pub(crate) fn sample(vm: &Vm, vcpu: VcpuId, has_ended: bool) {
    if !vm.lines.is_empty() && (vm.machine.gic.version == Version::V2 || has_ended) {
        sample_all(vm, vcpu);
    }
}

#[inline(never)]
fn sample_all(vm: &Vm, vcpu: VcpuId) {
    for line in vm.lines.iter().filter(|line| line.held.load(Ordering::Relaxed)) {
        let mut devices = vm.devices.lock();
        let is_high = || vm.machine.gic.version == Version::V2 && gic::is_pending(line.physical);
        // Under the lock, as everywhere: another CPU may have looked too.
        if line.held.load(Ordering::Relaxed) && !is_high() {
            line.held.store(false, Ordering::Relaxed);
            let kicks = devices.vgic.set_level(vcpu, line.guest, false);
            drop(devices);
            gic::deactivate_intid(line.physical);
            vm.kick(kicks);
        }
    }
}

/// A life is about to begin: no interrupt of an earlier one is active.
pub(crate) fn forget(vm: &Vm) {
    if vm.lines.is_empty() {
        return;
    }
    let mut devices = vm.devices.lock();
    for line in vm.lines.iter().filter(|line| line.held.swap(false, Ordering::Relaxed)) {
        gic::deactivate_intid(line.physical);
    }
    devices.vgic.release_shared(&mut Lists);
}

/// Sends an interrupt to the CPU of another vCPU: it is level-triggered and comes again there.
fn redirect(vm: &Vm, vcpu: VcpuId, intid: IntId) {
    if let Some(cpu) = vm.cpus.get(vcpu.0) {
        gic::enable_spi(intid, *cpu, false);
    }
    gic::deactivate_intid(intid);
}

/// A life has begun: the devices may interrupt, and access what the VM has.
pub(crate) fn connect(vm: &Vm) {
    vm.functions.iter().for_each(|function| function.connect(&vm.name));
    vm.platform.iter().for_each(|device| device.connect(&vm.name));
    for line in &vm.lines {
        // This CPU runs, or will run, a vCPU of this VM.
        gic::enable_spi(line.physical, percpu::index(), line.is_edge);
    }
}

/// Before a life, and before any memory that may be a function's is touched: returns until when resets of functions take
/// their time, if any is under way.
pub(crate) fn settle(vm: &Vm) -> Option<u64> {
    let wait = |ready: &Ready| match ready.settle(&vm.name)? {
        Progress::Wait(until) => Some(until),
        Progress::Ready | Progress::Gone => None,
    };
    let own = vm.functions.iter().filter_map(|function| function.settle(&vm.name));
    own.chain(vm.beside.iter().filter_map(wait)).min()
}

/// A life has not begun: what is done before its memory is proved is done again before the next.
pub(crate) fn again(vm: &Vm) {
    vm.functions.iter().for_each(Owned::again);
    vm.beside.iter().for_each(Ready::again);
}

/// A life has ended, and no vCPU runs: the devices access nothing. Functions that can be reset are; of the others, and of the
/// platform's devices, stays what their own registers hold.
pub(crate) fn disconnect(vm: &Vm) {
    vm.platform.iter().for_each(|device| device.disconnect(&vm.name));
    vm.functions.iter().for_each(|function| function.disconnect(&vm.name));
    vm.beside.iter().for_each(Ready::again);
    // An edge that comes meanwhile is taken and dropped: it does not wait for the next life.
    vm.lines.iter().filter(|line| !line.is_edge).for_each(|line| gic::disable_spi(line.physical));
}
