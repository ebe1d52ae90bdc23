//! Golden syndromes, put together by hand from the field tables, and totality.

use proptest::prelude::{any, proptest};

use super::{CM, ISV, S1PTW, TAG_ACCESS, WNR};
use super::{
    class, class_name, decode, device_access, ec, encode, fsc, ipa_is_valid, is_unpermitted_write, named_register,
};
use crate::addr::{Ipa, Va};
use crate::exit::{Abort, Exit, SysRegAccess, Width};
use crate::sysreg::SysReg;

/// A data abort as it comes when nothing special is set.
const PLAIN: Abort = Abort {
    ipa: Ipa(0),
    va: Va(0),
    write: false,
    maintenance: false,
    table_walk: false,
    tag_access: false,
    status: 0,
    from_el0: false,
};

#[test]
fn hvc_carries_its_immediate() {
    // EC 0x16, IL, imm16 0x1234.
    assert_eq!(decode(0x5a00_1234, 0, 0), Exit::Hvc { imm: 0x1234 });
}

#[test]
fn smc_carries_its_immediate() {
    assert_eq!(decode(0x5e00_0000, 0, 0), Exit::Smc { imm: 0 });
    assert_eq!(decode(0x5e00_ffff, 0, 0), Exit::Smc { imm: 0xffff });
}

/// Whether it is a store, of which width and register, where the syndrome tells.
fn told(esr: u64) -> Option<(bool, Width, u8)> {
    device_access((esr, 0, 0)).map(|(_, access)| (access.is_store(), access.width(), access.register()))
}

#[test]
fn a_word_load_from_the_distributor_names_register_width_and_address() {
    // ldr w3, [x0], stage-2 translation fault level 3: EC 0x24, IL, ISV, SAS 2, SRT 3, DFSC 7.
    let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 3 << 16 | 7;
    // IPA 0x0800_0004: FIPA (bits 43:4) holds 0x08000.
    let exit = decode(esr, 0xffff_8000_1000_0004, 0x08000 << 4);
    assert_eq!(told(esr), Some((false, Width::W4, 3)));
    assert_eq!(
        exit,
        Exit::DataAbort(Abort { ipa: Ipa(0x0800_0004), va: Va(0xffff_8000_1000_0004), status: 7, ..PLAIN })
    );
}

#[test]
fn a_store_of_xzr_is_a_write_of_register_31() {
    // str xzr: SAS 3, SRT 31, SF, WnR, DFSC 6.
    let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 3 << 22 | 31 << 16 | 1 << 15 | 1 << 6 | 6;
    let Exit::DataAbort(abort) = decode(esr, 0x0900_0018, 0x9000 << 4) else { panic!() };
    assert_eq!(told(esr), Some((true, Width::W8, 31)));
    assert_eq!((abort.write, abort.ipa), (true, Ipa(0x0900_0018)));
}

#[test]
fn a_sign_extending_byte_load_says_so() {
    // ldrsb x7: SAS 0, SSE, SRT 7, SF.
    let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 7 << 16 | 1 << 15 | 7;
    assert_eq!(told(esr), Some((false, Width::W1, 7)));
    let (_, access) = device_access((esr, 0, 0)).expect("it is told");
    assert_eq!(access.extend(0x80), 0xffff_ffff_ffff_ff80);
}

#[test]
fn loads_stores_system_registers_and_wfit_name_their_general_register() {
    // str w21: SAS 2, SRT 21, WnR.
    assert_eq!(named_register(0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 21 << 16 | 1 << 6 | 7), 21);
    // mrs x28, ID_AA64PFR0_EL1: Op0 3, Rt 28, CRm 4, read; wfit x3: Rn 3, RV, TI 2.
    assert_eq!(named_register(0x18 << 26 | 1 << 25 | 3 << 20 | 28 << 5 | 4 << 1 | 1), 28);
    assert_eq!(named_register(0x01 << 26 | 1 << 25 | 3 << 5 | 1 << 2 | 2), 3);
    for call in [0x5a00_0000, 0x5e00_0000] {
        assert_eq!(named_register(call), 0);
    }
}

#[test]
fn a_pair_or_writeback_access_has_no_description() {
    // stp: ISV 0, WnR. The register fields are garbage then and must not be read.
    let esr = 0x24 << 26 | 1 << 25 | 0x1f << 16 | 1 << 6 | 7;
    let Exit::DataAbort(abort) = decode(esr, 0, 0) else { panic!() };
    assert_eq!((told(esr), abort.write), (None, true));
}

#[test]
fn a_tag_access_is_told_by_bit_41_whatever_the_status_says() {
    // QEMU 11.1 reports DFSC 0 here where the manual has a Permission fault.
    let esr = 1 << 41 | 0x24 << 26 | 1 << 25;
    let Exit::DataAbort(abort) = decode(esr, 0x1000, 0) else { panic!() };
    assert!(abort.tag_access);
    assert!(!ipa_is_valid(&abort));
    let Exit::InstrAbort(abort) = decode(1 << 41 | 0x20 << 26, 0, 0) else { panic!() };
    assert!(!abort.tag_access, "a fetch has no ISS2.TagAccess");
}

#[test]
fn a_fault_on_a_stage_1_walk_has_no_offset_in_its_page() {
    // S1PTW, DFSC 0x06; FAR is what was being translated.
    let esr = 0x24 << 26 | 1 << 25 | 1 << 7 | 6;
    let Exit::DataAbort(abort) = decode(esr, 0xabc, 0x40000 << 4) else { panic!() };
    assert_eq!((abort.ipa, abort.va, abort.table_walk), (Ipa(0x4000_0000), Va(0xabc), true));
}

#[test]
fn the_ipa_reaches_up_to_bit_51_and_ns_is_not_part_of_it() {
    let esr = 0x24 << 26 | 4;
    let Exit::DataAbort(abort) = decode(esr, 0xfff, u64::MAX) else { panic!() };
    assert_eq!(abort.ipa, Ipa(0x000f_ffff_ffff_ffff));
}

#[test]
fn the_ipa_register_is_not_trusted_after_a_permission_fault() {
    let at = |status| Abort { status, ..PLAIN };
    assert!(ipa_is_valid(&at(0b00_0111)), "translation, level 3");
    assert!(ipa_is_valid(&at(0b00_1001)), "access flag, level 1");
    assert!(ipa_is_valid(&at(0)), "address size");
    assert!(!ipa_is_valid(&at(fsc::PERMISSION + 2)));
    assert!(!ipa_is_valid(&at(fsc::EXTERNAL)));
    assert!(!ipa_is_valid(&at(0b10_0001)), "alignment");
    assert!(ipa_is_valid(&Abort { table_walk: true, ..at(fsc::PERMISSION + 2) }));
}

#[test]
fn an_instruction_abort_never_claims_to_be_a_write() {
    let Exit::InstrAbort(abort) = decode(0x20 << 26 | 1 << 25 | 1 << 6 | 1 << 24 | 6, 0x80, 0) else { panic!() };
    assert_eq!((abort.write, abort.va, abort.status), (false, Va(0x80), 6));
}

#[test]
fn reading_an_id_register_names_it_and_the_target() {
    // mrs x5, ID_AA64PFR0_EL1 = S3_0_C0_C4_0: Op0 3, Op2 0, Op1 0, CRn 0, Rt 5, CRm 4, read.
    let esr = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 5 | 4 << 1 | 1;
    let access = SysRegAccess { register: SysReg::ID_AA64PFR0_EL1, read: true, rt: 5 };
    assert_eq!(decode(esr, 0, 0), Exit::SysReg(access));
}

#[test]
fn writing_the_sgi_register_names_it_and_the_source() {
    // msr ICC_SGI1R_EL1, x0 = S3_0_C12_C11_5.
    let esr = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
    let access = SysRegAccess { register: SysReg::ICC_SGI1R_EL1, read: false, rt: 0 };
    assert_eq!(decode(esr, 0, 0), Exit::SysReg(access));
}

#[test]
fn each_field_of_a_register_lands_where_the_type_has_it() {
    // S2_5_C10_C6_3, read into x30.
    let esr = 0x18 << 26 | 2 << 20 | 3 << 17 | 5 << 14 | 10 << 10 | 30 << 5 | 6 << 1 | 1;
    let access = SysRegAccess { register: SysReg::new(2, 5, 10, 6, 3), read: true, rt: 30 };
    assert_eq!(decode(esr, 0, 0), Exit::SysReg(access));
}

#[test]
fn wfi_and_wfe_are_told_apart_with_and_without_timeout() {
    for (ti, event) in [(0, false), (1, true), (2, false), (3, true)] {
        for (il, wide) in [(0, false), (1 << 25, true)] {
            let exit = decode(0x01 << 26 | il | ti, 0, 0);
            assert_eq!(exit, Exit::Wfx { event, wide });
        }
    }
}

#[test]
fn fp_sve_and_sme_traps_are_one_exit() {
    for class in [0x07, 0x19, 0x1d] {
        assert_eq!(decode(class << 26, 0, 0), Exit::FpTrap);
    }
}

#[test]
fn a_class_with_no_meaning_here_is_unknown() {
    for class in [0x00, 0x09, 0x0e, 0x12, 0x1a, 0x22, 0x25, 0x21, 0x2f, 0x3c, 0x3f] {
        assert_eq!(decode(class << 26, 0, 0), Exit::Unknown);
    }
}

#[test]
fn bits_above_the_syndrome_change_nothing_but_the_tag_bit() {
    let esr = 0x5a00_0007;
    assert_eq!(decode(esr | 0xffff_ffff << 32, 0, 0), decode(esr, 0, 0));
}

#[test]
fn an_encoded_syndrome_has_its_class_and_il() {
    assert_eq!(encode(ec::DABT_SAME, 0x10), 0x9600_0010);
    assert_eq!(encode(ec::UNKNOWN, 0), 0x0200_0000);
    assert_eq!(class(encode(ec::SERROR, 0)), ec::SERROR);
}

#[test]
fn every_class_that_is_decoded_has_a_name() {
    for class in 0..64 {
        if decode(u64::from(class) << 26, 0, 0) != Exit::Unknown {
            assert_ne!(class_name(class), "reserved");
        }
    }
    assert_eq!(class_name(0x24), "data-abort");
    assert_eq!(class_name(0x02), "reserved");
}

proptest! {
    #[test]
    fn every_syndrome_decodes(esr in any::<u64>(), far in any::<u64>(), hpfar in any::<u64>()) {
        match decode(esr, far, hpfar) {
            Exit::DataAbort(abort) => {
                assert_eq!(abort.ipa.0 >> 52, 0);
                let access = device_access((esr, far, hpfar));
                let is_told = esr >> 24 & 1 == 1 && ipa_is_valid(&abort) && !abort.table_walk;
                assert_eq!(access.is_some(), is_told);
                if let Some((ipa, access)) = access {
                    assert!(access.register() < 32 && access.is_store() == abort.write && ipa == abort.ipa);
                }
            }
            Exit::InstrAbort(abort) => assert!(!abort.write && !abort.tag_access),
            Exit::SysReg(access) => {
                let (op0, op1, crn, crm, op2) = access.register.fields();
                let rebuilt = u64::from(op0) << 20 | u64::from(op2) << 17 | u64::from(op1) << 14
                    | u64::from(crn) << 10 | u64::from(access.rt) << 5 | u64::from(crm) << 1 | u64::from(access.read);
                assert_eq!(rebuilt, esr & 0x3f_ffff);
            }
            _ => {}
        }
    }
}

#[test]
fn a_write_that_stage_2_does_not_permit_is_told_from_others() {
    let permission = 0x0f | WNR | ISV;
    assert!(is_unpermitted_write(encode(ec::DABT_LOWER, permission)));
    // Cache maintenance is told as a write, and has no register.
    assert!(is_unpermitted_write(encode(ec::DABT_LOWER, 0x0d | WNR | CM)));
    for iss in [permission & !ISV, permission & !WNR, permission | S1PTW, 0x07 | WNR | ISV, 0x21 | WNR | ISV] {
        assert!(!is_unpermitted_write(encode(ec::DABT_LOWER, iss)), "{iss:#x}");
    }
    assert!(!is_unpermitted_write(encode(ec::DABT_LOWER, permission) | TAG_ACCESS));
    assert!(!is_unpermitted_write(encode(ec::IABT_LOWER, permission)));
}

#[test]
fn an_external_abort_is_told_from_the_guests_own_faults() {
    for (status, is_external) in
        [(0x04, false), (0x0d, false), (0x10, true), (0x11, false), (0x12, false), (0x15, true)]
    {
        for class in [ec::DABT_LOWER, ec::IABT_LOWER] {
            assert_eq!(super::external_abort(encode(class, status)).is_some(), is_external, "{status:#x}");
        }
        assert_eq!(super::external_abort(encode(ec::SYSREG, status)), None);
    }
    assert_eq!(super::external_abort(encode(ec::DABT_LOWER, 0x10)), Some(true));
    assert_eq!(super::external_abort(encode(ec::DABT_LOWER, 0x10 | 1 << 10)), Some(false));
    assert_eq!(super::external_abort(encode(ec::DABT_LOWER, 0x16)), Some(false));
}

#[test]
fn only_an_serror_with_ras_syndrome_can_be_uncontainable() {
    assert!(super::is_uncontainable(encode(ec::SERROR, 0x11)));
    // Restartable; no RAS syndrome; IMPLEMENTATION DEFINED; no SError.
    for (class, iss) in
        [(ec::SERROR, 0x11 | 3 << 10), (ec::SERROR, 0), (ec::SERROR, 1 << 24 | 0x11), (ec::DABT_LOWER, 0x11)]
    {
        assert!(!super::is_uncontainable(encode(class, iss)), "{class:#x} {iss:#x}");
    }
}
