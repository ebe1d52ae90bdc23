//! A handler that records its exits: a way of its own, so that the one without a record is not a bit longer.

use assay_el2::switch::{self, Cause, Control, Handler};
use assay_el2::{cpu, gic};
use assay_model::exit_trace::{Exit, Why};
use assay_spec::cpu_id::VcpuId;
use assay_spec::frame::General;

use crate::vm::Vm;

/// Records each exit of a vCPU and then does as the other handler does.
pub(super) struct Traced<'a, H> {
    vm: &'static Vm,
    vcpu: VcpuId,
    handler: &'a mut H,
}

impl<'a, H: Handler> Traced<'a, H> {
    pub(super) fn new(vm: &'static Vm, vcpu: VcpuId, handler: &'a mut H) -> Self {
        Self { vm, vcpu, handler }
    }

    fn record(&self, why: Why) {
        self.vm.trace.lock().push(Exit { ticks: cpu::counter(), pc: switch::place().pc, vcpu: self.vcpu, why });
    }
}

impl<H: Handler> Handler for Traced<'_, H> {
    #[inline(never)]
    fn synchronous(&mut self, general: &mut General, esr: u64) -> Control {
        self.record(Why::Exception(esr));
        self.handler.synchronous(general, esr)
    }

    fn whole(&mut self, general: &mut General, esr: u64) -> Control {
        self.handler.whole(general, esr)
    }

    #[inline(never)]
    fn other(&mut self, cause: Cause) -> Control {
        self.record(match cause {
            Cause::Irq => Why::Irq(gic::highest_pending()),
            Cause::Fiq => Why::Fiq,
            Cause::SError => Why::SError,
        });
        self.handler.other(cause)
    }
}
