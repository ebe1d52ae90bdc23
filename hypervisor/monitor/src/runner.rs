//! The per-CPU loop: run the vCPU that this CPU is for, through all the lives of its VM.

use assay_el2::switch::{self, Cause, Control, Guest, Handler};
use assay_el2::{cpu, gic, guest_regs, serror, timer, traps};
use assay_model::counters::{Counters, Interrupt};
use assay_model::exits::{self, Crash, Next, Stop};
use assay_model::inject::{self, El1State, Fault};
use assay_model::psci::Start;
use assay_model::vgic::Version;
use assay_model::vm::{VIRT_TIMER, Vcpu};
use assay_spec::esr;
use assay_spec::exit::Exit;
use assay_spec::frame::Frame;
use assay_spec::intid::IntId;

use crate::adapter::Lists;
use crate::hardware::Hardware;
use crate::interrupts::{self, Event};
use crate::vm::{Phase, Vm, intx};
use crate::{cpus, deferred, panic, pool, report};

mod clock;
mod filling;
mod shared;
mod traced;

pub(crate) use shared::seat;
use traced::Traced;

/// What a CPU does for ever.
pub(crate) fn cpu_loop(index: usize) -> ! {
    let (vm, vcpu) = loop {
        if let Some(assigned) = cpus::assigned(index) {
            break assigned;
        }
        if let Some(pool) = pool::of(index) {
            shared::cpu_loop(pool, index);
        }
        idle();
    };
    let mut runner = Runner::new(vm, vcpu);
    loop {
        match vm.phase() {
            Phase::Loading if vcpu == 0 => {
                runner.load_step();
                drain();
            }
            Phase::Running => runner.live(),
            Phase::Stopping => {
                // Said again at each look: while this CPU slept, the VM may have lived and be stopping once more.
                vm.parked(vcpu);
                if vm.phase() == Phase::Stopping {
                    idle();
                }
            }
            Phase::Loading | Phase::Waiting | Phase::Stopped => idle(),
        }
    }
}

/// Waits for an interrupt and deals with it. No guest is on this CPU.
fn idle() {
    if panic::is_dying() {
        cpu::park();
    }
    cpu::wait_for_interrupt();
    drain();
}

/// Deals with every interrupt that is pending while no guest is on this CPU: whatever was a guest's is history.
fn drain() {
    while let Some(event) = interrupts::next() {
        match event {
            Event::Maintenance(ack) => gic::deactivate(ack),
            Event::VirtTimer(intid) => gic::deactivate_intid(intid),
            Event::Intx(intid) => intx::keep(intid),
            Event::Kick | Event::HypTimer | Event::Done => {}
        }
    }
    deferred::look();
}

/// Why the guest was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// The VM's phase has changed.
    Look,
    /// CPU_OFF.
    Off,
    /// CPU_SUSPEND.
    Suspend(Option<Start>),
    /// WFI of a vCPU that shares its CPU, or WFIT, until this virtual count at the latest.
    Wait(Option<u64>),
}

/// One vCPU on its CPU.
struct Runner {
    vm: &'static Vm,
    vcpu: Vcpu,
    hardware: Hardware,
    leave: Leave,
    /// GICv2 and shared CPUs: the virtual timer's physical interrupt, kept active while the model has its line high.
    timer_held: Option<IntId>,
    /// What it came to EL2 for.
    counters: &'static Counters,
    /// Its exits are recorded.
    is_traced: bool,
}

/// For a vCPU that its VM does not have: nobody reads them.
static NOBODYS: Counters = Counters::new();

impl Runner {
    /// What runs vCPU `vcpu`, which is off.
    fn new(vm: &'static Vm, vcpu: usize) -> Self {
        Self {
            vm,
            vcpu: Vcpu::new(vcpu),
            hardware: Hardware { vm, until: None },
            leave: Leave::Look,
            timer_held: None,
            counters: vm.counters.get(vcpu).unwrap_or(&NOBODYS),
            is_traced: false,
        }
    }

    /// One life of the VM, as far as this vCPU has part in it.
    fn live(&mut self) {
        let vm = self.vm;
        while vm.phase() == Phase::Running {
            let start = vm.devices.lock().power.take_start(self.vcpu.index);
            match start {
                Some(start) => self.on(start),
                None => {
                    idle();
                    self.watch();
                }
            }
        }
    }

    /// From a start of the vCPU to its end: CPU_OFF, or the VM's.
    fn on(&mut self, start: Start) {
        let mut guest = self.reset(start);
        loop {
            self.leave = Leave::Look;
            self.is_traced = self.vm.is_traced();
            if self.is_traced {
                let (vm, vcpu) = (self.vm, self.vcpu.index);
                switch::run(&mut guest, &mut Traced::new(vm, vcpu, self));
            } else {
                switch::run(&mut guest, self);
            }
            match self.leave {
                Leave::Look | Leave::Wait(_) if self.vm.phase() == Phase::Running => {}
                Leave::Look | Leave::Wait(_) | Leave::Off => break,
                Leave::Suspend(power_down) => {
                    self.suspend();
                    if let Some(start) = power_down {
                        self.let_go();
                        guest = self.reset(start);
                    }
                }
            }
        }
        self.let_go();
    }

    /// Gives the vCPU its state at reset and loads it into this CPU.
    fn reset(&mut self, start: Start) -> Guest {
        let vm = self.vm;
        self.vcpu = Vcpu::new(self.vcpu.index);
        let mut config = vm.traps;
        config.vpidr = cpu::midr();
        config.vmpidr = assay_model::psci::mpidr(self.vcpu.index);
        let guest = traps::load(&config, Frame::entering(start.entry, start.context));
        guest_regs::reset(vm.registers);
        gic::reset_virtual();
        let mut devices = vm.devices.lock();
        timer::set_virtual_offset(devices.virtual_offset);
        let kicks = devices.vgic.flush(self.vcpu.index, &mut Lists);
        self.hardware.arm(&self.vcpu, &devices);
        drop(devices);
        vm.kick(kicks);
        guest
    }

    /// Takes the vCPU off this CPU: no timer of its runs on, no interrupt of its stays active. Only the VM's
    /// watchdog is still looked after, which does not care whether vCPU 0 is on.
    fn let_go(&mut self) {
        // Later it would be the next life's, and until then it would end every WFI.
        if serror::drain() {
            self.vm.stop(Stop::Crash(Crash::SError));
        }
        timer::stop_virtual();
        self.sample_timer();
        self.vcpu = Vcpu::new(self.vcpu.index);
        let mut devices = self.vm.devices.lock();
        let kicks = devices.vgic.park(self.vcpu.index, &mut Lists);
        self.hardware.arm(&self.vcpu, &devices);
        drop(devices);
        self.vm.kick(kicks);
    }

    /// CPU_SUSPEND: waits until an interrupt is pending, virtual or physical, or the VM stops.
    fn suspend(&mut self) {
        let vm = self.vm;
        let mut devices = vm.devices.lock();
        let kicks = devices.vgic.sync(self.vcpu.index, &mut Lists);
        let waiting = devices.vgic.has_pending(self.vcpu.index);
        drop(devices);
        vm.kick(kicks);
        if !waiting && vm.phase() == Phase::Running {
            // Stays pending, and is taken as soon as the guest is entered.
            cpu::wait_for_interrupt();
        }
        let mut devices = vm.devices.lock();
        devices.power.resume(self.vcpu.index);
        let kicks = devices.vgic.flush(self.vcpu.index, &mut Lists);
        drop(devices);
        vm.kick(kicks);
    }

    /// A physical interrupt while the guest ran: one of them; if more are pending, the guest is left again.
    #[inline]
    fn interrupt(&mut self, frame: &Frame) -> Control {
        match interrupts::next() {
            Some(Event::VirtTimer(physical)) if self.vm.machine.gic == Version::V3 => {
                let mut devices = self.vm.devices.lock();
                let kicks = devices.vgic.hw_fired(self.vcpu.index, VIRT_TIMER, physical, &mut Lists);
                drop(devices);
                self.counters.interrupt(Interrupt::Timer);
                if !kicks.is_empty() {
                    self.vm.kick(kicks);
                }
                Control::Resume
            }
            Some(event) => self.rare(event, frame),
            None => Control::Resume,
        }
    }

    #[inline(never)]
    fn rare(&mut self, event: Event, frame: &Frame) -> Control {
        self.counters.interrupt(match event {
            Event::VirtTimer(_) => Interrupt::Timer,
            Event::HypTimer => Interrupt::Deadline,
            Event::Maintenance(_) => Interrupt::Maintenance,
            Event::Kick => Interrupt::Kick,
            Event::Intx(_) | Event::Done => Interrupt::Other,
        });
        if matches!(event, Event::HypTimer | Event::Kick) {
            deferred::look();
        }
        match event {
            Event::HypTimer => self.deadline(frame),
            Event::VirtTimer(physical) => {
                self.timer_held = Some(physical);
                self.sample_timer();
            }
            Event::Maintenance(ack) => {
                self.sample_timer();
                intx::sample(self.vm, self.vcpu.index);
                let mut devices = self.vm.devices.lock();
                let kicks = devices.vgic.sync(self.vcpu.index, &mut Lists);
                let more = devices.vgic.flush(self.vcpu.index, &mut Lists);
                drop(devices);
                self.vm.kick(kicks.union(more));
                gic::deactivate(ack);
            }
            Event::Intx(intid) => intx::deliver(self.vm, self.vcpu.index, intid),
            Event::Kick if panic::is_dying() => cpu::park(),
            Event::Kick | Event::Done => {}
        }
        // Whatever became pending meanwhile goes into the List Registers, and another vCPU may have set the
        // watchdog, whose deadline is watched here.
        let mut devices = self.vm.devices.lock();
        let kicks = devices.vgic.flush(self.vcpu.index, &mut Lists);
        if event == Event::Kick && self.vm.machine.watchdog && self.vcpu.index == 0 {
            self.hardware.arm(&self.vcpu, &devices);
        }
        drop(devices);
        self.vm.kick(kicks);
        if self.vm.phase() == Phase::Running && self.vm.is_traced() == self.is_traced {
            Control::Resume
        } else {
            Control::Leave
        }
    }

    /// A data abort: most are loads from the interrupt controller or the UART.
    #[inline(never)]
    fn access(&mut self, frame: &mut Frame) -> Control {
        let (vm, vcpu) = (self.vm, &self.vcpu);
        let syndrome = switch::abort_syndrome();
        if exits::quick_load(syndrome, frame, vcpu, &vm.machine, &vm.devices, &mut self.hardware) {
            return Control::Resume;
        }
        self.decide(frame)
    }

    /// A synchronous exit that takes more than a look at the registers.
    #[inline(never)]
    fn decide(&mut self, frame: &mut Frame) -> Control {
        let exit = switch::syndrome();
        let next = exits::handle(exit, frame, &mut self.vcpu, &self.vm.machine, &self.vm.devices, &mut self.hardware);
        match next {
            Next::Resume => Control::Resume,
            Next::Advance => {
                frame.advance();
                Control::Resume
            }
            Next::Inject(fault) => self.inject(fault, exit, frame),
            Next::Off => self.leave(Leave::Off),
            Next::Suspend { power_down } => self.leave(Leave::Suspend(power_down)),
            Next::Stop(stop) => self.stop(stop, frame),
        }
    }

    fn leave(&mut self, leave: Leave) -> Control {
        self.leave = leave;
        Control::Leave
    }

    /// Makes the guest take an exception, unless it never could: its vectors are where the fault was.
    fn inject(&mut self, fault: Fault, exit: Exit, frame: &mut Frame) -> Control {
        let vbar = guest_regs::vbar();
        if let Exit::InstrAbort(abort) = exit
            && frame.pc & !0x7ff == vbar & !0x7ff
            && !abort.from_el0
        {
            return self.stop(Stop::Crash(Crash::NoVectors), frame);
        }
        let el1 = El1State { vbar, sctlr: guest_regs::sctlr(), bits: self.vm.machine.pstate };
        let write = inject::take(fault, frame, &el1);
        guest_regs::write_exception(write.esr, write.elr, write.spsr, write.far);
        Control::Resume
    }

    fn stop(&mut self, stop: Stop, frame: &Frame) -> Control {
        if let Stop::Crash(crash) = stop {
            report::crash(self.vm, self.vcpu.index, crash, frame);
        }
        self.vm.stop(stop);
        Control::Leave
    }
}

impl Handler for Runner {
    #[inline(always)]
    fn synchronous(&mut self, frame: &mut Frame) -> Control {
        let esr = switch::raw_syndrome();
        self.counters.exit(esr);
        if exits::quick(esr, frame, &self.vm.machine) {
            return Control::Resume;
        }
        if esr::class(esr) == esr::ec::DABT_LOWER { self.access(frame) } else { self.decide(frame) }
    }

    #[inline(always)]
    fn other(&mut self, frame: &mut Frame, cause: Cause) -> Control {
        match cause {
            Cause::Irq => self.interrupt(frame),
            // Group 0 is not ours: whoever it is for takes it elsewhere.
            Cause::Fiq if self.vm.phase() == Phase::Running => Control::Resume,
            Cause::Fiq => Control::Leave,
            Cause::SError => self.stop(Stop::Crash(Crash::SError), frame),
        }
    }
}
