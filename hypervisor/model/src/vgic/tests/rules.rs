//! The rules one by one, each a sentence.

use super::fake::GuestMachine;
use crate::vcpus::VcpuSet;
use crate::vgic::Version;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::dist as gicd;
use assay_spec::gic::redist::SGI_BASE;
use assay_spec::intid::IntId;
use assay_spec::lr::LrState;
use std::vec;
use std::vec::Vec;

const BOTH: [Version; 2] = [Version::V2, Version::V3];

#[test]
fn a_level_interrupt_is_pending_as_long_as_its_line_is_high() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.set_level(VcpuId(0), 33, true);
        m.dist(VcpuId(0), gicd::ICPENDR + 4, 2);
        assert_eq!(m.read_dist(VcpuId(0), gicd::ISPENDR + 4), 2, "clearing does not lower a line");
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)));
        assert_eq!(m.end(VcpuId(0)), Some((33, 0)));
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)), "the line is still high after the end");
        m.set_level(VcpuId(0), 33, false);
        m.end(VcpuId(0));
        assert_eq!(m.acknowledge(VcpuId(0)), None);
        m.set_level(VcpuId(0), 33, true);
        m.set_level(VcpuId(0), 33, false);
        assert_eq!(m.acknowledge(VcpuId(0)), None, "the line fell before anyone took it");
    }
}

#[test]
fn an_edge_is_remembered_until_it_is_acknowledged() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.dist(VcpuId(0), gicd::ICFGR + 8, 2 << 2);
        m.set_level(VcpuId(0), 33, true);
        m.set_level(VcpuId(0), 33, false);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)));
        let kicks = m.vgic.pulse(VcpuId(0), IntId(33));
        m.kick(kicks);
        assert_eq!(m.acknowledge(VcpuId(0)), None, "active");
        m.end(VcpuId(0));
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)), "the second edge");
        m.end(VcpuId(0));
        assert_eq!(m.acknowledge(VcpuId(0)), None);
    }
}

#[test]
fn an_active_interrupt_is_not_delivered_again_before_its_deactivation() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.dist(VcpuId(0), gicd::ISACTIVER + 4, 2);
        m.set_level(VcpuId(0), 33, true);
        assert_eq!(m.acknowledge(VcpuId(0)), None);
        m.cpus[0].deactivate(33, 0);
        m.kick(VcpuSet::EMPTY);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)));
        assert_eq!(m.cpus[0].lost, 0);
    }
}

#[test]
fn disabled_interrupts_and_groups_are_withdrawn_and_come_back() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.set_level(VcpuId(0), 33, true);
        m.dist(VcpuId(0), gicd::ICENABLER + 4, 2);
        assert_eq!(m.acknowledge(VcpuId(0)), None);
        m.dist(VcpuId(0), gicd::ISENABLER + 4, 2);
        m.dist(VcpuId(0), gicd::CTLR, gicd::CTLR_ENABLE_GRP0);
        assert_eq!(m.acknowledge(VcpuId(0)), None, "of Group 1");
        m.dist(VcpuId(0), gicd::IGROUPR + 4, 0);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)), "of Group 0");
        assert!(!m.cpus[0].lrs.iter().any(|lr| lr.state == LrState::Active && lr.group1));
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn more_interrupts_than_list_registers_are_all_taken_in_order_of_priority() {
    for version in BOTH {
        for lrs in [1, 2, 4] {
            let mut m = GuestMachine::ready(version, 1, 64, lrs);
            for n in 0..40 {
                let intid = 32 + (n * 7) % 64;
                m.dist_write(VcpuId(0), gicd::IPRIORITYR + intid, Width::W1, (n * 13 % 29) << 3);
                m.set_level(VcpuId(0), intid as u32, true);
            }
            let mut last = 0;
            for _ in 0..40 {
                let (intid, _) = m.acknowledge(VcpuId(0)).expect("all forty");
                let (priority, ..) = m.cpus[0].running[0];
                assert!(last <= priority);
                last = priority;
                m.set_level(VcpuId(0), intid, false);
                m.end(VcpuId(0));
            }
            assert_eq!(m.acknowledge(VcpuId(0)), None);
            assert_eq!(m.cpus[0].requests, 0);
            assert_eq!(m.cpus[0].lost, 0);
        }
    }
}

#[test]
fn nothing_asks_for_maintenance_while_a_vcpu_waits_in_el2() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 64, 2);
        for intid in 32..40 {
            m.set_level(VcpuId(0), intid, true);
        }
        assert_ne!(m.cpus[0].requests, 0);
        m.vgic.sync_lr(VcpuId(0), &mut m.cpus[0]);
        assert_eq!(m.cpus[0].requests, 0);
        m.vgic.flush_lr(VcpuId(0), &mut m.cpus[0]);
        assert_ne!(m.cpus[0].requests, 0);
    }
}

#[test]
fn interrupts_nest_deeper_than_there_are_list_registers() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 64, 4);
        for n in 0..20 {
            let priority = 0xf0 - 8 * n;
            m.dist_write(VcpuId(0), gicd::IPRIORITYR + 40 + n, Width::W1, priority);
            m.set_level(VcpuId(0), 40 + n as u32, true);
            assert_eq!(m.acknowledge(VcpuId(0)), Some((40 + n as u32, 0)));
        }
        for n in (0..20).rev() {
            m.set_level(VcpuId(0), 40 + n, false);
            assert_eq!(m.end(VcpuId(0)), Some((40 + n, 0)));
        }
        assert_eq!(m.cpus[0].lost, 0, "every end met its List Register");
        assert_eq!(m.read_dist(VcpuId(0), gicd::ISACTIVER + 4) | m.read_dist(VcpuId(0), gicd::ISACTIVER + 8), 0);
    }
}

#[test]
fn with_separate_deactivation_no_active_interrupt_loses_its_list_register() {
    let mut m = GuestMachine::ready(Version::V3, 1, 32, 4);
    m.cpus[0].separate = true;
    for n in 0..8 {
        m.set_level(VcpuId(0), 40 + n, true);
    }
    for n in 0..4 {
        assert_eq!(m.acknowledge(VcpuId(0)), Some((40 + n, 0)));
        m.cpus[0].running.clear();
    }
    assert_eq!(m.acknowledge(VcpuId(0)), None, "no room until one is deactivated");
    for n in [2, 0, 3, 1] {
        m.set_level(VcpuId(0), 40 + n, false);
        m.cpus[0].deactivate(40 + n, 0);
        m.kick(VcpuSet::EMPTY);
        assert!(m.acknowledge(VcpuId(0)).is_some());
        m.cpus[0].running.clear();
    }
    assert_eq!(m.cpus[0].lost, 0);
}

#[test]
fn an_sgi_from_two_senders_is_taken_twice_with_the_right_source() {
    let mut m = GuestMachine::ready(Version::V2, 3, 32, 4);
    m.send(1, 5, 0b001);
    m.send(2, 5, 0b001);
    m.send(2, 5, 0b001);
    assert_eq!(m.read_dist(VcpuId(0), gicd::SPENDSGIR + 4), 0b110 << 8);
    assert_eq!(m.acknowledge(VcpuId(0)), Some((5, 1)));
    assert_eq!(m.read_dist(VcpuId(0), gicd::CPENDSGIR + 4), 0b100 << 8);
    m.end(VcpuId(0));
    assert_eq!(m.acknowledge(VcpuId(0)), Some((5, 2)));
    m.end(VcpuId(0));
    assert_eq!(m.acknowledge(VcpuId(0)), None);
    m.dist_write(VcpuId(0), gicd::SPENDSGIR + 5, Width::W1, 0xff);
    m.dist_write(VcpuId(0), gicd::CPENDSGIR + 5, Width::W1, 0b101);
    assert_eq!(m.acknowledge(VcpuId(0)), Some((5, 1)), "only senders that exist");
    m.end(VcpuId(0));
    assert_eq!(m.acknowledge(VcpuId(0)), None);
}

#[test]
fn gicv2_leaves_the_pending_bits_of_sgis_to_their_own_registers() {
    let mut m = GuestMachine::ready(Version::V2, 1, 32, 4);
    m.dist(VcpuId(0), gicd::ISPENDR, 0xffff);
    assert_eq!(m.read_dist(VcpuId(0), gicd::ISPENDR), 0);
    m.send(0, 1, 1);
    m.dist(VcpuId(0), gicd::ICPENDR, 0xffff);
    assert_eq!(m.read_dist(VcpuId(0), gicd::ISPENDR), 2);
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn sgis_reach_whom_they_name() {
    let mut m = GuestMachine::ready(Version::V3, 20, 32, 4);
    let mut send = |value: u64| {
        let kicks = m.vgic.sgi1r(VcpuId(3), value, &mut m.cpus[3]);
        m.kick(kicks.union(VcpuSet::one(VcpuId(3))));
        let reached = |m: &mut GuestMachine, v: usize| m.acknowledge(VcpuId(v)).is_some() && m.end(VcpuId(v)).is_some();
        (0..20).filter(|&v| reached(&mut m, v)).fold(0u32, |set, v| set | 1 << v)
    };
    assert_eq!(send(7 << 24 | 0x8001), 0x8001);
    assert_eq!(send(7 << 24 | 1 << 16 | 0xffff), 0xf0000, "Aff1 = 1, vCPUs 16 to 19");
    assert_eq!(send(7 << 24 | 1 << 40), 0xffff7, "all others");
    assert_eq!(send(7 << 24 | 1 << 44 | 1), 0, "Aff0 = 16");
    assert_eq!(send(7 << 24 | 1 << 32 | 1), 0, "Aff2 = 1");
    assert_eq!(send(7 << 24 | 1 << 48 | 1), 0, "Aff3 = 1");
    assert_eq!(send(7 << 24 | 4 << 16 | 1), 0, "Aff1 = 4");
    assert_eq!(send(7 << 24 | 1 << 3), 8, "oneself");
}

#[test]
fn sgi0r_sends_only_to_where_the_sgi_is_in_group_0() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.redist(VcpuId(1), 1, SGI_BASE + gicd::IGROUPR, 0);
    let kicks = m.vgic.sgi0r(VcpuId(0), 4 << 24 | 3, &mut m.cpus[0]);
    assert_eq!(kicks, VcpuSet::one(VcpuId(1)));
    m.kick(kicks);
    assert_eq!(m.acknowledge(VcpuId(0)), None);
    assert_eq!(m.acknowledge(VcpuId(1)), Some((4, 0)));
    m.end(VcpuId(1));
    m.send(0, 4, 3);
    assert_eq!(m.acknowledge(VcpuId(0)), Some((4, 0)), "SGI1R sends either group");
    assert_eq!(m.acknowledge(VcpuId(1)), Some((4, 0)));
}

#[test]
fn an_sgi_to_oneself_takes_one_list_register_write() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    for _ in 0..10 {
        let before = m.cpus[0].accesses.get();
        assert_eq!(m.vgic.sgi1r(VcpuId(0), 1 << 24 | 1, &mut m.cpus[0]), VcpuSet::EMPTY);
        assert_eq!(m.cpus[0].accesses.get() - before, 1);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((1, 0)));
        m.end(VcpuId(0));
    }
    let used = m.cpus[0].lrs.iter().filter(|lr| lr.intid != IntId(0)).count();
    assert_eq!(used, 1);
}

#[test]
fn one_interrupt_that_becomes_pending_takes_one_list_register_write() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 2, 32, 4);
        for _ in 0..10 {
            let before = m.cpus[0].accesses.get();
            m.send(1, 5, 1);
            assert_eq!(m.cpus[0].accesses.get() - before, 1);
            let sender = if version == Version::V2 { 1 } else { 0 };
            assert_eq!(m.acknowledge(VcpuId(0)), Some((5, sender)));
            m.end(VcpuId(0));
        }
        let used = m.cpus[0].lrs.iter().filter(|lr| lr.intid != IntId(0)).count();
        assert_eq!(used, 1);
    }
}

#[test]
fn a_vcpu_is_quiet_once_it_has_ended_what_was_listed() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 2, 32, 4);
        let is_quiet = |m: &GuestMachine| m.vgic.is_quiet(VcpuId(0), &m.cpus[0]);
        for _ in 0..3 {
            assert!(is_quiet(&m));
            let (vcpu, send) = (VcpuId(1), 1 << 16 | 5);
            let kicks = match version {
                Version::V2 => m.vgic.dist_write(vcpu, 0xf00, (Width::W4, send), &mut m.cpus[1]).unwrap(),
                Version::V3 => m.vgic.sgi1r(vcpu, 5 << 24 | 1, &mut m.cpus[1]),
            };
            assert!(!is_quiet(&m), "it has been sent");
            m.kick(kicks);
            assert!(!is_quiet(&m), "it is pending");
            assert_eq!(m.acknowledge(VcpuId(0)).map(|(intid, _)| intid), Some(5));
            assert!(!is_quiet(&m), "it is active");
            m.end(VcpuId(0));
        }
    }
}

#[test]
fn a_level_is_carried_by_one_list_register_write() {
    for (version, intid) in BOTH.into_iter().flat_map(|version| [(version, 30), (version, 40)]) {
        let mut m = GuestMachine::ready(version, 1, 64, 4);
        for _ in 0..10 {
            let before = m.cpus[0].accesses.get();
            m.carry_level(VcpuId(0), intid, true);
            assert_eq!(m.cpus[0].accesses.get() - before, 1);
            assert_eq!(m.acknowledge(VcpuId(0)), Some((intid, 0)));
            // A handler turns its source off: its end is no news then.
            m.carry_level(VcpuId(0), intid, false);
            assert_eq!(m.cpus[0].accesses.get() - before, 3);
            m.end(VcpuId(0));
            assert_eq!(m.cpus[0].accesses.get() - before, 3);
            // One that falls before it is taken is taken back.
            m.carry_level(VcpuId(0), intid, true);
            m.carry_level(VcpuId(0), intid, false);
            assert_eq!(m.acknowledge(VcpuId(0)), None);
            // One that rises again under its handler comes again.
            m.carry_level(VcpuId(0), intid, true);
            assert_eq!(m.acknowledge(VcpuId(0)), Some((intid, 0)));
            m.carry_level(VcpuId(0), intid, false);
            m.carry_level(VcpuId(0), intid, true);
            m.end(VcpuId(0));
            assert_eq!(m.acknowledge(VcpuId(0)), Some((intid, 0)));
            m.carry_level(VcpuId(0), intid, false);
            m.end(VcpuId(0));
            assert_eq!(m.acknowledge(VcpuId(0)), None);
        }
    }
}

#[test]
fn two_interrupts_that_become_pending_before_the_vcpu_looks_are_both_taken() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 64, 4);
        for (first, second) in [(40, 41), (41, 40), (40, 40)] {
            let kicks = m.vgic.pulse(VcpuId(0), IntId(first)).union(m.vgic.pulse(VcpuId(0), IntId(second)));
            m.kick(kicks);
            let mut taken = Vec::new();
            while let Some((intid, _)) = m.acknowledge(VcpuId(0)) {
                taken.push(intid);
                m.end(VcpuId(0));
            }
            taken.sort_unstable();
            let mut wanted = vec![first, second];
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(taken, wanted);
        }
    }
}

#[test]
fn a_second_sgi_while_the_first_is_active_stays_pending() {
    let mut m = GuestMachine::ready(Version::V3, 1, 32, 4);
    m.send(0, 1, 1);
    m.send(0, 1, 1);
    assert_eq!(m.acknowledge(VcpuId(0)), Some((1, 0)));
    m.send(0, 1, 1);
    assert_eq!(m.acknowledge(VcpuId(0)), None);
    m.end(VcpuId(0));
    assert_eq!(m.acknowledge(VcpuId(0)), Some((1, 0)));
    m.end(VcpuId(0));
    assert_eq!(m.acknowledge(VcpuId(0)), None);
}

#[test]
fn two_ends_in_a_row_both_meet_their_list_registers_however_few_there_are() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 2);
        m.dist(VcpuId(0), gicd::ICFGR + 8, u32::MAX);
        m.dist_write(VcpuId(0), gicd::IPRIORITYR + 34, Width::W1, 0);
        m.dist(VcpuId(0), gicd::ISPENDR + 4, 2);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)));
        m.dist(VcpuId(0), gicd::ISPENDR + 4, 4);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((34, 0)));
        // The inner one is pending again, and so is a third: three for two List Registers.
        m.dist(VcpuId(0), gicd::ISPENDR + 4, 0b1100);
        assert_eq!(m.end(VcpuId(0)), Some((34, 0)));
        assert_eq!(m.end(VcpuId(0)), Some((33, 0)));
        assert_eq!(m.cpus[0].lost, 0);
        assert_eq!(m.read_dist(VcpuId(0), gicd::ISACTIVER + 4), 0);
    }
}

#[test]
fn an_interrupt_the_controller_has_not_is_ignored() {
    let mut m = GuestMachine::ready(Version::V3, 1, 32, 4);
    for intid in [64, 1019, 1020, 1023, 8192, u32::MAX] {
        assert_eq!(m.vgic.set_level(VcpuId(0), IntId(intid), true), VcpuSet::EMPTY);
        assert_eq!(m.vgic.pulse(VcpuId(0), IntId(intid)), VcpuSet::EMPTY);
        let kicks = m.vgic.hw_fired(VcpuId(0), IntId(intid), IntId(40), &mut m.cpus[0]);
        assert_eq!(kicks, VcpuSet::EMPTY);
    }
    assert_eq!(m.acknowledge(VcpuId(0)), None);
}

#[test]
#[should_panic(expected = "no vCPU 1")]
fn an_interrupt_of_a_vcpu_that_there_is_not_is_a_bug_of_ours() {
    let mut m = GuestMachine::ready(Version::V3, 1, 32, 4);
    m.vgic.set_level(VcpuId(1), IntId(30), true);
}

#[test]
#[should_panic(expected = "no vCPU 1")]
fn a_vcpu_that_there_is_not_is_asked_for_nothing() {
    GuestMachine::ready(Version::V3, 1, 32, 4).vgic.has_pending(VcpuId(1));
}
