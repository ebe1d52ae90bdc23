//! A vCPU on this CPU: its steps, and how it comes and goes.
//!
//! A vCPU that shares CPUs never waits inside EL2, and nothing of it is active on a CPU that it has left: what its virtual
//! timer's line is then, the model is told ([`Runner::tell_line`]).

use assay_el2::lock::Relax;
use assay_el2::switch::{self, Guest, Handler};
use assay_el2::{context, guest_regs};
use assay_el2::{cpu, firmware, gic, pmu, serror, timer};
use assay_model::exits;
use assay_model::life::{Crash, Stop};
use assay_model::lock::{Guard, Mutex, SEAT};
use assay_model::schedule::Entity;
use assay_model::stage::Start;
use assay_model::vcpus::VcpuSet;
use assay_model::vgic::{Version, Vgic};
use assay_model::vm::{VIRT_TIMER, Vcpu};
use assay_spec::cpu_id::{PcpuId, VcpuId};
use assay_spec::frame::Frame;
use assay_spec::intid::IntId;

use super::exits::{Bypassing, Sharer};
use super::seat::Seat;
use super::traced::Traced;
use super::{Runner, Stage, drain};
use crate::adapter::Lists;
use crate::pool::Step;
use crate::vm::{Phase, intx};
use crate::{cpus, pool};

/// A vCPU on this CPU.
pub(super) struct Here<'a> {
    pub(super) entity: Entity,
    cpu: PcpuId,
    seat: Guard<'a, Seat, SEAT, Relax>,
    /// It, if its registers are this CPU's.
    guest: Option<Guest>,
    /// It has just come, or has waited while this CPU slept.
    is_back: bool,
    /// Ticks that were stolen from it, as it was told here.
    told: Option<u64>,
}

impl<'a> Here<'a> {
    /// Takes a vCPU to this CPU, once the CPU that it was on has saved it. That one may sleep with it.
    pub(super) fn take(seat: &'a Mutex<Seat, SEAT, Relax>, entity: Entity, cpu: PcpuId) -> Self {
        let seat = seat.try_lock().unwrap_or_else(|| {
            if let Some(pool) = pool::get() {
                pool.call_off(entity);
            }
            seat.lock()
        });
        Self { entity, cpu, seat, guest: None, is_back: true, told: None }
    }

    /// The vCPU is to run here. `stolen`: for how many ticks it has waited for a CPU since the boot.
    pub(super) fn go_on(&mut self, stolen: u64) {
        if !core::mem::take(&mut self.is_back) {
            return;
        }
        let runner = &self.seat.runner;
        if let (Some(sharing), Some(pool)) = (&runner.vm.sharing, pool::get()) {
            pool.arrive(self.entity, self.cpu);
            if self.told.replace(stolen) != Some(stolen) {
                sharing.tell(runner.vcpu.index, stolen);
            }
        }
    }

    /// The vCPU waits, and this CPU sleeps until one of both has something to do. Another CPU may take the vCPU, and asks
    /// for it then.
    pub(super) fn doze(&mut self) {
        if let Some(pool) = pool::get() {
            pool.doze(self.entity, self.cpu);
        }
        self.is_back = true;
        // It would end every WFI.
        if let Some(guest) = &self.guest
            && serror::drain()
        {
            self.seat.runner.stop(Stop::Crash(Crash::SError), switch::raw_syndrome(), &guest.frame);
            // Whom that wakes may be left to this CPU, which is about to sleep.
            gic::kick(self.cpu);
        }
    }

    /// Keeps the virtual timer's physical interrupt active: its line is high, and the vCPU's registers are here.
    pub(super) fn hold_timer(&mut self, physical: IntId) {
        self.seat.runner.hold_timer(physical);
    }

    /// Tells whether its registers are this CPU's.
    pub(super) fn is_loaded(&self) -> bool {
        self.guest.is_some()
    }

    /// Makes room for another: from here on any CPU may take the vCPU.
    pub(super) fn leave(&mut self) {
        if let Some(pool) = pool::get() {
            pool.leave(self.entity);
        }
        let seat = &mut *self.seat;
        let (Some(guest), Some(context)) = (&self.guest, &mut seat.context) else {
            return;
        };
        let runner = &mut seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        if serror::drain() {
            runner.stop(Stop::Crash(Crash::SError), switch::raw_syndrome(), &guest.frame);
        }
        intx::sample(vm, vcpu, false);
        runner.timer_line = timer::virtual_line();
        let mut devices = vm.devices.lock();
        let mut kicks = devices.vgic.park(vcpu, &mut Lists);
        // Now that no physical interrupt stands behind it any more.
        kicks = kicks.union(devices.vgic.set_level(vcpu, VIRT_TIMER, runner.timer_line));
        if !runner.is_woken(&devices.vgic) {
            kicks.remove(vcpu);
        }
        drop(devices);
        context.save(guest);
        if let Some(physical) = runner.timer_held.take() {
            gic::deactivate_intid(physical);
        }
        vm.kick(kicks);
        self.guest = None;
    }

    /// Does whatever the vCPU has to do, on this CPU until the physical count `until`.
    pub(super) fn step(&mut self, until: Option<u64>) -> Step {
        let runner = &mut self.seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        runner.hardware.until = until;
        match vm.phase() {
            Phase::Running => return self.live(),
            Phase::Loading => {
                self.let_go();
                if vcpu == VcpuId(0) {
                    if let Some(until) = intx::settle(vm) {
                        return Step::Block(Some(until));
                    }
                    self.load_vm();
                    return Step::Again;
                }
                if self.seat.runner.help() {
                    drain(None);
                    return Step::Again;
                }
            }
            Phase::Stopping => {
                self.let_go();
                // Said again at each look: while this vCPU slept, the VM may have lived and be stopping once more.
                vm.parked(vcpu);
                // What becomes of a PCI function's registers is not the next guest's doing.
                let _ = serror::drain();
                self.seat.has_erred = false;
                if vm.phase() != Phase::Stopping {
                    return Step::Again;
                }
            }
            Phase::Waiting | Phase::Stopped => self.let_go(),
        }
        Step::Block(None)
    }

    /// Fills a chunk of the VM's memory.
    fn load_vm(&mut self) {
        let vm = self.seat.runner.vm;
        self.seat.runner.load_step();
        drain(None);
        self.seat.has_erred |= serror::drain();
        if vm.phase() != Phase::Loading && core::mem::take(&mut self.seat.has_erred) {
            vm.stop(Stop::Crash(Crash::SError));
        }
    }

    /// A step of a vCPU whose VM runs.
    fn live(&mut self) -> Step {
        let runner = &mut self.seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        match runner.stage {
            Stage::On | Stage::Yielding | Stage::Waiting(_) => {}
            Stage::Off => {
                let start = vm.devices.lock().power.take_start(vcpu);
                match start {
                    Some(start) => self.start(start),
                    None => return self.off(),
                }
            }
            Stage::Suspended(power_down) => {
                vm.devices.lock().power.resume(vcpu);
                if let Some(start) = power_down {
                    self.let_go();
                    self.start(start);
                }
            }
        }
        self.load();
        let (Some(guest), runner) = (&mut self.guest, &mut self.seat.runner) else {
            return Step::Again;
        };
        runner.run(guest);
        match runner.stage {
            Stage::On => Step::Again,
            Stage::Yielding => Step::Yield,
            Stage::Off => {
                self.let_go();
                Step::Again
            }
            Stage::Suspended(_) | Stage::Waiting(_) => runner.wait(),
        }
    }

    /// Loads the vCPU's registers into this CPU, if they are not there.
    fn load(&mut self) {
        let seat = &mut *self.seat;
        let (None, Some(context)) = (&self.guest, &seat.context) else { return };
        let (vm, vcpu) = (seat.runner.vm, seat.runner.vcpu.index);
        let offset = vm.devices.lock().virtual_offset;
        seat.config.traps = vm.traps[cpus::kind(self.cpu)];
        let mixed = !vm.sharing.as_ref().is_some_and(|sharing| sharing.was_last(vcpu, self.cpu));
        self.guest = Some(context.load(&seat.config, offset, mixed));
        seat.runner.follow();
    }

    /// Puts the vCPU into its state at reset, on this CPU.
    fn start(&mut self, start: Start) {
        let seat = &mut *self.seat;
        let runner = &mut seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        runner.vcpu = Vcpu::new(vcpu);
        seat.config.traps = vm.traps[cpus::kind(self.cpu)];
        seat.config.vpidr = cpu::midr();
        seat.config.vmpidr = assay_model::psci::mpidr(vcpu);
        let offset = vm.devices.lock().virtual_offset;
        let frame = Frame::entering(start.entry, start.context);
        self.guest = Some(context::start(vm.registers, &seat.config, offset, frame));
        match &vm.sharing {
            Some(sharing) => {
                let _ = sharing.was_last(vcpu, self.cpu);
                seat.runner.follow();
            }
            None => guest_regs::lock_debug(),
        }
    }

    /// A vCPU that is off has nothing to do, but for its VM's watchdog.
    fn off(&mut self) -> Step {
        let runner = &mut self.seat.runner;
        let vm = runner.vm;
        runner.watch();
        if vm.phase() != Phase::Running {
            return Step::Again;
        }
        let watched = vm.machine.watchdog && runner.vcpu.index == VcpuId(0);
        Step::Block(vm.devices.lock().watchdog_deadline().filter(|_| watched))
    }

    /// Ends what the vCPU did: it is off, and nothing of it is left on this CPU.
    fn let_go(&mut self) {
        let runner = &mut self.seat.runner;
        if let Some(guest) = self.guest.take() {
            // Later it would be the next life's, and until then it would end every WFI.
            if serror::drain() {
                runner.stop(Stop::Crash(Crash::SError), switch::raw_syndrome(), &guest.frame);
            }
            runner.park();
        }
        runner.stage = Stage::Off;
    }
}

/// A vCPU that was just put on a CPU stays for a ten thousandth of a second at least: where the switch takes longer
/// than what is left of its time, as it may in an emulator, there would be nothing but switches.
const LEAST: u64 = 10_000;

/// Runs the guest; with `bypass` without firmware's workaround 2, which is on whenever EL2 runs.
fn enter<H: Handler>(guest: &mut Guest, handler: &mut H, bypass: bool) {
    if bypass {
        firmware::protect_stores(false);
        switch::run(guest, &mut Bypassing(handler));
    } else {
        switch::run(guest, handler);
    }
}

impl Runner {
    /// The vCPU comes after another one on this CPU.
    fn follow(&mut self) {
        if let Some(which) = self.vm.machine.workarounds.between_guests() {
            exits::Cpu::workaround(&mut self.hardware, which);
        }
        let least = cpu::counter().wrapping_add(cpu::counter_frequency() / LEAST);
        self.hardware.until = self.hardware.until.map(|until| until.max(least));
    }

    /// Runs the guest until it is left.
    fn run(&mut self, guest: &mut Guest) {
        let (vm, vcpu) = (self.vm, self.vcpu.index);
        self.stage = Stage::On;
        if vm.machine.gic.version == Version::V3 {
            self.tell_line(false);
        } else {
            self.sample_timer();
        }
        if self.look_at_clock() {
            return self.stop(Stop::Crash(Crash::Watchdog), switch::raw_syndrome(), &guest.frame);
        }
        self.is_traced = vm.is_traced();
        let bypass = self.vcpu.store_bypass;
        match (vm.sharing.is_some(), self.is_traced) {
            (false, false) => enter(guest, self, bypass),
            (false, true) => enter(guest, &mut Traced::new(vm, vcpu, self), bypass),
            (true, false) => enter(guest, &mut Sharer(self), bypass),
            (true, true) => enter(guest, &mut Traced::new(vm, vcpu, &mut Sharer(self)), bypass),
        }
        if let Some((stop, esr)) = self.ended.take() {
            self.stop(stop, esr, &guest.frame);
        }
    }

    /// Takes the vCPU off this CPU: no timer of its runs on, no interrupt of its stays active. Only the VM's
    /// watchdog is still looked after, which does not care whether vCPU 0 is on.
    fn park(&mut self) {
        timer::stop_virtual();
        if self.vm.registers.pmu {
            pmu::stop();
        }
        self.sample_timer();
        intx::sample(self.vm, self.vcpu.index, false);
        let mut devices = self.vm.devices.lock();
        let timer = self.vcpu.stop_timer(&mut devices);
        self.vcpu = Vcpu::new(self.vcpu.index);
        let kicks = timer.union(devices.vgic.park(self.vcpu.index, &mut Lists));
        let watchdog = self.vm.machine.watchdog_deadline(&devices);
        drop(devices);
        self.hardware.arm(&self.vcpu, watchdog);
        self.vm.kick(kicks);
    }

    /// Tells whether an interrupt waits that the vCPU has to have a CPU for.
    fn is_woken(&self, vgic: &Vgic) -> bool {
        match self.stage {
            // Also by what its interface masks: a guest may switch that off for the while.
            Stage::Suspended(_) => vgic.has_pending(self.vcpu.index),
            Stage::On | Stage::Off | Stage::Yielding | Stage::Waiting(_) => vgic.wakes(self.vcpu.index, gic::vmcr()),
        }
    }

    /// The vCPU waits until an interrupt wakes it, at most until the virtual count that it has named.
    #[inline(always)]
    fn wait(&mut self) -> Step {
        let vm = self.vm;
        let until = if let Stage::Waiting(until) = self.stage { until } else { None };
        // Before the line is looked at: a timer that comes due in between is found by one or the other.
        let virtual_deadline = timer::virtual_deadline();
        match (vm.machine.gic.version, &vm.sharing) {
            (Version::V3, Some(_)) => self.tell_line(timer::virtual_line()),
            _ => self.sample_timer(),
        }
        intx::sample(vm, self.vcpu.index, false);
        let now = cpu::counter();
        let mut devices = vm.devices.lock();
        let (mut kicks, mut is_woken) = (VcpuSet::EMPTY, false);
        if self.vcpu.has_timer_moved(now) {
            kicks = self.vcpu.update_timer(&mut devices, &mut Lists, now);
        }
        if !devices.vgic.is_quiet(self.vcpu.index, &Lists) {
            kicks = kicks.union(devices.vgic.sync_lr(self.vcpu.index, &mut Lists));
            is_woken = self.is_woken(&devices.vgic);
        }
        let physical = |count: u64| count.checked_add(devices.virtual_offset);
        let watched = vm.machine.watchdog && self.vcpu.index == VcpuId(0);
        let deadlines = [
            self.vcpu.timer_deadline(),
            virtual_deadline.and_then(physical),
            until.and_then(physical),
            watched.then(|| devices.watchdog_deadline()).flatten(),
        ];
        drop(devices);
        vm.kick(kicks);
        if is_woken || vm.phase() != Phase::Running {
            return Step::Again;
        }
        Step::Block(deadlines.into_iter().flatten().min())
    }
}
