//! The loop of a CPU that VMs share: it asks the scheduler, and switches from vCPU to vCPU.
//!
//! A shared vCPU never waits inside EL2: whatever it does is a step that ends, and what comes next is in its
//! [`Seat`]. Its virtual timer is never left to the hardware (`Runner::sample_timer`), so that nothing of it is
//! active on a CPU that it has left.

use alloc::vec::Vec;

use assay_el2::context::Context;
use assay_el2::switch::{self, Cause, Control, Guest, Handler};
use assay_el2::traps::Config;
use assay_el2::{cpu, gic, serror, timer};
use assay_model::exits::{self, Crash, Shared, Stop};
use assay_model::psci::Start;
use assay_model::schedule::Entity;
use assay_model::vgic::Vgic;
use assay_model::vm::{VIRT_TIMER, Vcpu};
use assay_spec::frame::Frame;
use spin::{Mutex, MutexGuard, Once};

use super::{Leave, Runner, Traced, idle};
use crate::adapter::Lists;
use crate::create::Member;
use crate::deferred;
use crate::interrupts::{self, Event};
use crate::pool::Pool;
use crate::vm::{Phase, Vm};

/// A vCPU that shares CPUs, wherever it is.
struct Seat {
    runner: Runner,
    /// Its trap configuration, with the identity that it had at its start.
    config: Config,
    context: Context,
    stage: Stage,
    /// An SError came of filling the VM's memory, coherent memory included: it crashes once it runs.
    has_erred: bool,
}

/// What a vCPU does when it gets a CPU, while its VM runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It looks whether it was told to start.
    Off,
    /// It goes on.
    On,
    /// Its CPU_SUSPEND ends.
    Suspended(Option<Start>),
}

/// What a vCPU's step came to.
enum Step {
    /// It can go on.
    Again,
    /// It has nothing to do until it is woken, or until this physical count.
    Block(Option<u64>),
}

/// The vCPUs as the scheduler counts them. The CPU that a vCPU is on holds its lock for as long.
static SEATS: Once<Vec<Mutex<Seat>>> = Once::new();

/// Gives each vCPU that shares CPUs its seat, once.
pub(crate) fn seat(members: Vec<Member>) {
    let seats = members.into_iter().flat_map(|member| {
        let contexts = member.contexts.into_iter().enumerate();
        contexts.map(move |(vcpu, context)| Mutex::new(Seat::new(member.vm, vcpu, context)))
    });
    let _ = SEATS.call_once(|| seats.collect());
}

impl Seat {
    /// Makes vCPU `vcpu`, which is off.
    fn new(vm: &'static Vm, vcpu: usize, context: Context) -> Self {
        Self { runner: Runner::new(vm, vcpu), config: vm.traps, context, stage: Stage::Off, has_erred: false }
    }
}

/// What a CPU of `pool` does for ever.
pub(super) fn cpu_loop(pool: &'static Pool, cpu: usize) -> ! {
    let mut here: Option<Here> = None;
    let mut block = None;
    loop {
        let turn = pool.next(cpu, block.take());
        if here.as_ref().map(|here| here.entity) != turn.run {
            if let Some(here) = here.take() {
                here.leave(pool);
            }
            here = turn.run.and_then(|entity| Here::take(pool, entity, cpu, turn.stolen));
        }
        match &mut here {
            Some(here) => {
                if let Step::Block(until) = here.step(turn.until) {
                    block = Some(until);
                }
            }
            None => {
                timer::arm(turn.until.into_iter().chain(deferred::deadline()).min());
                idle();
            }
        }
    }
}

/// A vCPU on this CPU.
struct Here {
    entity: Entity,
    cpu: usize,
    seat: MutexGuard<'static, Seat>,
    /// It, if its registers are this CPU's.
    guest: Option<Guest>,
}

impl Here {
    /// Takes a vCPU to this CPU, once the CPU that it was on has saved it.
    fn take(pool: &Pool, entity: Entity, cpu: usize, stolen: u64) -> Option<Self> {
        let seat = SEATS.get()?[entity.0].lock();
        pool.arrive(entity, cpu);
        if let Some(sharing) = &seat.runner.vm.sharing {
            sharing.tell(seat.runner.vcpu.index, stolen);
        }
        Some(Self { entity, cpu, seat, guest: None })
    }

    /// Makes room for another: from here on any CPU may take the vCPU.
    fn leave(mut self, pool: &Pool) {
        pool.leave(self.entity);
        let Some(guest) = self.guest.take() else {
            return;
        };
        let seat = &mut *self.seat;
        let runner = &mut seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        if serror::drain() {
            let _ = runner.stop(Stop::Crash(Crash::SError), &guest.frame);
        }
        let line = timer::virtual_line();
        let mut devices = vm.devices.lock();
        let raised = devices.vgic.set_level(vcpu, VIRT_TIMER, line);
        let kicks = devices.vgic.park(vcpu, &mut Lists);
        drop(devices);
        seat.context.save(guest);
        if let Some(physical) = runner.timer_held.take() {
            gic::deactivate_intid(physical);
        }
        vm.kick(raised.union(kicks));
    }

    /// Does whatever the vCPU has to do, on this CPU until the physical count `until`.
    fn step(&mut self, until: Option<u64>) -> Step {
        let runner = &mut self.seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        runner.hardware.until = until;
        match vm.phase() {
            Phase::Running => return self.live(),
            Phase::Loading if vcpu == 0 => {
                self.let_go();
                self.seat.runner.load_step();
                super::drain();
                self.seat.has_erred |= serror::drain();
                if vm.phase() != Phase::Loading && core::mem::take(&mut self.seat.has_erred) {
                    vm.stop(Stop::Crash(Crash::SError));
                }
                return Step::Again;
            }
            Phase::Stopping => {
                self.let_go();
                vm.parked(vcpu);
                // What becomes of a PCI function's registers is not the next guest's doing.
                let _ = serror::drain();
                self.seat.has_erred = false;
                if vm.phase() != Phase::Stopping {
                    return Step::Again;
                }
            }
            Phase::Loading | Phase::Waiting | Phase::Stopped => self.let_go(),
        }
        Step::Block(None)
    }

    /// A step of a vCPU whose VM runs.
    fn live(&mut self) -> Step {
        let runner = &mut self.seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        match self.seat.stage {
            Stage::On => {}
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
        self.seat.stage = Stage::On;
        if self.guest.is_none() {
            self.load();
        }
        let seat = &mut *self.seat;
        let Some(guest) = &mut self.guest else {
            return Step::Again;
        };
        let runner = &mut seat.runner;
        runner.sample_timer();
        if runner.look_at_clock() {
            let _ = runner.stop(Stop::Crash(Crash::Watchdog), &guest.frame);
            return Step::Again;
        }
        runner.leave = Leave::Look;
        runner.is_traced = vm.is_traced();
        if runner.is_traced {
            switch::run(guest, &mut Traced::new(vm, vcpu, &mut Sharer(runner)));
        } else {
            switch::run(guest, &mut Sharer(runner));
        }
        match runner.leave {
            Leave::Look => Step::Again,
            Leave::Off => {
                self.let_go();
                Step::Again
            }
            Leave::Suspend(power_down) => {
                seat.stage = Stage::Suspended(power_down);
                // Also what its interface masks: a guest may switch that off for the while.
                seat.runner.wait(None, Vgic::has_pending)
            }
            Leave::Wait(until) => {
                let vmcr = gic::vmcr();
                runner.wait(until, |vgic, vcpu| vgic.wakes(vcpu, vmcr))
            }
        }
    }

    /// Loads the vCPU's registers into this CPU.
    fn load(&mut self) {
        let seat = &mut *self.seat;
        let (vm, vcpu) = (seat.runner.vm, seat.runner.vcpu.index);
        let offset = vm.devices.lock().virtual_offset;
        let sharing = vm.sharing.as_ref();
        let mixed = !sharing.is_some_and(|sharing| sharing.was_last(vcpu, self.cpu));
        self.guest = Some(seat.context.load(&seat.config, offset, mixed));
        seat.runner.follow();
    }

    /// Puts the vCPU into its state at reset, on this CPU.
    fn start(&mut self, start: Start) {
        let seat = &mut *self.seat;
        let runner = &mut seat.runner;
        let (vm, vcpu) = (runner.vm, runner.vcpu.index);
        runner.vcpu = Vcpu::new(vcpu);
        seat.config.vpidr = cpu::midr();
        seat.config.vmpidr = assay_model::psci::mpidr(vcpu);
        let offset = vm.devices.lock().virtual_offset;
        if let Some(sharing) = &vm.sharing {
            let _ = sharing.was_last(vcpu, self.cpu);
        }
        let frame = Frame::entering(start.entry, start.context);
        self.guest = Some(seat.context.start(&seat.config, offset, frame));
        seat.runner.follow();
    }

    /// A vCPU that is off has nothing to do, but for its VM's watchdog.
    fn off(&mut self) -> Step {
        let runner = &mut self.seat.runner;
        let vm = runner.vm;
        runner.watch();
        if vm.phase() != Phase::Running {
            return Step::Again;
        }
        let watched = vm.machine.watchdog && runner.vcpu.index == 0;
        Step::Block(vm.devices.lock().watchdog_deadline().filter(|_| watched))
    }

    /// Ends what the vCPU did: it is off, and nothing of it is left on this CPU.
    fn let_go(&mut self) {
        if let Some(guest) = self.guest.take() {
            let runner = &mut self.seat.runner;
            if serror::drain() {
                let _ = runner.stop(Stop::Crash(Crash::SError), &guest.frame);
            }
            runner.let_go();
        }
        self.seat.stage = Stage::Off;
    }
}

/// A vCPU that was just put on a CPU stays for a ten thousandth of a second at least: where the switch takes longer
/// than what is left of its time, as it may in an emulator, there would be nothing but switches.
const LEAST: u64 = 10_000;

impl Runner {
    /// The vCPU comes after another one on this CPU.
    fn follow(&mut self) {
        if let Some(which) = self.vm.machine.workarounds.between_guests() {
            exits::Cpu::workaround(&mut self.hardware, which);
        }
        let least = cpu::counter().wrapping_add(cpu::counter_frequency() / LEAST);
        self.hardware.until = self.hardware.until.map(|until| until.max(least));
    }

    /// The vCPU waits until an interrupt `wakes` it, at most until the virtual count `until`.
    fn wait(&mut self, until: Option<u64>, wakes: impl FnOnce(&Vgic, usize) -> bool) -> Step {
        let vm = self.vm;
        // Before the line is looked at: a timer that comes due in between is found by one or the other.
        let virtual_deadline = timer::virtual_deadline();
        self.sample_timer();
        let now = cpu::counter();
        let mut devices = vm.devices.lock();
        let timer = self.vcpu.update_timer(&mut devices, &mut Lists, now);
        let kicks = devices.vgic.sync(self.vcpu.index, &mut Lists).union(timer);
        let is_woken = wakes(&devices.vgic, self.vcpu.index);
        let physical = |count: u64| count.checked_add(devices.virtual_offset);
        let watched = vm.machine.watchdog && self.vcpu.index == 0;
        let deadlines = [
            self.vcpu.timer.deadline_after(now),
            virtual_deadline.and_then(physical),
            until.and_then(physical),
            devices.watchdog_deadline().filter(|_| watched),
        ];
        drop(devices);
        vm.kick(kicks);
        if is_woken || vm.phase() != Phase::Running {
            return Step::Again;
        }
        Step::Block(deadlines.into_iter().flatten().min())
    }
}

/// Handles the exits of a vCPU that shares its CPU.
struct Sharer<'a>(&'a mut Runner);

impl Handler for Sharer<'_> {
    #[inline(always)]
    fn synchronous(&mut self, frame: &mut Frame) -> Control {
        let esr = switch::raw_syndrome();
        let shared = exits::shared(esr, frame, self.0.vcpu.index);
        if shared == Shared::Other {
            return self.0.synchronous(frame);
        }
        self.0.counters.exit(esr);
        match shared {
            Shared::Other | Shared::Resume => Control::Resume,
            Shared::Wait { until } => self.0.leave(Leave::Wait(until)),
        }
    }

    #[inline(always)]
    fn other(&mut self, frame: &mut Frame, cause: Cause) -> Control {
        if cause != Cause::Irq {
            return self.0.other(frame, cause);
        }
        let Some(event) = interrupts::next() else {
            return Control::Resume;
        };
        let control = self.0.rare(event, frame);
        // The scheduler has something to say, by a kick or by the time that it set.
        if matches!(event, Event::Kick | Event::HypTimer) { Control::Leave } else { control }
    }
}
