//! What is printed when a VM crashes, and of memory that fails.

use core::fmt;

use assay_el2::guest_regs;
use assay_model::life::Crash;
use assay_model::poison::{Event, Noted};
use assay_spec::addr::Ipa;
use assay_spec::cpu_id::VcpuId;
use assay_spec::frame::Frame;

use crate::console::say;
use crate::vm::Vm;

/// Prints a crashed vCPU's registers, and the syndrome by which it came to that.
pub(crate) fn crash(vm: &Vm, vcpu: VcpuId, (crash, esr): (Crash, u64), frame: &Frame) {
    let (name, cause) = (&vm.name, crash.name());
    say!(
        "error vm={name} vcpu={vcpu} reason=\"crash: {cause}\" esr_el2={:#x} pc={:#x} pstate={:#x}",
        esr,
        frame.at.pc,
        frame.at.pstate
    );
    for (row, values) in frame.general.x.chunks(4).enumerate() {
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

/// A vCPU's access has met an external abort at this address of its own: says so, once for each page.
pub(crate) fn external_abort(vm: &Vm, vcpu: VcpuId, va: Option<u64>) {
    let Some(ipa) = va.and_then(guest_regs::translate) else {
        return;
    };
    let noted = vm.poison.lock().note(ipa, Event::Poison);
    if let Noted::New(page) = noted {
        say!("memory {} event={} vcpu={vcpu}", Failed { vm, ipa: page.ipa }, page.event);
    }
}

/// A page of a VM's that has failed, or is to be used no more.
pub(crate) struct Failed<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) ipa: Ipa,
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vm, ipa } = self;
        let region = vm.place(*ipa).map_or("-", |place| &place.name);
        write!(f, "vm={} region={region} ipa={ipa}", vm.name)
    }
}
