//! INTx of the PCI functions that VMs have: physical SPIs, level-triggered, that stand behind a virtual one.
//!
//! With a GICv3 and dedicated CPUs, such an interrupt goes to the CPU of the vCPU that the guest has sent it to. It
//! stays active until the guest ends the virtual one, which deactivates it; if the line is still high, it comes again.

use core::sync::atomic::Ordering;

use assay_el2::{gic, percpu};
use assay_model::layout;
use assay_model::pci::header::{INTX_DISABLE, MEMORY_SPACE};
use assay_model::vgic::Version;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

use super::{Phase, Vm};
use crate::adapter::Lists;

/// Returns the VM whose function is wired to a physical interrupt.
pub(crate) fn owner(intid: IntId) -> Option<&'static Vm> {
    let has = |vm: &&Vm| vm.function.as_ref().is_some_and(|function| function.intx == Some(intid));
    super::all().iter().copied().find(has)
}

/// An interrupt while vCPU `vcpu` of `here` is on this CPU, List Registers and all; they are to be flushed next.
pub(crate) fn deliver(here: &Vm, vcpu: VcpuId, intid: IntId) {
    let vm = owner(intid).filter(|vm| core::ptr::eq(*vm, here) && !is_sampled(vm));
    let Some(vm) = vm else {
        return keep(intid);
    };
    let mut devices = vm.devices.lock();
    let target = devices.vgic.target(layout::PCI_INTID);
    let elsewhere = target.filter(|target| *target != vcpu);
    let kicks = if elsewhere.is_some() {
        // What is listed here of it has been ended, or it would not have come: that is noted before it moves.
        devices.vgic.sync_lr(vcpu, &mut Lists)
    } else {
        devices.vgic.hw_fired_shared(vcpu, layout::PCI_INTID, intid, &mut Lists)
    };
    drop(devices);
    if let Some(target) = elsewhere {
        redirect(vm, target, intid);
    }
    vm.kick(kicks);
}

/// An interrupt while no guest is on this CPU, or none whose List Registers matter for it.
pub(crate) fn keep(intid: IntId) {
    let vm = owner(intid).filter(|vm| vm.phase() == Phase::Running);
    let Some(vm) = vm else {
        // The next life enables it again.
        gic::disable_spi(intid);
        gic::deactivate_intid(intid);
        return;
    };
    let this = percpu::index();
    let vcpu = vm.cpus.iter().position(|cpu| *cpu == this).map(VcpuId);
    if is_sampled(vm) {
        return raise(vm, vcpu.unwrap_or_default());
    }
    let mut devices = vm.devices.lock();
    let target = devices.vgic.target(layout::PCI_INTID);
    if let Some(target) = target.filter(|target| Some(*target) != vcpu) {
        drop(devices);
        return redirect(vm, target, intid);
    }
    let kicks = devices.vgic.hold(vcpu.unwrap_or_default(), layout::PCI_INTID, intid);
    drop(devices);
    vm.kick(kicks);
}

/// Tells whether the line is an emulated source that EL2 samples, as the timer's is: QEMU's GICv2 does not look at a
/// line again when a guest deactivates through a linked List Register, and a vCPU that shares CPUs may be on none.
fn is_sampled(vm: &Vm) -> bool {
    vm.machine.gic == Version::V2 || vm.sharing.is_some()
}

/// The line is high; the physical interrupt stays active, so that it is quiet.
fn raise(vm: &Vm, vcpu: VcpuId) {
    let mut devices = vm.devices.lock();
    // Under the lock, as everywhere: else the line could stay high with nobody to look at it.
    vm.intx_held.store(true, Ordering::Relaxed);
    let kicks = devices.vgic.set_level(vcpu, layout::PCI_INTID, true);
    drop(devices);
    vm.kick(kicks);
}

/// Looks at the line again, after the guest has ended an interrupt; once it is low, the physical interrupt may come
/// again. A GICv3 is not asked: there the interrupt is let come again, and comes if the line is high.
pub(crate) fn sample(vm: &Vm, vcpu: VcpuId) {
    let Some(intid) = vm.function.as_ref().and_then(|function| function.intx) else {
        return;
    };
    let mut devices = vm.devices.lock();
    let is_high = || vm.machine.gic == Version::V2 && gic::is_pending(intid);
    if !vm.intx_held.load(Ordering::Relaxed) || is_high() {
        return;
    }
    vm.intx_held.store(false, Ordering::Relaxed);
    let kicks = devices.vgic.set_level(vcpu, layout::PCI_INTID, false);
    drop(devices);
    gic::deactivate_intid(intid);
    vm.kick(kicks);
}

/// A life is about to begin: no interrupt of an earlier one is active.
pub(crate) fn forget(vm: &Vm) {
    let Some(function) = &vm.function else { return };
    let mut devices = vm.devices.lock();
    let held = vm.intx_held.swap(false, Ordering::Relaxed);
    if let Some(intid) = function.intx.filter(|_| held) {
        gic::deactivate_intid(intid);
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

/// A life has begun: the function may interrupt.
pub(crate) fn connect(vm: &Vm) {
    let Some(function) = &vm.function else { return };
    function.set_command(MEMORY_SPACE);
    if let Some(intid) = function.intx {
        // This CPU runs, or will run, a vCPU of this VM.
        gic::enable_spi(intid, percpu::index(), false);
    }
}

/// A life has ended, and no vCPU runs: the function is as the boot left it, but for what its own registers hold.
pub(crate) fn disconnect(vm: &Vm) {
    let Some(function) = &vm.function else { return };
    function.set_command(MEMORY_SPACE | INTX_DISABLE);
    if let Some(intid) = function.intx {
        gic::disable_spi(intid);
    }
}
