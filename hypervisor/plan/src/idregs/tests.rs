//! ID registers of real CPUs, and the promises that hold for all of them.

use proptest::array::uniform8;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use assay_spec::sysreg::SysReg;

use self::machines::{FULL, PLAIN, cortex_a72, host, neoverse_n1, neoverse_n2};
use assay_model::idregs::GuestId;

use super::{HostId, VmFeatures, guest_id};

pub(crate) mod machines;

fn field(id: &GuestId, register: SysReg, shift: u32) -> u64 {
    id.read(register).unwrap() >> shift & 15
}

#[test]
fn a_guest_on_cortex_a72_reads_these_values() {
    let id = guest_id(&cortex_a72(), VmFeatures { gic_v3: false, ..FULL });
    // EL0 may be AArch32, EL1 may not, EL2 and EL3 are not there; FP and Advanced SIMD are.
    assert_eq!(id.get(4, 0), 0x0000_0012);
    assert_eq!(id.get(4, 1), 0);
    // 6 breakpoints, 4 watchpoints, 2 context-aware.
    assert_eq!(id.get(5, 0), 0x1030_5106);
    assert_eq!(id.get(6, 0), 0x0001_1120);
    // 44 bits; SNSMem, which only Secure state would notice, is left out.
    assert_eq!(id.get(7, 0), 0x0000_0124);
    assert_eq!((id.get(7, 1), id.get(7, 2)), (0, 0));
}

#[test]
fn a_guest_on_neoverse_n1_reads_these_values() {
    let id = guest_id(&neoverse_n1(), FULL);
    assert_eq!(id.get(4, 0), 0x1100_0000_0111_0012);
    assert_eq!(id.get(4, 1), 0x20);
    assert_eq!(id.get(5, 0), 0x1030_5406);
    assert_eq!(id.get(6, 0), 0x0000_1000_1021_1120);
    assert_eq!(id.get(6, 1), 0x0010_0001);
    assert_eq!(id.get(7, 0), 0x0010_0125);
    assert_eq!(id.get(7, 1), 0x0020_2002);
    assert_eq!(id.get(7, 2), 0x0011);
}

#[test]
fn a_guest_with_everything_on_neoverse_n2_reads_these_values() {
    let id = guest_id(&neoverse_n2(), FULL);
    assert_eq!(id.get(4, 0), 0x1201_0001_0111_0012);
    assert_eq!(id.get(4, 1), 0x0221);
    assert_eq!(id.get(4, 4), 0x0000_1101_0011_0021);
    // DoubleLock 0xf (none) stays; SPE and trace are gone; debug is Armv8.0.
    assert_eq!(id.get(5, 0), 0x0000_00f0_1030_5606);
    assert_eq!(id.get(6, 0), 0x1221_1111_1021_2120);
    assert_eq!(id.get(6, 1), 0x0011_1111_0121_1052);
    assert_eq!(id.get(7, 0), 0x0010_0125);
    assert_eq!(id.get(7, 2), 0x1021_0011_1010_0011);
}

#[test]
fn a_vm_that_asks_for_nothing_sees_no_mte_no_sve_and_no_pauth() {
    let id = guest_id(&neoverse_n2(), PLAIN);
    assert_eq!(field(&id, SysReg::ID_AA64PFR0_EL1, 32), 0);
    assert_eq!(id.get(4, 4), 0);
    assert_eq!(id.get(4, 1), 0x0021);
    assert_eq!(id.get(6, 1), 0x0011_1111_0021_1002);
}

#[test]
fn hiding_mte_hides_all_six_of_its_fields_together() {
    let all_ones = HostId::new([[u64::MAX; 8]; 7]);
    let hidden = guest_id(&all_ones, VmFeatures { mte: false, ..FULL });
    let shown = guest_id(&all_ones, FULL);
    for (register, shift, name) in [
        (SysReg::ID_AA64PFR1_EL1, 8, "MTE"),
        (SysReg::ID_AA64PFR1_EL1, 40, "MTE_frac"),
        (SysReg::ID_AA64PFR1_EL1, 52, "MTEX"),
        (SysReg::ID_AA64PFR2_EL1, 4, "MTESTOREONLY"),
        (SysReg::ID_AA64PFR2_EL1, 8, "MTEFAR"),
    ] {
        assert_eq!(field(&hidden, register, shift), 0, "{name}");
        assert_eq!(field(&shown, register, shift), 15, "{name}");
    }
    // MTEPERM is about stage 2: never the guest's.
    assert_eq!(field(&shown, SysReg::ID_AA64PFR2_EL1, 0), 0);
    assert_eq!(hidden.get(4, 2), 0);
}

#[test]
fn mte_of_instructions_only_is_no_mte() {
    let host = host(&[(SysReg::ID_AA64PFR1_EL1, 0x100), (SysReg::ID_AA64PFR2_EL1, 1)]);
    assert!(!host.mte() && !host.mte_perm());
    assert_eq!(guest_id(&host, FULL).get(4, 1), 0);
}

#[test]
fn the_gic_field_follows_the_vm_and_not_the_host() {
    let without = guest_id(&neoverse_n1(), VmFeatures { gic_v3: false, ..FULL });
    assert!(!without.has_gic_registers());
    let gic_v4_1 = host(&[(SysReg::ID_AA64PFR0_EL1, 3 << 24)]);
    assert_eq!(field(&guest_id(&gic_v4_1, FULL), SysReg::ID_AA64PFR0_EL1, 24), 1);
}

#[test]
fn a_host_without_fp_or_a_64k_granule_says_so_to_its_guest() {
    let host = host(&[(SysReg::ID_AA64PFR0_EL1, 0x00ff_0011), (SysReg::ID_AA64MMFR0_EL1, 0x0f00_0000)]);
    let id = guest_id(&host, FULL);
    assert_eq!(id.get(4, 0), 0x01ff_0011);
    assert_eq!(id.get(7, 0), 0x0f00_0000);
}

#[test]
fn fifty_two_bit_addresses_are_hidden_from_every_granule() {
    // PARange 6, TGran16 2, TGran64 0, TGran4 1.
    let host = host(&[(SysReg::ID_AA64MMFR0_EL1, 0x1020_0006)]);
    assert_eq!(guest_id(&host, FULL).get(7, 0), 0x0010_0005);
}

#[test]
fn aarch32_registers_are_there_only_if_el0_can_be_aarch32() {
    let a72 = guest_id(&cortex_a72(), PLAIN);
    assert_eq!(a72.get(1, 0), 0x131);
    assert_eq!(a72.get(1, 1), 0x1_0000, "the timer, and nothing of higher levels");
    assert_eq!(a72.get(1, 2), 6, "no AArch32 PMU");
    assert_eq!(a72.get(2, 5), 0x0001_1121);
    assert_eq!(a72.get(3, 0), 0x1011_0222);
    let mut table = [[u64::MAX; 8]; 7];
    table[3][0] = 0x11; // EL0 and EL1 AArch64 only
    let id = guest_id(&HostId::new(table), FULL);
    for crm in 1..=3 {
        for op2 in 0..8 {
            assert_eq!(id.get(crm, op2), 0);
        }
    }
}

#[test]
fn csv2_is_told_as_it_is_and_its_fraction_never_promises_the_software_context_number() {
    for csv2 in 0..4 {
        let host = host(&[(SysReg::ID_AA64PFR0_EL1, csv2 << 56), (SysReg::ID_AA64PFR1_EL1, 2 << 32)]);
        let id = guest_id(&host, FULL);
        assert_eq!(field(&id, SysReg::ID_AA64PFR0_EL1, 56), csv2);
        assert_eq!(field(&id, SysReg::ID_AA64PFR1_EL1, 32), 1);
        assert_eq!(id.has_context_numbers(), csv2 >= 2);
    }
}

#[test]
fn what_el2_asks_of_these_machines_has_these_answers() {
    let (a72, n1, n2) = (cortex_a72(), neoverse_n1(), neoverse_n2());
    assert_eq!([&a72, &n1, &n2].map(HostId::pa_range_bits), [44, 48, 48]);
    assert_eq!([&a72, &n1, &n2].map(HostId::fwb), [false, false, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::mte), [false, false, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::vmid16), [false, true, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::crc32), [true, true, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::lse), [false, true, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::rng), [false, false, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::sve), [false, false, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::pauth), [false, false, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::ras), [false, true, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::pan), [false, true, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::ssbs), [false, true, true]);
    assert_eq!([&a72, &n1, &n2].map(HostId::aarch32_el0), [true, true, true]);
}

#[test]
fn the_pmu_is_told_of_where_it_is_asked_for_and_up_to_version_p8() {
    for (has, sees) in [(0, 0), (1, 1), (6, 6), (8, 8), (9, 8), (15, 0)] {
        let host = host(&[(SysReg::ID_AA64DFR0_EL1, has << 8)]);
        assert_eq!(field(&guest_id(&host, FULL), SysReg::ID_AA64DFR0_EL1, 8), sees);
        assert_eq!(field(&guest_id(&host, PLAIN), SysReg::ID_AA64DFR0_EL1, 8), 0);
    }
}

#[test]
fn the_minimum_of_two_kinds_of_cpu_is_taken_field_by_field() {
    let common = neoverse_n2().minimum(&cortex_a72());
    assert_eq!(common.read(SysReg::ID_AA64PFR0_EL1), 0x0000_1112);
    assert_eq!(common.read(SysReg::ID_AA64MMFR0_EL1), 0x0000_1124);
    assert!(!common.mte() && !common.fwb());
    assert!(common.crc32());
}

#[test]
fn a_negative_field_is_less_than_zero_in_the_minimum() {
    let with = host(&[(SysReg::ID_AA64PFR0_EL1, 0x0011_0000)]);
    let without = host(&[(SysReg::ID_AA64PFR0_EL1, 0x00ff_0000)]);
    assert_eq!(with.minimum(&without).read(SysReg::ID_AA64PFR0_EL1), 0x00ff_0000);
    let stuck = host(&[(SysReg::ID_AA64MMFR4_EL1, 0xf << 24)]);
    assert_eq!(with.minimum(&stuck).field(SysReg::ID_AA64MMFR4_EL1, 24), 0xf);
    // 0xf of an unsigned field is the most there can be.
    let many = host(&[(SysReg::ID_AA64DFR0_EL1, 0xf000)]);
    assert_eq!(many.minimum(&cortex_a72()).field(SysReg::ID_AA64DFR0_EL1, 12), 5);
}

#[test]
fn outside_the_feature_id_space_there_is_no_value() {
    let id = guest_id(&neoverse_n2(), FULL);
    for register in [SysReg::MIDR_EL1, SysReg::MPIDR_EL1, SysReg::SCTLR_EL1, SysReg(0), SysReg(u16::MAX)] {
        assert_eq!(id.read(register), None);
        assert_eq!(neoverse_n2().read(register), 0);
    }
    assert_eq!((id.get(0, 0), id.get(8, 0)), (0, 0));
}

/// Fields that no guest may ever see, whatever the host has and the VM asks for: register, lowest bit, name.
const NEVER: &[(SysReg, u32, &str)] = &[
    (SysReg::ID_AA64PFR0_EL1, 8, "EL2"),
    (SysReg::ID_AA64PFR0_EL1, 12, "EL3"),
    (SysReg::ID_AA64PFR0_EL1, 28, "RAS"),
    (SysReg::ID_AA64PFR0_EL1, 36, "SEL2"),
    (SysReg::ID_AA64PFR0_EL1, 40, "MPAM"),
    (SysReg::ID_AA64PFR0_EL1, 44, "AMU"),
    (SysReg::ID_AA64PFR0_EL1, 52, "RME"),
    (SysReg::ID_AA64PFR1_EL1, 12, "RAS_frac"),
    (SysReg::ID_AA64PFR1_EL1, 16, "MPAM_frac"),
    (SysReg::ID_AA64PFR1_EL1, 24, "SME"),
    (SysReg::ID_AA64PFR1_EL1, 36, "NMI"),
    (SysReg::ID_AA64PFR1_EL1, 44, "GCS"),
    (SysReg::ID_AA64PFR1_EL1, 48, "THE"),
    (SysReg::ID_AA64PFR2_EL1, 0, "MTEPERM"),
    (SysReg::ID_AA64PFR2_EL1, 32, "FPMR"),
    (SysReg::ID_AA64DFR0_EL1, 4, "TraceVer"),
    (SysReg::ID_AA64DFR0_EL1, 32, "PMSVer"),
    (SysReg::ID_AA64DFR0_EL1, 40, "TraceFilt"),
    (SysReg::ID_AA64DFR0_EL1, 44, "TraceBuffer"),
    (SysReg::ID_AA64DFR0_EL1, 52, "BRBE"),
    (SysReg::ID_AA64ISAR0_EL1, 24, "TME"),
    (SysReg::ID_AA64ISAR1_EL1, 60, "LS64"),
    (SysReg::ID_AA64ISAR2_EL1, 32, "SYSREG_128"),
    (SysReg::ID_AA64MMFR0_EL1, 56, "FGT"),
    (SysReg::ID_AA64MMFR1_EL1, 8, "VH"),
    (SysReg::ID_AA64MMFR1_EL1, 16, "LO"),
    (SysReg::ID_AA64MMFR1_EL1, 40, "HCX"),
    (SysReg::ID_AA64MMFR2_EL1, 12, "IESB"),
    (SysReg::ID_AA64MMFR2_EL1, 24, "NV"),
    (SysReg::ID_AA64MMFR2_EL1, 40, "FWB"),
];

#[test]
fn what_is_not_built_is_hidden_even_on_a_cpu_that_has_everything() {
    let id = guest_id(&HostId::new([[u64::MAX; 8]; 7]), FULL);
    for &(register, shift, name) in NEVER {
        assert_eq!(field(&id, register, shift), 0, "{name}");
    }
    for register in [
        SysReg::ID_AA64SMFR0_EL1,
        SysReg::ID_AA64FPFR0_EL1,
        SysReg::ID_AA64DFR1_EL1,
        SysReg::ID_AA64MMFR3_EL1,
        SysReg::ID_AA64MMFR4_EL1,
        SysReg::ID_AFR0_EL1,
        SysReg::ID_DFR1_EL1,
    ] {
        assert_eq!(id.read(register), Some(0), "{register:?}");
    }
    assert_eq!(field(&id, SysReg::ID_AA64PFR0_EL1, 4), 1, "EL1 is AArch64 only");
    assert_eq!(field(&id, SysReg::ID_AA64DFR0_EL1, 0), 6, "debug is Armv8.0");
}

proptest! {
    #[test]
    fn a_guest_never_sees_more_than_its_host_has(rows in uniform8(uniform8(any::<u64>())), features in 0u8..32) {
        let table: [[u64; 8]; 7] = core::array::from_fn(|crm| rows[crm]);
        let host = HostId::new(table);
        let asked = VmFeatures {
            mte: features & 1 != 0,
            sve: features & 2 != 0,
            pauth: features & 4 != 0,
            gic_v3: features & 8 != 0,
            pmu: features & 16 != 0,
        };
        let id = guest_id(&host, asked);
        for crm in 1..8 {
            for op2 in 0..8 {
                let register = SysReg::new(3, 0, 0, crm, op2);
                for shift in (0..64).step_by(4) {
                    let (has, sees) = (u64::from(host.field(register, shift)), field(&id, register, shift));
                    // The two that are set, not passed: EL1, and the GIC, which the monitor matches to the host.
                    let is_set = register == SysReg::ID_AA64PFR0_EL1 && (shift == 4 || shift == 24);
                    prop_assert!(is_set || sees <= has, "{register:?} bit {shift}: {sees} > {has}");
                }
            }
        }
    }

    #[test]
    fn the_minimum_does_not_depend_on_the_order_of_the_cpus(
        a in uniform8(any::<u64>()), b in uniform8(any::<u64>()), c in uniform8(any::<u64>()),
    ) {
        let [a, b, c] = [a, b, c].map(|row| HostId::new([row; 7]));
        prop_assert_eq!(a.minimum(&b), b.minimum(&a));
        prop_assert_eq!(a.minimum(&b).minimum(&c), a.minimum(&b.minimum(&c)));
        prop_assert_eq!(a.minimum(&a), a.clone());
        prop_assert_eq!(a.minimum(&b).minimum(&a), a.minimum(&b));
    }
}
