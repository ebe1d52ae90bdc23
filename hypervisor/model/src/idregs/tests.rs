//! The registers of two guests, as `assay_plan::idregs` computes them and its tests say why.

use super::{COUNT, GuestId};

/// CRm, op2, value of a guest with all that is offered on Neoverse N2, GICv3.
const NEOVERSE_N2: &[(usize, usize, u64)] = &[
    (4, 0, 0x1101000101110012),
    (4, 1, 0x221),
    (4, 4, 0x110100110021),
    (5, 0, 0xf010305006),
    (6, 0, 0x1221111110212120),
    (6, 1, 0x11111101211052),
    (7, 0, 0x100125),
    (7, 1, 0x202002),
    (7, 2, 0x1021001110100011),
];

/// The same of a guest without MTE, SVE and pointer authentication on Cortex-A72, GICv2.
const CORTEX_A72: &[(usize, usize, u64)] = &[
    (1, 0, 0x131),
    (1, 1, 0x10000),
    (1, 2, 0x6),
    (1, 4, 0x10001105),
    (1, 5, 0x40000000),
    (1, 6, 0x1260000),
    (1, 7, 0x2102211),
    (2, 0, 0x2101110),
    (2, 4, 0x10142),
    (2, 5, 0x11121),
    (3, 0, 0x10110222),
    (4, 0, 0x12),
    (5, 0, 0x10305006),
    (6, 0, 0x11120),
    (7, 0, 0x124),
];

fn guest(rows: &[(usize, usize, u64)]) -> GuestId {
    let mut registers = [0; COUNT];
    for &(crm, op2, value) in rows {
        registers[(crm - 1) * 8 + op2] = value;
    }
    GuestId::new(registers)
}

pub(crate) fn gic_v3() -> GuestId {
    guest(NEOVERSE_N2)
}

pub(crate) fn gic_v2() -> GuestId {
    guest(CORTEX_A72)
}

#[test]
fn a_register_is_read_by_its_fields_and_by_its_encoding() {
    let id = gic_v3();
    assert_eq!(id.get(4, 1), 0x221);
    assert_eq!(id.feature(4, 1), Some(0x221));
    assert_eq!((id.feature(0, 0), id.feature(8, 0), id.get(8, 0)), (None, None, 0));
    assert!(id.has_gic_registers() && !gic_v2().has_gic_registers());
}
