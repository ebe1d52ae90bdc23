//! Every trapped register has the answer of the table, and everything else is UNDEFINED.

use assay_spec::exit::SysRegAccess;
use assay_spec::sysreg::SysReg;

use super::{Answer, Sgi, answer};
use crate::idregs::tests::{gic_v2, gic_v3};
use crate::idregs::{COUNT, GuestId, index};
use crate::ptimer;

const WRITTEN: u64 = 0x1234_5678_9abc_def0;

fn read(register: SysReg, id: &GuestId) -> Answer {
    answer(SysRegAccess { register, read: true, rt: 0 }, id, WRITTEN)
}

fn write(register: SysReg, id: &GuestId) -> Answer {
    answer(SysRegAccess { register, read: false, rt: 0 }, id, WRITTEN)
}

#[test]
fn an_id_register_reads_as_the_guests_value_and_cannot_be_written() {
    let id = gic_v3();
    assert_eq!(read(SysReg::ID_AA64PFR0_EL1, &id), Answer::Read(id.get(4, 0)));
    assert_eq!(read(SysReg::ID_AA64MMFR2_EL1, &id), Answer::Read(id.get(7, 2)));
    assert_eq!(write(SysReg::ID_AA64PFR0_EL1, &id), Answer::Undefined);
}

#[test]
fn an_unallocated_id_register_reads_as_zero() {
    for (crm, op2) in [(3, 3), (4, 3), (5, 7), (6, 7), (7, 7)] {
        assert_eq!(read(SysReg::new(3, 0, 0, crm, op2), &gic_v3()), Answer::Read(0));
    }
}

#[test]
fn sgis_are_sent_by_writing_and_only_in_a_vm_with_a_gic_v3() {
    for (register, kind) in
        [(SysReg::ICC_SGI1R_EL1, Sgi::Sgi1), (SysReg::ICC_ASGI1R_EL1, Sgi::Asgi1), (SysReg::ICC_SGI0R_EL1, Sgi::Sgi0)]
    {
        assert_eq!(write(register, &gic_v3()), Answer::Sgi { kind, value: WRITTEN });
        assert_eq!(read(register, &gic_v3()), Answer::Undefined);
        assert_eq!(write(register, &gic_v2()), Answer::Undefined);
    }
}

#[test]
fn the_gic_registers_cannot_be_switched_off() {
    assert_eq!(read(SysReg::ICC_SRE_EL1, &gic_v3()), Answer::Read(7));
    assert_eq!(write(SysReg::ICC_SRE_EL1, &gic_v3()), Answer::Ignore);
    assert_eq!(read(SysReg::ICC_SRE_EL1, &gic_v2()), Answer::Undefined);
    assert_eq!(write(SysReg::ICC_SRE_EL1, &gic_v2()), Answer::Undefined);
}

#[test]
fn the_physical_timer_goes_to_its_emulation_both_ways() {
    for (register, timer) in [
        (SysReg::CNTP_CTL_EL0, ptimer::Register::Ctl),
        (SysReg::CNTP_CVAL_EL0, ptimer::Register::Cval),
        (SysReg::CNTP_TVAL_EL0, ptimer::Register::Tval),
    ] {
        assert_eq!(read(register, &gic_v2()), Answer::PhysTimer(timer));
        assert_eq!(write(register, &gic_v2()), Answer::PhysTimer(timer));
    }
}

#[test]
fn the_auxiliary_control_register_reads_as_zero_and_ignores_writes() {
    assert_eq!(read(SysReg::ACTLR_EL1, &gic_v3()), Answer::Read(0));
    assert_eq!(write(SysReg::ACTLR_EL1, &gic_v3()), Answer::Ignore);
}

#[test]
fn the_os_lock_exists_and_is_open() {
    assert_eq!(read(SysReg::OSLSR_EL1, &gic_v3()), Answer::Read(8));
    assert_eq!(write(SysReg::OSLSR_EL1, &gic_v3()), Answer::Undefined);
    assert_eq!(write(SysReg::OSLAR_EL1, &gic_v3()), Answer::Ignore);
    assert_eq!(read(SysReg::OSLAR_EL1, &gic_v3()), Answer::Undefined);
    for register in [SysReg::OSDLR_EL1, SysReg::DBGPRCR_EL1] {
        assert_eq!((read(register, &gic_v3()), write(register, &gic_v3())), (Answer::Read(0), Answer::Ignore));
    }
    assert_eq!(read(SysReg::MDRAR_EL1, &gic_v3()), Answer::Read(0));
}

#[test]
fn all_nine_set_way_operations_are_known_and_none_can_be_read() {
    let mut count = 0;
    for crm in [6, 10, 14] {
        for op2 in [2, 4, 6] {
            let register = SysReg::new(1, 0, 7, crm, op2);
            assert_eq!((write(register, &gic_v3()), read(register, &gic_v3())), (Answer::SetWay, Answer::Undefined));
            count += 1;
        }
    }
    assert_eq!(count, 9);
}

#[test]
fn tag_registers_are_undefined_when_they_trap() {
    for register in [SysReg::RGSR_EL1, SysReg::GCR_EL1, SysReg::TFSR_EL1, SysReg::TFSRE0_EL1, SysReg::GMID_EL1] {
        assert_eq!((read(register, &gic_v3()), write(register, &gic_v3())), (Answer::Undefined, Answer::Undefined));
    }
}

#[test]
fn the_pmu_and_what_else_is_not_built_is_undefined() {
    for register in [
        SysReg::PMCR_EL0,
        SysReg::PMCCNTR_EL0,
        SysReg::PMSCR_EL1,
        SysReg::AMCR_EL0,
        SysReg::ERRIDR_EL1,
        SysReg::LORID_EL1,
        SysReg::SCXTNUM_EL1,
        SysReg::TCR2_EL1,
        SysReg::ZCR_EL1,
        SysReg::APIAKEYLO_EL1,
        SysReg::new(2, 1, 0, 4, 0),  // TRCCONFIGR
        SysReg::new(3, 0, 15, 2, 1), // IMPLEMENTATION DEFINED
        SysReg::new(1, 3, 11, 0, 0), // IMPLEMENTATION DEFINED
    ] {
        assert_eq!((read(register, &gic_v3()), write(register, &gic_v3())), (Answer::Undefined, Answer::Undefined));
    }
}

#[test]
fn of_all_encodings_only_those_of_the_table_are_defined() {
    for id in [gic_v3(), gic_v2()] {
        let all = || (0..=u16::MAX).map(SysReg);
        let defined_reads = all().filter(|&register| read(register, &id) != Answer::Undefined).count();
        let defined_writes = all().filter(|&register| write(register, &id) != Answer::Undefined).count();
        // Reads: 56 ID registers, ACTLR, 3 of the timer, OSLSR, OSDLR, DBGPRCR, MDRAR, and SRE with a GICv3.
        // Writes: ACTLR, 3 of the timer, 9 set/way, OSLAR, OSDLR, DBGPRCR, and SRE and 3 SGIs with a GICv3.
        let (reads, writes) = if id.has_gic_registers() { (65, 20) } else { (64, 16) };
        assert_eq!((defined_reads, defined_writes), (reads, writes));
    }
}

#[test]
fn context_numbers_are_zero_where_the_vm_has_them() {
    for (csv2, is_there) in [(0, false), (1, false), (2, true), (3, true)] {
        let mut registers = [0; COUNT];
        registers[index(SysReg::ID_AA64PFR0_EL1)] = csv2 << 56;
        let id = GuestId::new(registers);
        for register in [SysReg::SCXTNUM_EL0, SysReg::SCXTNUM_EL1] {
            let wanted =
                if is_there { (Answer::Read(0), Answer::Ignore) } else { (Answer::Undefined, Answer::Undefined) };
            assert_eq!((read(register, &id), write(register, &id)), wanted, "{csv2}");
        }
    }
}
