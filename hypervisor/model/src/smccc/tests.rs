use super::{HostFacts, Reply, Source, Workaround, Workarounds, fast_path, handle_lockless, is_trng, trng};
use crate::psci::PowerTable;
use assay_spec::cpu_id::VcpuId;
use assay_spec::psci::{self as psci_id, ret::register};
use assay_spec::smccc::{self as id, ret};
use proptest::prelude::proptest;

/// A host without firmware whose CPUs say nothing of their safety.
const NOTHING_KNOWN: HostFacts = HostFacts { csv2: 0, ssbs: false, firmware: [-1; 3] };

fn ask(fid: u32, first: u64, host: &HostFacts, source: Option<Source<'_>>) -> Option<Reply> {
    if is_trng(fid) {
        return Some(trng::call(fid, first, source));
    }
    handle_lockless(fid, [first, 0, 0], &Workarounds::new(host))
}

/// Asks with a source of ones only.
fn ask_random(fid: u32, first: u64) -> Option<Reply> {
    ask(fid, first, &NOTHING_KNOWN, Some(&mut || Some(u64::MAX)))
}

fn features(workaround: u32, host: &HostFacts) -> Option<Reply> {
    ask(id::ARCH_FEATURES, workaround.into(), host, None)
}

fn code(code: i32) -> Option<Reply> {
    Some(Reply::One(register(code)))
}

#[test]
fn the_short_way_answers_psci_version_and_ids_of_nobody() {
    assert_eq!(fast_path(psci_id::VERSION), Some(0x1_0001));
    for fid in [0, 1, 0x7fff_ffff, 0x8001_0000, 0x8400_0020, 0x8400_0054, 0x8600_ff01, 0xc500_0020, u32::MAX] {
        assert_eq!(fast_path(fid), Some(u64::MAX), "{fid:#x}");
    }
}

#[test]
fn the_short_way_leaves_psci_trng_and_architecture_calls_to_the_long_one() {
    for fid in [0x8400_0001, 0x8400_001f, 0xc400_0003, 0x8400_0050, 0xc400_0053, 0x8000_0000] {
        assert_eq!(fast_path(fid), None, "{fid:#x}");
    }
}

#[test]
fn smccc_is_version_1_1_and_found_through_psci_features() {
    assert_eq!(ask(id::VERSION, 0, &NOTHING_KNOWN, None), Some(Reply::One(0x1_0001)));
    assert_eq!(ask(psci_id::FEATURES, 0x8000_0000, &NOTHING_KNOWN, None), code(0));
}

#[test]
fn calls_that_change_a_vcpus_power_are_left_to_the_power_table() {
    for fid in [psci_id::CPU_ON, psci_id::CPU_OFF, psci_id::SYSTEM_OFF, psci_id::SYSTEM_RESET2] {
        assert_eq!(ask(fid, 0, &NOTHING_KNOWN, None), None, "{fid:#x}");
    }
}

#[test]
fn architecture_features_knows_its_own_calls_and_no_soc_id() {
    assert_eq!(features(id::VERSION, &NOTHING_KNOWN), code(0));
    assert_eq!(features(id::ARCH_FEATURES, &NOTHING_KNOWN), code(0));
    // SMCCC_ARCH_SOC_ID.
    assert_eq!(features(0x8000_0002, &NOTHING_KNOWN), code(ret::NOT_SUPPORTED));
    assert_eq!(features(id::PV_TIME_FEATURES, &NOTHING_KNOWN), code(ret::NOT_SUPPORTED));
    assert_eq!(ask(0x8000_0002, 0, &NOTHING_KNOWN, None), code(ret::NOT_SUPPORTED));
}

#[test]
fn without_firmware_and_on_cpus_that_say_nothing_no_workaround_is_offered() {
    for workaround in [id::ARCH_WORKAROUND_1, id::ARCH_WORKAROUND_2, id::ARCH_WORKAROUND_3] {
        assert_eq!(features(workaround, &NOTHING_KNOWN), code(ret::NOT_SUPPORTED));
        assert_eq!(ask(workaround, 0, &NOTHING_KNOWN, None), code(ret::NOT_SUPPORTED));
    }
}

#[test]
fn cpus_with_csv2_need_no_workaround_1_and_with_csv2_3_no_workaround_3() {
    let csv2 = |csv2| HostFacts { csv2, firmware: [0; 3], ..NOTHING_KNOWN };
    assert_eq!(features(id::ARCH_WORKAROUND_1, &csv2(1)), code(1));
    assert_eq!(features(id::ARCH_WORKAROUND_3, &csv2(2)), code(0));
    assert_eq!(features(id::ARCH_WORKAROUND_3, &csv2(3)), code(1));
    assert_eq!(ask(id::ARCH_WORKAROUND_1, 0, &csv2(1), None), code(0));
}

#[test]
fn a_workaround_that_firmware_offers_is_done_on_the_guests_call() {
    let host = HostFacts { firmware: [0; 3], ..NOTHING_KNOWN };
    assert_eq!(features(id::ARCH_WORKAROUND_1, &host), code(0));
    assert_eq!(ask(id::ARCH_WORKAROUND_1, 0, &host, None), Some(Reply::Workaround(Workaround::One)));
    assert_eq!(ask(id::ARCH_WORKAROUND_3, 0, &host, None), Some(Reply::Workaround(Workaround::Three)));
}

#[test]
fn workaround_2_is_the_guests_choice_where_firmware_leaves_one() {
    let firmware = |two| HostFacts { firmware: [-1, two, -1], ..NOTHING_KNOWN };
    for not_needed in [1, -2] {
        assert_eq!(features(id::ARCH_WORKAROUND_2, &firmware(not_needed)), code(1));
        assert_eq!(ask(id::ARCH_WORKAROUND_2, 0, &firmware(not_needed), None), code(0));
    }
    assert_eq!(features(id::ARCH_WORKAROUND_2, &firmware(-1)), code(ret::NOT_SUPPORTED));
    assert_eq!(ask(id::ARCH_WORKAROUND_2, 0, &firmware(-1), None), code(ret::NOT_SUPPORTED));
    assert_eq!(features(id::ARCH_WORKAROUND_2, &firmware(0)), code(0));
    for (argument, allowed) in [(0, true), (1, false), (0xffff_ffff, false), (1 << 32, true)] {
        let reply = ask(id::ARCH_WORKAROUND_2, argument, &firmware(0), None);
        assert_eq!(reply, Some(Reply::StoreBypass { allowed }), "{argument:#x}");
    }
    let ssbs = HostFacts { ssbs: true, ..firmware(0) };
    assert_eq!(features(id::ARCH_WORKAROUND_2, &ssbs), code(ret::NOT_SUPPORTED));
}

#[test]
fn without_a_source_no_trng_call_is_offered() {
    for fid in 0x8400_0050..0x8400_0054 {
        for fid in [fid, fid | id::SMC64] {
            assert_eq!(ask(fid, 64, &NOTHING_KNOWN, None), code(ret::NOT_SUPPORTED), "{fid:#x}");
        }
    }
}

#[test]
fn with_a_source_trng_1_0_lists_its_five_calls() {
    assert_eq!(ask_random(id::TRNG_VERSION, 0), Some(Reply::One(0x1_0000)));
    let offered = [id::TRNG_VERSION, id::TRNG_FEATURES, id::TRNG_GET_UUID, id::TRNG_RND32, id::TRNG_RND64];
    for fid in offered {
        assert_eq!(ask_random(id::TRNG_FEATURES, fid.into()), code(0));
    }
    for fid in [0xc400_0050, 0xc400_0051, 0xc400_0052] {
        assert_eq!(ask_random(id::TRNG_FEATURES, fid.into()), code(ret::NOT_SUPPORTED));
        assert_eq!(ask_random(fid, 0), code(ret::NOT_SUPPORTED));
    }
}

#[test]
fn the_uuids_first_word_cannot_be_mistaken_for_an_error() {
    let Some(Reply::Four(words)) = ask_random(id::TRNG_GET_UUID, 0) else { panic!("no UUID") };
    assert!(words.iter().all(|word| *word <= u64::from(u32::MAX)));
    assert_ne!(words[0], u64::from(u32::MAX));
    // 6f8be83c-…-b23789667373, read bytewise from the words.
    assert_eq!(words[0].to_le_bytes()[..4], [0x6f, 0x8b, 0xe8, 0x3c]);
    assert_eq!(words[3].to_le_bytes()[..4], [0x89, 0x66, 0x73, 0x73]);
}

#[test]
fn random_bits_fill_the_registers_from_x3_down_and_no_further_than_asked() {
    let all = u64::MAX;
    for (bits, reply) in [(1, [0, 0, 0, 1]), (64, [0, 0, 0, all]), (65, [0, 0, 1, all]), (192, [0, all, all, all])] {
        assert_eq!(ask_random(id::TRNG_RND64, bits), Some(Reply::Four(reply)), "{bits}");
    }
    for (bits, reply) in [
        (31, [0, 0, 0, 0x7fff_ffff]),
        (33, [0, 0, 1, 0xffff_ffff]),
        (96, [0, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff]),
        // Of x1 only w1 counts in the 32-bit call.
        (0xdead_0000_0000_0002, [0, 0, 0, 3]),
    ] {
        assert_eq!(ask_random(id::TRNG_RND32, bits), Some(Reply::Four(reply)), "{bits}");
    }
}

#[test]
fn asking_for_no_bits_or_too_many_is_invalid_parameters() {
    for (fid, bits) in [
        (id::TRNG_RND64, 0),
        (id::TRNG_RND64, 193),
        (id::TRNG_RND64, u64::MAX),
        (id::TRNG_RND32, 0),
        (id::TRNG_RND32, 97),
    ] {
        assert_eq!(ask_random(fid, bits), code(ret::TRNG_INVALID_PARAMETERS));
    }
}

#[test]
fn a_source_that_runs_dry_gives_no_entropy_and_no_bits() {
    let mut left = 2;
    let mut source = || {
        left -= 1;
        (left >= 0).then_some(5)
    };
    let reply = ask(id::TRNG_RND64, 192, &NOTHING_KNOWN, Some(&mut source));
    assert_eq!(reply, code(ret::TRNG_NO_ENTROPY));
}

#[test]
fn the_vendor_range_is_nobodys() {
    // UID, call count and revision of the vendor hypervisor service.
    for fid in [0x8600_ff01, 0x8600_ff00, 0x8600_ff03] {
        assert_eq!(ask(fid, 0, &NOTHING_KNOWN, None), code(ret::NOT_SUPPORTED));
    }
}

proptest! {
    #[test]
    fn any_id_gets_one_answer_from_one_of_the_three(
        near in 0_u32..0x60, owner in 0_u32..64, wild: u32, pick in 0_u8..3, args: [u64; 3],
    ) {
        let fid = match pick {
            0 => wild,
            1 => 0x8000_0000 | owner << 24 | near,
            _ => 0xc000_0000 | owner << 24 | near,
        };
        let workarounds = Workarounds::new(&HostFacts { firmware: [0; 3], ..NOTHING_KNOWN });
        if is_trng(fid) {
            assert_eq!(fast_path(fid), None);
            return Ok(());
        }
        let reply = handle_lockless(fid, args, &workarounds);
        match fast_path(fid) {
            Some(answer) => assert_eq!(reply, Some(Reply::One(answer))),
            // What is left over is PSCI's, and the table answers it.
            None if reply.is_none() => {
                assert_eq!(fid & 0xbfff_ffe0, 0x8400_0000);
                PowerTable::new(1).call(fid, args, VcpuId(0), &|_| true);
            }
            None => {}
        }
    }

    #[test]
    fn any_facts_make_an_answer(csv2: u8, ssbs: bool, firmware: [i32; 3]) {
        let host = HostFacts { csv2, ssbs, firmware };
        for workaround in [id::ARCH_WORKAROUND_1, id::ARCH_WORKAROUND_2, id::ARCH_WORKAROUND_3] {
            let offered = features(workaround, &host) != code(ret::NOT_SUPPORTED);
            let served = ask(workaround, 0, &host, None) != code(ret::NOT_SUPPORTED);
            assert_eq!(offered, served);
        }
    }
}

#[test]
fn between_guests_firmware_does_what_the_cpus_need_most() {
    let host = |csv2, firmware| HostFacts { csv2, ssbs: true, firmware };
    for (csv2, firmware, expected) in [
        (0, [0, -1, 0], Some(Workaround::Three)),
        (0, [0, -1, -1], Some(Workaround::One)),
        (1, [0, -1, 0], Some(Workaround::Three)),
        (1, [0, -1, 1], None),
        (3, [0, 0, 0], None),
        (0, [-1, -1, -1], None),
    ] {
        let workarounds = Workarounds::new(&host(csv2, firmware));
        assert_eq!(workarounds.between_guests(), expected, "{csv2} {firmware:?}");
    }
}

#[test]
fn guests_share_branch_prediction_where_neither_cpus_nor_firmware_say_otherwise() {
    for (csv2, firmware, shared) in [
        (0, [-1, -1, -1], true),
        (0, [-1, -1, 1], true),
        (0, [-1, -1, 0], false),
        (0, [0, -1, -1], false),
        (0, [1, -1, -1], false),
        (1, [-1, -1, -1], false),
        (3, [-1, -1, -1], false),
    ] {
        let workarounds = Workarounds::new(&HostFacts { csv2, firmware, ..NOTHING_KNOWN });
        assert_eq!(workarounds.is_branch_prediction_shared(), shared, "{csv2} {firmware:?}");
    }
}

#[test]
fn of_several_cpus_answers_the_worst_counts() {
    let worst = |answers: &[[i32; 3]]| super::worst(answers.iter().copied());
    assert_eq!(worst(&[]), [-1; 3], "nothing is known of no CPU");
    assert_eq!(worst(&[[1, 1, 1], [0, 0, 0]]), [0, 0, 0], "one CPU needs them");
    assert_eq!(worst(&[[1, -2, 1], [-1, -1, -1]]), [-1, -1, -1], "of one nothing is known");
    assert_eq!(worst(&[[-1, 0, -1], [0, -1, 0]]), [0, -1, 0], "a call helps, but for 2");
    let order = [[0, 1, -1], [1, -2, 0], [1, 0, 1]];
    let turned = [order[2], order[0], order[1]];
    assert_eq!(worst(&order), worst(&turned), "whichever is asked first");
}
