//! What is printed when a VM crashes.

use assay_el2::{guest_regs, switch};
use assay_model::life::Crash;
use assay_spec::cpu_id::VcpuId;
use assay_spec::frame::Frame;

use crate::console::say;
use crate::vm::Vm;

/// Prints a crashed vCPU's registers.
pub(crate) fn crash(vm: &Vm, vcpu: VcpuId, crash: Crash, frame: &Frame) {
    let (name, cause) = (&vm.name, crash.name());
    say!(
        "error vm={name} vcpu={vcpu} reason=\"crash: {cause}\" esr_el2={:#x} pc={:#x} pstate={:#x}",
        switch::raw_syndrome(),
        frame.pc,
        frame.pstate
    );
    for (row, values) in frame.x.chunks(4).enumerate() {
        let value = |column: usize| values.get(column).copied().unwrap_or(0);
        say!(
            "error vm={name} vcpu={vcpu} x{}={:#x} {:#x} {:#x} {:#x}",
            row * 4,
            value(0),
            value(1),
            value(2),
            value(3)
        );
    }
    for (register, value) in guest_regs::report() {
        say!("error vm={name} vcpu={vcpu} {register}={value:#x}");
    }
}
