//! What becomes of a physical interrupt while the guest ran.

use assay_el2::switch::{self, Control};
use assay_el2::{cpu, gic};
use assay_model::counters::Interrupt;
use assay_model::layout;
use assay_model::life::{Crash, Stop};
use assay_model::vm::VIRT_TIMER;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

use super::Runner;
use crate::adapter::{Lists, ListsV3};
use crate::interrupts::{self, Event, Taken};
use crate::vm::{Phase, intx};
use crate::{deferred, panic};

impl Runner {
    /// Takes one of them; if more are pending, the guest is left again.
    ///
    /// The virtual timer's way saves no registers: what is called there is called last.
    #[inline(always)]
    pub(super) fn interrupt(&mut self) -> Control {
        let Some(gic) = gic::v3() else {
            return self.interrupt_v2();
        };
        let Some(taken) = interrupts::take_v3(gic) else {
            return Control::Resume;
        };
        let Some(physical) = taken.virtual_timer() else {
            return self.other_interrupt(taken);
        };
        if self.lists_timer_at_once(gic, physical) {
            self.counters.interrupt(Interrupt::Timer);
        } else {
            self.timer_fired(physical);
        }
        Control::Resume
    }

    #[inline(always)]
    fn lists_timer_at_once(&mut self, gic: gic::V3, physical: IntId) -> bool {
        let Some(devices) = self.vm.devices.at_once() else {
            return false;
        };
        devices.vgic.hw_fired_at_once(self.vcpu.index, VIRT_TIMER, physical, &mut ListsV3(gic))
    }

    #[inline(never)]
    fn interrupt_v2(&mut self) -> Control {
        let Some(taken) = interrupts::take() else {
            return Control::Resume;
        };
        match taken.virtual_timer() {
            Some(physical) => self.rare(Event::VirtTimer(physical)),
            None => self.other_interrupt(taken),
        }
    }

    #[inline(never)]
    fn other_interrupt(&mut self, taken: Taken) -> Control {
        match taken.frequent() {
            Some(Event::HypTimer) if deferred::deadline().is_none() => self.deadline(),
            Some(event) => self.rare(event),
            None => self.rarest(taken),
        }
    }

    #[inline(never)]
    fn rarest(&mut self, taken: Taken) -> Control {
        self.rare(taken.event())
    }

    /// An interrupt that has more to it.
    #[inline(never)]
    fn rare(&mut self, event: Event) -> Control {
        self.counters.interrupt(match event {
            Event::VirtTimer(_) => Interrupt::Timer,
            Event::HypTimer => Interrupt::Deadline,
            Event::Maintenance(_) => Interrupt::Maintenance,
            Event::Kick => Interrupt::Kick,
            Event::Pmu(_) | Event::Intx(_) | Event::Done => Interrupt::Other,
        });
        if matches!(event, Event::HypTimer | Event::Kick) {
            deferred::look();
        }
        intx::sample(self.vm, self.vcpu.index, matches!(event, Event::Maintenance(_)));
        match event {
            Event::HypTimer => {
                if self.look_at_clock() {
                    let _ = self.end(Stop::Crash(Crash::Watchdog), switch::raw_syndrome());
                }
            }
            Event::VirtTimer(physical) => {
                self.timer_held = Some(physical);
                self.sample_timer();
            }
            Event::Maintenance(ack) => {
                self.sample_timer();
                let mut devices = self.vm.devices.lock();
                let kicks = devices.vgic.sync_lr(self.vcpu.index, &mut Lists);
                let more = devices.vgic.flush_lr(self.vcpu.index, &mut Lists);
                drop(devices);
                self.vm.kick(kicks.union(more));
                gic::deactivate(ack);
            }
            Event::Pmu(physical) => {
                let mut devices = self.vm.devices.lock();
                let kicks = devices.vgic.hw_fired_shared(self.vcpu.index, layout::PMU_INTID, physical, &mut Lists);
                drop(devices);
                self.vm.kick(kicks);
            }
            Event::Intx(intid) => intx::deliver(self.vm, self.vcpu.index, intid),
            Event::Kick if panic::is_dying() => cpu::park(),
            Event::Kick | Event::Done => {}
        }
        // Whatever became pending meanwhile goes into the List Registers, and another vCPU may have set the
        // watchdog, whose deadline is watched here.
        let mut devices = self.vm.devices.lock();
        let kicks = devices.vgic.flush_lr(self.vcpu.index, &mut Lists);
        let is_watched = event == Event::Kick && self.vm.machine.watchdog && self.vcpu.index == VcpuId(0);
        let watchdog = is_watched.then(|| devices.watchdog_deadline());
        drop(devices);
        if let Some(watchdog) = watchdog {
            self.hardware.arm(&self.vcpu, watchdog);
        }
        self.vm.kick(kicks);
        // The scheduler has something to say, by a kick or by the time that it set.
        let asks = self.vm.sharing.is_some() && matches!(event, Event::Kick | Event::HypTimer);
        let goes_on = self.vm.phase() == Phase::Running && self.vm.is_traced() == self.is_traced;
        if self.ended.is_none() && goes_on && !asks { Control::Resume } else { Control::Leave }
    }
}
