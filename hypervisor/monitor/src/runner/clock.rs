//! A vCPU's timers and its VM's watchdog, as far as EL2 looks after them.

use assay_el2::switch::{self, Control};
use assay_el2::{cpu, gic, timer};
use assay_model::counters::Interrupt;
use assay_model::life::{Crash, Stop};
use assay_model::vgic::Version;
use assay_model::vm::VIRT_TIMER;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

use super::Runner;
use crate::adapter::Lists;
use crate::vm::intx;

impl Runner {
    /// Looks after the watchdog while vCPU 0 is off.
    pub(super) fn watch(&mut self) {
        let vm = self.vm;
        if !vm.machine.watchdog || self.vcpu.index != VcpuId(0) {
            return;
        }
        let mut devices = vm.devices.lock();
        let (expired, kicks) = devices.tick_watchdog(self.vcpu.index, cpu::counter());
        let watchdog = devices.watchdog_deadline();
        drop(devices);
        self.hardware.arm(&self.vcpu, watchdog);
        vm.kick(kicks);
        if expired {
            vm.stop(Stop::Crash(Crash::Watchdog));
        }
    }

    /// On GICv2: carries the virtual timer's line to the interrupt controller, and lets the physical interrupt come again
    /// once the line is low.
    ///
    /// A List Register with HW = 1 would do this without us. But QEMU's GICv2 does not look at the line again when a
    /// guest deactivates, so a timer that is due again before its interrupt has ended would be lost.
    pub(super) fn sample_timer(&mut self) {
        if self.vm.machine.gic.version == Version::V3 || self.timer_held.is_none() && self.vm.sharing.is_none() {
            return;
        }
        let level = timer::virtual_line();
        self.tell_line(level);
        if !level && let Some(physical) = self.timer_held.take() {
            gic::deactivate_intid(physical);
        }
    }

    /// Says that the virtual timer's line is as the model has to take it: with a GICv3 that is low while the guest runs, since
    /// its physical interrupt comes then, and what it is while the vCPU waits or is away.
    pub(super) fn tell_line(&mut self, level: bool) {
        if core::mem::replace(&mut self.timer_line, level) != level {
            let kicks = self.vm.devices.lock().vgic.carry_level(self.vcpu.index, VIRT_TIMER, level, &mut Lists);
            self.vm.kick(kicks);
        }
    }

    /// The virtual timer's physical interrupt came on a GICv3: the guest's own deactivation will be its end.
    #[inline(never)]
    pub(super) fn timer_fired(&mut self, physical: IntId) {
        let mut devices = self.vm.devices.lock();
        let kicks = devices.vgic.hw_fired(self.vcpu.index, VIRT_TIMER, physical, &mut Lists);
        drop(devices);
        self.counters.interrupt(Interrupt::Timer);
        self.vm.kick(kicks);
    }

    /// The same while the vCPU's registers are here and its guest does not run: the line is high, and would come again.
    pub(super) fn hold_timer(&mut self, physical: IntId) {
        if self.vm.machine.gic.version == Version::V2 {
            self.timer_held = Some(physical);
            return;
        }
        let mut devices = self.vm.devices.lock();
        let mut kicks = devices.vgic.hw_fired(self.vcpu.index, VIRT_TIMER, physical, &mut Lists);
        // It is listed, or to be: one that the guest has turned off wakes nobody.
        if !devices.vgic.is_quiet(self.vcpu.index, &Lists) {
            kicks.insert(self.vcpu.index);
        }
        drop(devices);
        self.vm.kick(kicks);
    }

    /// The EL2 timer, and no deferred work: the guest's physical timer, its watchdog, or the end of its time on the CPU. Whatever
    /// else there is to see comes with a kick.
    #[inline(never)]
    pub(super) fn deadline(&mut self) -> Control {
        self.counters.interrupt(Interrupt::Deadline);
        intx::sample(self.vm, self.vcpu.index, false);
        if self.look_at_clock() {
            return self.end(Stop::Crash(Crash::Watchdog), switch::raw_syndrome());
        }
        let is_over = self.hardware.until.is_some_and(|until| cpu::counter() >= until);
        if is_over { Control::Leave } else { Control::Resume }
    }

    /// Lets the physical timer and the watchdog see what time it is, and brings the List Registers up to date.
    /// Returns whether the watchdog has run out for good.
    #[inline(always)]
    pub(super) fn look_at_clock(&mut self) -> bool {
        let vm = self.vm;
        let now = cpu::counter();
        let mut devices = vm.devices.lock();
        let timer = self.vcpu.update_timer(&mut devices, &mut Lists, now);
        if vm.machine.watchdog && self.vcpu.index == VcpuId(0) {
            drop(devices);
            vm.kick(timer);
            return self.look_at_watchdog(now);
        }
        drop(devices);
        self.hardware.arm(&self.vcpu, None);
        vm.kick(timer);
        false
    }

    /// The same for the watchdog, and arms the EL2 timer for both.
    #[inline(never)]
    fn look_at_watchdog(&mut self, now: u64) -> bool {
        let vm = self.vm;
        let mut devices = vm.devices.lock();
        let (expired, kicks) = devices.tick_watchdog(self.vcpu.index, now);
        let more = devices.vgic.flush_lr(self.vcpu.index, &mut Lists);
        let watchdog = devices.watchdog_deadline();
        drop(devices);
        self.hardware.arm(&self.vcpu, watchdog);
        vm.kick(kicks.union(more));
        expired
    }
}
