//! What becomes of an exit: `model` decides, and this applies it.

use assay_el2::switch::{self, Cause, Control, Handler};
use assay_el2::{firmware, gic, guest_regs};
use assay_model::exits::{self, Held, Next, Program, Shared};
use assay_model::inject::{self, El1State, Fault};
use assay_model::life::{Crash, Stop};
use assay_model::vgic::Unsent;
use assay_spec::esr;
use assay_spec::exit::Exit;
use assay_spec::frame::{Frame, General};

use super::{Runner, Stage};
use crate::adapter::ListsV3;
use crate::hardware::Hardware;
use crate::vm::Phase;
use crate::{panic, report};

impl Runner {
    /// A system register. Of what is read an identification register is the most, of what is written the one that sends SGIs.
    #[inline(always)]
    fn register(&mut self, general: &mut General, esr: u64) -> Control {
        if !esr::register_access(esr).read {
            self.write_register(general, esr)
        } else if exits::read_id(esr, general, &self.vm.machine, &mut self.hardware) {
            Control::Resume
        } else {
            self.other_register(general, esr)
        }
    }

    #[inline(never)]
    fn write_register(&mut self, general: &mut General, esr: u64) -> Control {
        let Some(value) = exits::sgi(esr, general, &self.vm.machine) else {
            return self.other_register(general, esr);
        };
        let (Some(gic), Some(devices)) = (gic::v3(), self.vm.devices.at_once()) else {
            return self.other_register(general, esr);
        };
        if let Some(unsent) = devices.vgic.sgi1r_at_once(self.vcpu.index, value, &mut ListsV3(gic)) {
            return self.send(devices, unsent);
        }
        drop(devices);
        self.hardware.advance();
        Control::Resume
    }

    /// Sends an SGI.
    #[inline(never)]
    fn send(&mut self, devices: Held<'_, Hardware>, unsent: Unsent) -> Control {
        exits::send_sgi(unsent, &self.vcpu, devices, &mut self.hardware);
        Control::Resume
    }

    #[inline(never)]
    fn other_register(&mut self, general: &mut General, esr: u64) -> Control {
        self.decide(Exit::SysReg(esr::register_access(esr)), (esr, 0), general)
    }

    /// A call by SMC, at which the saved program counter still is: that of an HVC is past it.
    #[inline(never)]
    fn smc(&mut self, general: &mut General, esr: u64) -> Control {
        if esr & IMM16 != 0 || !exits::answer(general) {
            return self.call(general, esr);
        }
        self.hardware.advance();
        Control::Resume
    }

    /// A call that is not answered alike to all: most ask something.
    #[inline(never)]
    fn call(&mut self, general: &mut General, esr: u64) -> Control {
        if esr & IMM16 != 0 || !exits::ask(general, &self.vm.devices, &mut self.hardware) {
            return self.long_call(general, esr);
        }
        if esr::class(esr) == esr::ec::SMC64 {
            self.hardware.advance();
        }
        Control::Resume
    }

    #[inline(never)]
    fn long_call(&mut self, general: &mut General, esr: u64) -> Control {
        let imm = (esr & IMM16) as u16;
        let is_smc = esr::class(esr) == esr::ec::SMC64;
        self.decide(if is_smc { Exit::Smc { imm } } else { Exit::Hvc { imm } }, (esr, 0), general)
    }

    /// An exception of another class.
    #[inline(never)]
    fn other_class(&mut self, general: &mut General, esr: u64) -> Control {
        let (far, hpfar) = switch::fault_address();
        match esr::decode(esr, far, hpfar) {
            // They do not come here, and their ways are not to be compiled once more.
            Exit::SysReg(_) | Exit::Hvc { .. } | Exit::Smc { .. } | Exit::DataAbort(_) => Control::Resume,
            exit => self.decide(exit, (esr, far), general),
        }
    }

    /// Does as `model` decides about an exit with this syndrome, and fault address if it is an abort. Compiled for each kind of
    /// exit by itself.
    #[inline(always)]
    fn decide(&mut self, exit: Exit, syndrome: (u64, u64), general: &mut General) -> Control {
        let next = exits::handle(exit, general, &mut self.vcpu, &self.vm.machine, &self.vm.devices, &mut self.hardware);
        self.apply(next, exit, syndrome)
    }

    /// Does what is left to do after an exit.
    #[inline(always)]
    pub(super) fn apply(&mut self, next: Next, exit: Exit, syndrome: (u64, u64)) -> Control {
        match next {
            Next::Resume => Control::Resume,
            Next::Advance => {
                self.hardware.advance();
                Control::Resume
            }
            Next::Inject(fault) => self.inject(fault, exit, syndrome),
            Next::Leave(stage) => self.leave(stage),
            Next::Stop(stop) => self.end(stop, syndrome.0),
        }
    }

    pub(super) fn leave(&mut self, stage: Stage) -> Control {
        self.stage = stage;
        Control::Leave
    }

    /// Makes the guest take an exception, unless it never could: its vectors are where the fault was.
    #[inline(never)]
    fn inject(&mut self, fault: Fault, exit: Exit, (esr, far): (u64, u64)) -> Control {
        if let Some(is_address_known) = esr::external_abort(esr) {
            report::external_abort(self.vm, self.vcpu.index, is_address_known.then_some(far));
        }
        if let Exit::InstrAbort(abort) = exit
            && switch::place().pc & !0x7ff == guest_regs::vbar() & !0x7ff
            && !abort.from_el0
        {
            return self.end(Stop::Crash(Crash::NoVectors), esr);
        }
        self.take(fault)
    }

    /// Makes the guest take an exception.
    #[inline(always)]
    pub(super) fn take(&mut self, fault: Fault) -> Control {
        let mut at = switch::place();
        let el1 = El1State { vbar: guest_regs::vbar(), sctlr: guest_regs::sctlr(), bits: self.vm.machine.pstate };
        let write = inject::take(fault, &mut at, &el1);
        guest_regs::write_exception(write.esr, write.elr, write.spsr, write.far);
        switch::go_to(at);
        Control::Resume
    }

    /// An interrupt or error that nobody has asked for.
    #[inline(never)]
    fn unwanted(&mut self, cause: Cause) -> Control {
        let esr = switch::raw_syndrome();
        match cause {
            // Group 0 is not ours: whoever it is for takes it elsewhere. One that stays would bring the guest back for ever.
            Cause::Fiq if switch::is_fiq_pending() => self.end(Stop::Crash(Crash::Fiq), esr),
            Cause::Irq | Cause::Fiq if self.vm.phase() == Phase::Running => Control::Resume,
            Cause::Irq | Cause::Fiq => Control::Leave,
            Cause::SError if esr::is_uncontainable(esr) => panic::uncontainable(&self.vm.name),
            Cause::SError => self.end(Stop::Crash(Crash::SError), esr),
        }
    }

    /// The VM is to stop: once the guest is left, and its frame whole. `esr` is the syndrome by which it came here.
    pub(super) fn end(&mut self, stop: Stop, esr: u64) -> Control {
        self.ended = Some((stop, esr));
        Control::Leave
    }

    /// Stops the VM, and says with which syndrome and registers if it has crashed.
    pub(super) fn stop(&self, stop: Stop, esr: u64, frame: &Frame) {
        if let Stop::Crash(crash) = stop {
            report::crash(self.vm, self.vcpu.index, (crash, esr), frame);
        }
        self.vm.stop(stop);
    }
}

/// `ISS.imm16` of a call.
const IMM16: u64 = 0xffff;

impl Handler for Runner {
    #[inline(always)]
    fn synchronous(&mut self, general: &mut General, esr: u64) -> Control {
        self.counters.exit(esr);
        let is_lazy = || General::is_lazy(esr::named_register(esr));
        match esr::class(esr) {
            esr::ec::HVC64 if esr & IMM16 == 0 && exits::answer(general) => Control::Resume,
            esr::ec::HVC64 => self.call(general, esr),
            esr::ec::SMC64 => self.smc(general, esr),
            esr::ec::SYSREG if is_lazy() => Control::Whole,
            esr::ec::SYSREG => self.register(general, esr),
            esr::ec::DABT_LOWER if is_lazy() => Control::Whole,
            esr::ec::DABT_LOWER => self.access(general, esr),
            _ => self.other_class(general, esr),
        }
    }

    #[inline(always)]
    fn whole(&mut self, general: &mut General, esr: u64) -> Control {
        match esr::class(esr) {
            esr::ec::DABT_LOWER => self.access_whole(general, esr),
            esr::ec::SYSREG => self.register(general, esr),
            // No others ask for all registers.
            _ => self.other_class(general, esr),
        }
    }

    #[inline(always)]
    fn other(&mut self, cause: Cause) -> Control {
        if cause == Cause::Irq { self.interrupt() } else { self.unwanted(cause) }
    }
}

/// Handles the exits of a vCPU that shares its CPU.
pub(super) struct Sharer<'a>(pub(super) &'a mut Runner);

impl Sharer<'_> {
    /// Handles what may be for such a vCPU alone. Out of the way of all else.
    #[inline(never)]
    fn own(&mut self, general: &mut General, esr: u64) -> Control {
        if esr::class(esr) == esr::ec::WFX && General::is_lazy(esr::named_register(esr)) {
            return Control::Whole;
        }
        self.shared(general, esr).unwrap_or_else(|| self.0.synchronous(general, esr))
    }

    /// Handles what only such a vCPU comes to EL2 for.
    #[inline(always)]
    fn shared(&mut self, general: &mut General, esr: u64) -> Option<Control> {
        let shared = exits::shared(esr, general, self.0.vcpu.index, &mut self.0.hardware);
        if shared != Shared::Other {
            self.0.counters.exit(esr);
        }
        match shared {
            Shared::Other => None,
            Shared::Resume => Some(Control::Resume),
            Shared::Wait { until } => Some(self.0.leave(Stage::Waiting(until))),
            Shared::Yield => Some(self.0.leave(Stage::Yielding)),
        }
    }
}

impl Handler for Sharer<'_> {
    #[inline(always)]
    fn synchronous(&mut self, general: &mut General, esr: u64) -> Control {
        if exits::may_be_shared(esr, general) { self.own(general, esr) } else { self.0.synchronous(general, esr) }
    }

    fn whole(&mut self, general: &mut General, esr: u64) -> Control {
        self.shared(general, esr).unwrap_or_else(|| self.0.whole(general, esr))
    }

    #[inline(always)]
    fn other(&mut self, cause: Cause) -> Control {
        self.0.other(cause)
    }
}

/// Handles the exits of a vCPU that runs without firmware's workaround 2: EL2 has it on meanwhile.
pub(super) struct Bypassing<'a>(pub(super) &'a mut dyn Handler);

impl Bypassing<'_> {
    fn protected(&mut self, handle: impl FnOnce(&mut dyn Handler) -> Control) -> Control {
        firmware::protect_stores(true);
        let control = handle(self.0);
        if control == Control::Resume {
            firmware::protect_stores(false);
        }
        control
    }
}

impl Handler for Bypassing<'_> {
    fn synchronous(&mut self, general: &mut General, esr: u64) -> Control {
        self.protected(|handler| handler.synchronous(general, esr))
    }

    fn whole(&mut self, general: &mut General, esr: u64) -> Control {
        self.protected(|handler| handler.whole(general, esr))
    }

    fn other(&mut self, cause: Cause) -> Control {
        self.protected(|handler| handler.other(cause))
    }
}
