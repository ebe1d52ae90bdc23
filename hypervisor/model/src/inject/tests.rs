//! Exceptions taken from each state, against the pseudocode's steps.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use assay_spec::addr::Va;
use assay_spec::frame::Return;

use super::{El1State, El1Write, Fault, PstateBits, take};

const VBAR: u64 = 0xffff_8000_0801_0800;
const PC: u64 = 0xffff_8000_0810_1234;
const FAR: Va = Va(0xffff_8000_1234_5678);
const SPAN: u64 = 1 << 23;

/// A CPU with none of the optional bits, and SPAN as the RES1 it is there.
const PLAIN: El1State = El1State { vbar: VBAR, sctlr: SPAN, bits: PstateBits { pan: false, ssbs: false, tco: false } };

const DATA: Fault = Fault::DataAbort { va: FAR, write: false, table_walk: false };
const FETCH: Fault = Fault::InstrAbort { va: FAR, table_walk: false };

fn taken(fault: Fault, pstate: u64, el1: &El1State) -> (Return, El1Write) {
    let mut at = Return { pc: PC, pstate };
    let write = take(fault, &mut at, el1);
    (at, write)
}

#[test]
fn the_vector_is_chosen_by_where_the_guest_was() {
    for (pstate, offset) in [
        (0b00000, 0x400),        // EL0
        (0b00100, 0x000),        // EL1t
        (0b00101, 0x200),        // EL1h
        (0b10000, 0x600),        // AArch32 User
        (0b10000 | 0x20, 0x600), // the same in T32
    ] {
        assert_eq!(taken(Fault::Undefined, pstate, &PLAIN).0.pc, VBAR + offset);
    }
}

#[test]
fn the_reserved_bits_of_the_vector_base_are_not_used() {
    let el1 = El1State { vbar: VBAR | 0x7ff, ..PLAIN };
    assert_eq!(taken(Fault::Undefined, 0b101, &el1).0.pc, VBAR + 0x200);
}

#[test]
fn a_vector_base_at_the_top_wraps_rather_than_panics() {
    let el1 = El1State { vbar: u64::MAX, ..PLAIN };
    assert_eq!(taken(Fault::Undefined, 0b10000, &el1).0.pc, 0xffff_ffff_ffff_f800 + 0x600);
}

#[test]
fn the_return_state_is_what_was_interrupted() {
    let pstate = 0x6000_0005;
    let (_, write) = taken(Fault::Undefined, pstate, &PLAIN);
    assert_eq!((write.elr, write.spsr), (PC, pstate));
}

#[test]
fn undefined_has_class_0_and_leaves_the_fault_address_alone() {
    let (_, write) = taken(Fault::Undefined, 0b101, &PLAIN);
    assert_eq!((write.esr, write.far), (0x0200_0000, None));
}

#[test]
fn an_external_abort_has_the_class_of_its_origin() {
    for (fault, el0, el1) in [(DATA, 0x9200_0010, 0x9600_0010), (FETCH, 0x8200_0010, 0x8600_0010)] {
        for pstate in [0b00000, 0b10000] {
            assert_eq!(taken(fault, pstate, &PLAIN).1.esr, el0);
        }
        for pstate in [0b00100, 0b00101] {
            assert_eq!(taken(fault, pstate, &PLAIN).1.esr, el1);
        }
        assert_eq!(taken(fault, 0b101, &PLAIN).1.far, Some(FAR.0));
    }
}

#[test]
fn a_write_says_so_and_a_walk_has_a_status_of_its_own() {
    let write = Fault::DataAbort { va: FAR, write: true, table_walk: false };
    assert_eq!(taken(write, 0b101, &PLAIN).1.esr, 0x9600_0050);
    let walk = Fault::DataAbort { va: FAR, write: false, table_walk: true };
    assert_eq!(taken(walk, 0b101, &PLAIN).1.esr, 0x9600_0014);
    let walk = Fault::InstrAbort { va: FAR, table_walk: true };
    assert_eq!(taken(walk, 0b000, &PLAIN).1.esr, 0x8200_0014);
}

#[test]
fn the_handler_runs_at_el1h_with_everything_masked() {
    // From EL0 with NZCV, DIT, SS, IL, UAO and BTYPE set: flags and DIT stay, the others are cleared.
    let pstate = 0xf000_0000 | 1 << 24 | 1 << 23 | 1 << 21 | 1 << 20 | 0b11 << 10;
    let (at, write) = taken(DATA, pstate, &PLAIN);
    assert_eq!(at.pstate, 0xf100_03c5);
    assert_eq!(write.spsr, pstate);
}

#[test]
fn aarch32_state_bits_do_not_leak_into_aarch64_ones() {
    // Q, IT, GE, E, T and mode of an AArch32 EL0; bit 23 is SSBS there and UAO here.
    let pstate = 0x8000_0000 | 1 << 27 | 0b11 << 25 | 1 << 23 | 0xf << 16 | 0x3f << 10 | 1 << 9 | 1 << 5 | 0x10;
    assert_eq!(taken(Fault::Undefined, pstate, &PLAIN).0.pstate, 0x8000_03c5);
}

#[test]
fn pan_is_set_where_span_is_zero_and_kept_otherwise() {
    const PAN: u64 = 1 << 22;
    let pan = |pstate: u64, sctlr: u64, pan: bool| {
        let el1 = El1State { sctlr, bits: PstateBits { pan, ..PLAIN.bits }, ..PLAIN };
        taken(Fault::Undefined, pstate, &el1).0.pstate & PAN
    };
    assert_eq!(pan(0b101, 0, true), PAN);
    assert_eq!(pan(0b101, SPAN, true), 0);
    assert_eq!(pan(0b101 | PAN, SPAN, true), PAN);
    assert_eq!(pan(0b101, 0, false), 0, "a CPU without FEAT_PAN");
}

#[test]
fn ssbs_comes_from_sctlr_and_not_from_the_interrupted_code() {
    const SSBS: u64 = 1 << 12;
    let ssbs = |pstate: u64, sctlr: u64, ssbs: bool| {
        let el1 = El1State { sctlr, bits: PstateBits { ssbs, ..PLAIN.bits }, ..PLAIN };
        taken(Fault::Undefined, pstate, &el1).0.pstate & SSBS
    };
    assert_eq!(ssbs(0b101, 1 << 44, true), SSBS);
    assert_eq!(ssbs(0b101 | SSBS, 0, true), 0);
    assert_eq!(ssbs(0b101, 1 << 44, false), 0, "a CPU without FEAT_SSBS");
}

#[test]
fn tag_checks_are_off_in_the_handler_on_a_cpu_with_tags() {
    let el1 = El1State { bits: PstateBits { tco: true, ..PLAIN.bits }, ..PLAIN };
    assert_eq!(taken(Fault::Undefined, 0b101, &el1).0.pstate, 1 << 25 | 0x3c5);
    assert_eq!(taken(Fault::Undefined, 0b101 | 1 << 25, &PLAIN).0.pstate, 0x3c5);
}

proptest! {
    #[test]
    fn whatever_the_guest_was_doing_it_ends_at_el1h_masked_at_one_of_its_vectors(
        pc in any::<u64>(), pstate in any::<u64>(), vbar in any::<u64>(), sctlr in any::<u64>(), fault in 0usize..3,
    ) {
        let fault = [Fault::Undefined, DATA, FETCH][fault];
        let bits = PstateBits { pan: true, ssbs: true, tco: true };
        let mut at = Return { pc, pstate };
        let write = take(fault, &mut at, &El1State { vbar, sctlr, bits });
        prop_assert_eq!(at.pstate & 0x3ff, 0x3c5);
        prop_assert_eq!(at.pstate >> 32, 0);
        let offset = at.pc.wrapping_sub(vbar & !0x7ff);
        prop_assert!(offset < 0x800 && offset & 0x7f == 0);
        prop_assert_eq!((write.elr, write.spsr), (pc, pstate));
    }
}
