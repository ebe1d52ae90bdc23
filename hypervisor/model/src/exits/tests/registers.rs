//! System registers that trap.

use assay_spec::exit::{Exit, SysRegAccess};
use assay_spec::sysreg::SysReg;

use super::fixture::{CODE, RT, STARTED_AT, Vm};
use crate::exits::Next;
use crate::inject::Fault;
use crate::vgic::Version;

const UNDEFINED: Next = Next::Inject(Fault::Undefined);

fn vm() -> Vm {
    Vm::new(Version::V3, 1)
}

#[test]
fn a_feature_register_reads_as_the_vms() {
    let mut vm = vm();
    assert_eq!(vm.mrs(SysReg::ID_AA64PFR0_EL1), Next::Advance);
    assert_eq!(vm.general.get(RT), vm.machine.id.get(4, 0));
    assert_ne!(vm.general.get(RT), 0);
    assert_eq!(vm.mrs(SysReg::new(3, 0, 0, 7, 7)), Next::Advance);
    assert_eq!(vm.general.get(RT), 0, "not allocated");
}

#[test]
fn the_short_way_takes_every_read_of_a_feature_register() {
    for crm in 1..8 {
        for op2 in 0..8 {
            let mut vm = vm();
            // mrs x7, S3_0_C0_C<crm>_<op2>
            let esr = 0x18 << 26 | 1 << 25 | 3 << 20 | op2 << 17 | 7 << 5 | crm << 1 | 1;
            assert!(vm.fast_path(esr), "{crm} {op2}");
            assert_eq!(vm.machine.id.feature(crm, op2), Some(vm.general.x[7]));
            assert_eq!(vm.cpu.at.pc, CODE + 4);
        }
    }
}

#[test]
fn a_read_into_xzr_changes_no_register() {
    let mut vm = vm();
    let before = vm.frame();
    let access = SysRegAccess { register: SysReg::ID_AA64PFR0_EL1, read: true, rt: 31 };
    assert_eq!(vm.handle(Exit::SysReg(access)), Next::Advance);
    assert_eq!(vm.frame(), before);
}

#[test]
fn a_write_of_xzr_writes_zero() {
    let mut vm = vm();
    vm.msr(SysReg::CNTP_CVAL_EL0, 77);
    let access = SysRegAccess { register: SysReg::CNTP_CVAL_EL0, read: false, rt: 31 };
    assert_eq!(vm.handle(Exit::SysReg(access)), Next::Advance);
    vm.mrs(SysReg::CNTP_CVAL_EL0);
    assert_eq!(vm.general.get(RT), 0);
}

#[test]
fn what_the_vm_does_not_have_is_undefined_and_changes_nothing() {
    let mut vm = vm();
    let before = vm.frame();
    for register in
        [SysReg::PMCR_EL0, SysReg::LORID_EL1, SysReg::ERRIDR_EL1, SysReg::PMSCR_EL1, SysReg(0), SysReg(u16::MAX)]
    {
        assert_eq!(vm.mrs(register), UNDEFINED);
        let value = before.general.get(RT);
        assert_eq!(vm.msr(register, value), UNDEFINED);
    }
    let value = before.general.get(RT);
    assert_eq!(vm.msr(SysReg::ID_AA64PFR0_EL1, value), UNDEFINED);
    assert_eq!(vm.mrs(SysReg::ICC_SGI1R_EL1), UNDEFINED, "write-only");
    assert_eq!(vm.frame(), before);
}

#[test]
fn a_write_without_effect_is_stepped_over() {
    let mut vm = vm();
    for register in [SysReg::ACTLR_EL1, SysReg::OSLAR_EL1, SysReg::ICC_SRE_EL1] {
        assert_eq!(vm.msr(register, u64::MAX), Next::Advance);
    }
    assert_eq!(vm.msr(SysReg::DC_CISW, 0), Next::Advance);
    assert_eq!(vm.mrs(SysReg::ICC_SRE_EL1), Next::Advance);
    assert_eq!(vm.general.get(RT), 7);
}

#[test]
fn the_physical_timer_is_the_vcpus_own() {
    let mut vm = vm();
    assert_eq!(vm.msr(SysReg::CNTP_TVAL_EL0, 100), Next::Advance);
    vm.msr(SysReg::CNTP_CTL_EL0, 0b111);
    vm.mrs(SysReg::CNTP_CVAL_EL0);
    assert_eq!(vm.general.get(RT), STARTED_AT + 100, "it counts physical time");
    vm.cpu.now += 40;
    vm.mrs(SysReg::CNTP_TVAL_EL0);
    assert_eq!(vm.general.get(RT), 60);
    vm.mrs(SysReg::CNTP_CTL_EL0);
    assert_eq!(vm.general.get(RT), 0b011, "ISTATUS is read-only");
    vm.cpu.now += 60;
    vm.mrs(SysReg::CNTP_CTL_EL0);
    assert_eq!(vm.general.get(RT), 0b111);
    let armed = vm.cpu.armed.len();
    assert_eq!(armed, 2, "by the two writes, not by a read");
}
