//! Which traps which machine and VM make.

use assay_spec::hcr::{self, cptr, hcrx, mdcr};
use assay_spec::sysreg::SysReg;
use assay_spec::traps::TrapConfig;

use super::traps_of;
use crate::idregs::tests::machines::{FULL, PLAIN, cortex_a72, host, neoverse_n1, neoverse_n2};
use crate::idregs::{HostId, VmFeatures};

/// On a machine whose CPUs are all the same.
fn on(host: &HostId, features: VmFeatures, dedicated: bool) -> TrapConfig {
    traps_of(host, host, features, dedicated)
}

#[test]
fn what_only_some_cpus_have_traps_there_and_is_left_alone_elsewhere() {
    let (big, little) = (neoverse_n2(), cortex_a72());
    let common = big.minimum(&little);
    for dedicated in [true, false] {
        let (there, elsewhere) =
            (traps_of(&common, &big, FULL, dedicated), traps_of(&common, &little, FULL, dedicated));
        let some = hcr::TERR | hcr::TLOR | hcr::TID5;
        assert_eq!((there.hcr & some, elsewhere.hcr & some), (some, 0));
        assert_eq!((there.cptr & cptr::TAM, elsewhere.cptr & cptr::TAM), (cptr::TAM, 0));
        assert_eq!((there.mpam, elsewhere.mpam), (true, false));
        assert_eq!((there.fgt, elsewhere.fgt), (big.fgt(), 0));
        // What is offered, and how the tables read, is the same on all.
        let same = hcr::ATA | hcr::FWB | hcr::API | hcr::APK | hcr::TSW;
        assert_eq!(there.hcr & same, elsewhere.hcr & same);
        assert_eq!((there.hcr & same, there.cptr & cptr::TZ), (0, cptr::TZ));
    }
    let hcx = host(&[(SysReg::ID_AA64MMFR1_EL1, 1 << 40)]);
    let hcrx = |here| traps_of(&hcx.minimum(&little), here, FULL, true).hcrx;
    assert_eq!((hcrx(&hcx), hcrx(&little)), (Some(0), None));
}

#[test]
fn a_plain_vm_on_a_plain_cpu_has_this_trap_configuration() {
    let config = on(&cortex_a72(), PLAIN, true);
    // VM SWIO PTW FMO IMO AMO, TID3 TSC TIDCP TACR, RW.
    assert_eq!(config.hcr, 0x803c_003f);
    assert_eq!(config.hcrx, None);
    // RES1 13, 9, 7:0; TSM, TZ; TTA.
    assert_eq!(config.cptr, 0x0010_33ff);
    // TPMCR TPM TDRA TPMS TTRF.
    assert_eq!(config.mdcr, 0x0008_4860);
    assert_eq!(config.cnthctl, 1);
    assert_eq!((config.fgt, config.mpam), (0, false));
}

#[test]
fn hiding_mte_takes_ata_tid5_tid3_and_dct_together() {
    let mte = |hcr: u64| hcr & (hcr::ATA | hcr::TID5 | hcr::TID3 | hcr::DCT);
    let hidden = on(&neoverse_n2(), VmFeatures { mte: false, ..FULL }, true);
    assert_eq!(mte(hidden.hcr), hcr::TID5 | hcr::TID3);
    let shown = on(&neoverse_n2(), FULL, true);
    assert_eq!(mte(shown.hcr), hcr::ATA | hcr::TID3);
    let absent = on(&neoverse_n1(), FULL, true);
    assert_eq!(mte(absent.hcr), hcr::TID3, "both bits are RES0 without MTE");
}

#[test]
fn sve_and_pauth_trap_unless_they_are_offered() {
    let (plain, full) = (on(&neoverse_n2(), PLAIN, true), on(&neoverse_n2(), FULL, true));
    assert_eq!((plain.cptr & cptr::TZ, full.cptr & cptr::TZ), (cptr::TZ, 0));
    assert_eq!(plain.hcr & (hcr::API | hcr::APK), 0);
    assert_eq!(full.hcr & (hcr::API | hcr::APK), hcr::API | hcr::APK);
    for config in [plain, full] {
        assert_eq!(config.cptr & (cptr::TSM | cptr::TFP), cptr::TSM, "SME always traps, FP never");
    }
}

#[test]
fn what_the_host_has_and_no_vm_gets_is_trapped() {
    let config = on(&neoverse_n2(), FULL, true);
    assert_eq!(config.hcr & (hcr::TERR | hcr::TEA), hcr::TERR | hcr::TEA, "RAS");
    assert_ne!(config.hcr & hcr::TLOR, 0, "LORegions");
    assert_ne!(config.hcr & hcr::FWB, 0);
    assert_ne!(config.cptr & cptr::TAM, 0, "AMU");
    assert!(config.mpam);
    assert_eq!(config.hcr & (hcr::E2H | hcr::DC | hcr::CD), 0);
    let hcx = on(&host(&[(SysReg::ID_AA64MMFR1_EL1, 1 << 40)]), FULL, true);
    assert_eq!(hcx.hcrx, Some(0));
}

#[test]
fn memory_copies_are_on_where_all_cpus_have_them_and_the_software_context_number_always_traps() {
    let all = host(&[
        (SysReg::ID_AA64PFR0_EL1, 3 << 56),
        (SysReg::ID_AA64ISAR2_EL1, 1 << 16),
        (SysReg::ID_AA64MMFR1_EL1, 1 << 40),
    ]);
    let hcx = host(&[(SysReg::ID_AA64PFR0_EL1, 1 << 56), (SysReg::ID_AA64MMFR1_EL1, 1 << 40)]);
    let of = |common: &HostId| {
        let config = traps_of(common, &all, PLAIN, true);
        // EnSCXT.
        (config.hcrx, config.hcr & 1 << 53)
    };
    assert_eq!(of(&all), (Some(hcrx::MSCEN), 0));
    assert_eq!(of(&all.minimum(&hcx)), (Some(0), 0), "only some CPUs have them");
}

#[test]
fn a_vm_with_a_pmu_reaches_it_and_el2_is_not_counted_as_far_as_the_cpu_can() {
    let version = |version: u64| host(&[(SysReg::ID_AA64DFR0_EL1, version << 8)]);
    let pmu = mdcr::TPM | mdcr::TPMCR | mdcr::HPMD | mdcr::HCCD;
    for (version, there) in [(version(1), 0), (version(4), mdcr::HPMD), (version(6), mdcr::HPMD | mdcr::HCCD)] {
        assert_eq!(on(&version, FULL, true).mdcr & pmu, there);
        assert_eq!(on(&version, PLAIN, true).mdcr & pmu, mdcr::TPM | mdcr::TPMCR);
    }
    assert_eq!(on(&version(0), FULL, true).mdcr & pmu, mdcr::TPM | mdcr::TPMCR);
}

#[test]
fn a_dedicated_vcpu_waits_without_leaving_and_a_shared_one_yields() {
    let shared = hcr::TWI | hcr::TWE | hcr::FB | hcr::BSU_IS | hcr::TSW;
    assert_eq!(on(&neoverse_n2(), FULL, true).hcr & shared, 0);
    assert_eq!(on(&neoverse_n2(), FULL, false).hcr & shared, shared);
    assert_eq!(on(&neoverse_n2(), FULL, true).mdcr & mdcr::TDOSA, 0);
    assert_eq!(on(&neoverse_n2(), FULL, false).mdcr & mdcr::TDOSA, mdcr::TDOSA);
    let old = on(&cortex_a72(), FULL, false).hcr;
    assert_eq!(old & shared, shared & !hcr::TSW, "set/way, without FWB");
}
