//! The CPUs' bits: only what the architecture has, and the minimum; and what claims are made of.

use assay_spec::stage2_desc::Rights;

use super::super::{Allow, AllowSet, Claim, CpuBits, CpuBitsError};
use super::cases::{mte, mte_perm, no_fwb, no_mte};
use super::cpus;

#[test]
fn cpu_bits_that_the_architecture_excludes_are_refused() {
    assert_eq!(CpuBits::new(true, false, false), Err(CpuBitsError::MteWithoutFwb));
    assert_eq!(CpuBits::new(true, false, true), Err(CpuBitsError::MteWithoutFwb));
    assert_eq!(CpuBits::new(false, true, true), Err(CpuBitsError::MtePermWithoutMte));
    assert_eq!(CpuBits::new(false, false, true), Err(CpuBitsError::MtePermWithoutMte));
}

#[test]
fn cpu_bits_are_read_from_their_id_register_fields() {
    let fwb = 1 << 40;
    assert_eq!(CpuBits::from_id_registers(3 << 8, 1, fwb), Ok(mte_perm()));
    assert_eq!(CpuBits::from_id_registers(2 << 8, 0, fwb), Ok(mte()));
    // MTE = 1 has no tags in memory, and MTEPERM beside it means nothing.
    assert_eq!(CpuBits::from_id_registers(1 << 8, 1, fwb), Ok(no_mte()));
    assert_eq!(CpuBits::from_id_registers(0xf0ff, !0xf, !(0xf << 40)), Ok(no_fwb()));
    let excluded = CpuBits::from_id_registers(2 << 8, 0, 0);
    assert_eq!(excluded, Err(CpuBitsError::MteWithoutFwb));
}

#[test]
fn the_machine_has_what_all_its_cpus_have() {
    for (at, a) in cpus().into_iter().enumerate() {
        for (other, b) in cpus().into_iter().enumerate() {
            // The four possible sets are nested.
            assert_eq!(a.min(b), cpus()[at.min(other)]);
            assert_eq!(a.admits(b), other >= at);
        }
    }
    assert_eq!(mte_perm().without_mte(), no_mte());
    assert_eq!(no_fwb().without_mte(), no_fwb());
}

#[test]
fn a_relaxation_that_is_named_twice_is_there_and_alone() {
    for allow in Allow::ALL {
        let set = AllowSet::NONE.with(allow).with(allow);
        assert!(Allow::ALL.iter().all(|other| set.has(*other) == (*other == allow)), "{allow:?}");
    }
}

#[test]
fn memory_between_vms_and_flashes_are_never_claimed_to_be_executed() {
    for rights in [Rights::ReadOnly, Rights::ReadWrite] {
        assert!(!Claim::shared(rights, true).exec && !Claim::flash(rights, true).exec);
    }
}
