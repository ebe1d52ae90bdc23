use super::{EMPTY, v2, v3};
use crate::gic::sgi::{Filter, Sgi, decode_sgir};
use crate::intid::IntId;
use crate::lr::{Lr, LrState};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

#[test]
fn golden_list_registers_have_the_manuals_bits() {
    // IHI 0069H ICH_LR<n>_EL2: a pending Group 1 vtimer at priority 0xa0, linked to physical 27.
    let timer =
        Lr { intid: IntId(27), state: LrState::Pending, priority: 0xa0, group1: true, hw: Some(IntId(27)), ..EMPTY };
    assert_eq!(v3::encode(timer), 0x70a0_001b_0000_001b);
    // IHI 0048B GICH_LRn: HW, Grp1, pending, priority 20, physical 27, virtual 27.
    assert_eq!(v2::encode(timer), 0xda00_6c1b);
    // An active Group 0 SGI 3 from CPU 5 that asks for maintenance.
    let sgi = Lr { intid: IntId(3), state: LrState::Active, eoi_maintenance: true, source: 5, ..EMPTY };
    assert_eq!(v2::encode(sgi), 0x2008_1403);
    assert_eq!(v3::encode(sgi), 0x8000_0200_0000_0003);
    assert_eq!(v3::encode(EMPTY), 0);
    assert_eq!(v2::encode(EMPTY), 0);
}

fn any_lr() -> impl Strategy<Value = Lr> {
    let state = prop_oneof![
        proptest::strategy::Just(LrState::Invalid),
        proptest::strategy::Just(LrState::Pending),
        proptest::strategy::Just(LrState::Active),
        proptest::strategy::Just(LrState::PendingActive),
    ];
    (0u32..1020, state, 0u8..32, any::<bool>(), proptest::option::of(16u32..1020), any::<bool>()).prop_map(
        |(intid, state, priority, group1, hw, eoi)| Lr {
            intid: IntId(intid),
            state,
            priority: priority << 3,
            group1,
            hw: hw.map(IntId),
            eoi_maintenance: eoi && hw.is_none(),
            source: 0,
        },
    )
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(lr in any_lr(), source in 0u8..8) {
        assert_eq!(v3::decode(v3::encode(lr)), lr);
        let lr = Lr { source: if lr.hw.is_some() { 0 } else { source }, ..lr };
        assert_eq!(v2::decode(v2::encode(lr)), lr);
    }

    #[test]
    fn every_raw_value_decodes(raw in any::<u64>()) {
        v3::decode(raw);
        v2::decode((raw >> 32) as u32);
        Sgi::decode(raw);
        decode_sgir((raw & 0xffff_ffff) as u32);
    }
}

#[test]
fn software_generated_interrupts_decode_field_by_field() {
    let sgi = Sgi::decode(0x0012_2034_0756_8001);
    assert_eq!(sgi, Sgi { intid: 7, all_others: false, cluster: 0x12_3456, targets: 0x8001, range: 2 });
    assert!(Sgi::decode(1 << 40).all_others);
    assert_eq!(decode_sgir(0x0005_000f), Some((15, Filter::List(5))));
    assert_eq!(decode_sgir(0x0100_0001), Some((1, Filter::AllOthers)));
    assert_eq!(decode_sgir(0x0200_0002), Some((2, Filter::Own)));
    assert_eq!(decode_sgir(0x0300_0002), None);
}
