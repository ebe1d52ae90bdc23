//! What only a vCPU that shares its CPU comes to EL2 for: to wait, and to ask where its stolen time is told.

use assay_spec::cpu_id::VcpuId;
use assay_spec::esr::{self, ec};
use assay_spec::frame::General;

use super::{Program, function};
use crate::smccc;

/// What such an exit comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shared {
    /// It is another, for [`answer`](super::answer), [`read_id`](super::read_id) and [`handle`](super::handle).
    Other,
    /// Answered: enter the guest again.
    Resume,
    /// The vCPU waits for an interrupt, the instruction is stepped over.
    Wait {
        /// It goes on at this virtual count at the latest: WFIT.
        until: Option<u64>,
    },
    /// The vCPU waits for another one, which may be waiting for its CPU: WFE, WFET. The instruction is stepped over.
    Yield,
}

/// Tells whether a synchronous exit may be one that [`shared`] answers.
#[inline(always)]
pub fn may_be_shared(esr: u64, general: &General) -> bool {
    match esr::class(esr) {
        ec::WFX => true,
        ec::HVC64 | ec::SMC64 => smccc::may_be_stolen_time(function(general)),
        _ => false,
    }
}

/// Looks at a synchronous exit of vCPU `vcpu` of a VM that shares CPUs, before anything else does.
#[inline(always)]
pub fn shared(esr: u64, general: &mut General, vcpu: VcpuId, program: &mut impl Program) -> Shared {
    match esr::class(esr) {
        ec::WFX => wait(esr, general, program),
        ec::HVC64 | ec::SMC64 if esr & 0xffff == 0 => call(esr, general, vcpu, program),
        _ => Shared::Other,
    }
}

/// WFI, WFIT, WFE and WFET. A WFE may complete at any time (DDI0487 D1.6.1).
fn wait(esr: u64, general: &General, program: &mut impl Program) -> Shared {
    /// ISS.TI, and ISS.RV: ISS.RN is valid (DDI0487 ESR_EL2, "ISS encoding for an exception from a WF*").
    const TI: u64 = 3;
    const RV: u64 = 1 << 2;
    let register = (esr >> 5 & 0x1f) as u8;
    let until = general.get(register);
    program.advance_either(esr & esr::IL != 0);
    match (esr & TI, esr & RV != 0) {
        (0, _) => Shared::Wait { until: None },
        (2, true) => Shared::Wait { until: Some(until) },
        (1 | 3, _) => Shared::Yield,
        _ => Shared::Resume,
    }
}

fn call(esr: u64, general: &mut General, vcpu: VcpuId, program: &mut impl Program) -> Shared {
    let Some(answer) = smccc::stolen_time(function(general), general.x[1], vcpu) else {
        return Shared::Other;
    };
    general.x[0] = answer;
    // The saved program counter is at an SMC, and past an HVC.
    if esr::class(esr) == ec::SMC64 {
        program.advance();
    }
    Shared::Resume
}

#[cfg(test)]
mod tests {
    use super::{Shared, may_be_shared, shared};
    use assay_spec::cpu_id::VcpuId;
    use assay_spec::esr::{IL, ec, encode};
    use assay_spec::frame::Frame;
    use assay_spec::smccc::{ARCH_FEATURES, PV_TIME_FEATURES, PV_TIME_ST, VERSION};

    const PC: u64 = 0x4020_0000;

    fn handle(esr: u64, frame: &mut Frame, vcpu: VcpuId) -> Shared {
        let may_be = may_be_shared(esr, &frame.general);
        let shared = shared(esr, &mut frame.general, vcpu, &mut frame.at);
        assert!(may_be || shared == Shared::Other, "{esr:#x}");
        shared
    }

    fn call(class: u8, function: u32, argument: u64) -> (Shared, Frame) {
        let mut frame = Frame::entering(PC, function.into());
        frame.general.x[1] = argument;
        (handle(encode(class, 0), &mut frame, VcpuId(3)), frame)
    }

    #[test]
    fn wfi_waits_for_an_interrupt_and_is_stepped_over() {
        let mut frame = Frame::entering(PC, 0);
        let waits = handle(encode(ec::WFX, 0), &mut frame, VcpuId(0));
        assert_eq!((waits, frame.at.pc), (Shared::Wait { until: None }, PC + 4));
    }

    #[test]
    fn wfit_waits_no_longer_than_its_register_says() {
        let mut frame = Frame::entering(PC, 0);
        frame.general.x[7] = 1234;
        let waits = handle(encode(ec::WFX, 7 << 5 | 1 << 2 | 2), &mut frame, VcpuId(0));
        assert_eq!(waits, Shared::Wait { until: Some(1234) });
        assert_eq!(frame.at.pc, PC + 4);
        // XZR is a count that has passed.
        let waits = handle(encode(ec::WFX, 31 << 5 | 1 << 2 | 2), &mut frame, VcpuId(0));
        assert_eq!(waits, Shared::Wait { until: Some(0) });
    }

    #[test]
    fn a_short_wfi_of_aarch32_is_stepped_over_as_such() {
        let mut frame = Frame::entering(PC, 0);
        // EL0 in T32, last instruction of an IT block.
        frame.at.pstate = 0x30 | 0xe8 >> 2 << 10;
        let waits = handle(encode(ec::WFX, 0) & !IL, &mut frame, VcpuId(0));
        assert_eq!((waits, frame.at.pc), (Shared::Wait { until: None }, PC + 2));
        assert_eq!(frame.at.pstate, 0x30);
    }

    #[test]
    fn wfe_yields_and_what_does_not_say_how_long_it_waits_goes_on() {
        for (iss, expected) in [(1, Shared::Yield), (3 | 1 << 2, Shared::Yield), (2, Shared::Resume)] {
            let mut frame = Frame::entering(PC, 0);
            let answer = handle(encode(ec::WFX, iss), &mut frame, VcpuId(0));
            assert_eq!((answer, frame.at.pc), (expected, PC + 4), "{iss}");
        }
    }

    #[test]
    fn stolen_time_is_announced_and_has_a_place_for_each_vcpu() {
        for (function, argument, expected) in [
            (ARCH_FEATURES, PV_TIME_FEATURES.into(), 0),
            (PV_TIME_FEATURES, PV_TIME_FEATURES.into(), 0),
            (PV_TIME_FEATURES, PV_TIME_ST.into(), 0),
            (PV_TIME_FEATURES, 0, u64::MAX),
            (PV_TIME_ST, 0, 0x090a_00c0),
        ] {
            let (answer, frame) = call(ec::HVC64, function, argument);
            assert_eq!((answer, frame.general.x[0], frame.at.pc), (Shared::Resume, expected, PC));
            let (answer, frame) = call(ec::SMC64, function, argument);
            assert_eq!((answer, frame.general.x[0], frame.at.pc), (Shared::Resume, expected, PC + 4));
        }
    }

    #[test]
    fn every_other_call_is_left_as_it_is() {
        for (function, argument) in [(VERSION, 0), (ARCH_FEATURES, VERSION.into()), (0x8400_0000, 0)] {
            let (answer, frame) = call(ec::HVC64, function, argument);
            assert_eq!((answer, frame.general.x[0], frame.at.pc), (Shared::Other, function.into(), PC));
        }
        let mut frame = Frame::entering(PC, PV_TIME_ST.into());
        assert_eq!(handle(encode(ec::HVC64, 1), &mut frame, VcpuId(0)), Shared::Other);
    }
}
