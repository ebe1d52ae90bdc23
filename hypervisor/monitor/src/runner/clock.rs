//! A vCPU's timers and its VM's watchdog, as far as EL2 looks after them.

use assay_el2::{cpu, gic, timer};
use assay_model::exits::{Crash, Stop};
use assay_model::vcpus::VcpuSet;
use assay_model::vm::VIRT_TIMER;
use assay_spec::frame::Frame;

use super::Runner;
use crate::adapter::Lists;

impl Runner {
    /// Looks after the watchdog while vCPU 0 is off.
    pub(super) fn watch(&mut self) {
        let vm = self.vm;
        if !vm.machine.watchdog || self.vcpu.index != 0 {
            return;
        }
        let mut devices = vm.devices.lock();
        let (expired, kicks) = devices.tick_watchdog(self.vcpu.index, cpu::counter());
        self.hardware.arm(&self.vcpu, &devices);
        drop(devices);
        vm.kick(kicks);
        if expired {
            vm.stop(Stop::Crash(Crash::Watchdog));
        }
    }

    /// GICv2: carries the virtual timer's line to the interrupt controller, and lets the physical interrupt
    /// come again once the line is low.
    ///
    /// A List Register with HW = 1 would do this without us, but not in QEMU, whose GICv2 does not look at the
    /// line again when a guest deactivates: a timer that is due again before its interrupt has ended is lost.
    pub(super) fn sample_timer(&mut self) {
        let Some(physical) = self.timer_held else {
            return;
        };
        let level = timer::virtual_line();
        let kicks = self
            .vm
            .devices
            .lock()
            .vgic
            .set_level(self.vcpu.index, VIRT_TIMER, level);
        self.vm.kick(kicks);
        if !level {
            self.timer_held = None;
            gic::deactivate_intid(physical);
        }
    }

    /// The EL2 timer: the guest's physical timer, or its watchdog.
    pub(super) fn deadline(&mut self, frame: &Frame) {
        let vm = self.vm;
        let now = cpu::counter();
        let mut devices = vm.devices.lock();
        let timer = self.vcpu.update_timer(&mut devices, &mut Lists, now);
        let (expired, kicks) = if vm.machine.watchdog && self.vcpu.index == 0 {
            devices.tick_watchdog(self.vcpu.index, now)
        } else {
            (false, VcpuSet::EMPTY)
        };
        self.hardware.arm(&self.vcpu, &devices);
        drop(devices);
        vm.kick(kicks.union(timer));
        if expired {
            self.stop(Stop::Crash(Crash::Watchdog), frame);
        }
    }
}
