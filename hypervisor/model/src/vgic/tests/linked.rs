//! Rules about a virtual interrupt with a physical one behind it: the timer's.

use super::fake::{GuestMachine, TIMER};
use crate::vcpus::VcpuSet;
use crate::vgic::Version;
use assay_spec::cpu_id::VcpuId;
use assay_spec::gic::dist as gicd;
use assay_spec::gic::redist::SGI_BASE;
use assay_spec::lr::LrState;

const BOTH: [Version; 2] = [Version::V2, Version::V3];

#[test]
fn the_timer_is_linked_to_its_physical_interrupt() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        for _ in 0..3 {
            let before = m.cpus[0].accesses.get();
            m.set_timer(VcpuId(0), true);
            assert_eq!(m.cpus[0].accesses.get() - before, 1, "straight into a List Register");
            let lr = m.cpus[0].lrs.iter().find(|lr| lr.state == LrState::Pending);
            assert_eq!(lr.and_then(|lr| lr.hw), Some(TIMER));
            assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
            m.cpus[0].line = false;
            m.end(VcpuId(0));
            assert!(!m.cpus[0].physical_active);
            assert_eq!(m.acknowledge(VcpuId(0)), None);
        }
    }
}

#[test]
fn the_timer_goes_at_once_only_where_it_was_before_and_else_nothing_is_done() {
    let mut m = GuestMachine::ready(Version::V3, 1, 32, 4);
    let at_once = |m: &mut GuestMachine| m.vgic.hw_fired_at_once(VcpuId(0), TIMER, TIMER, &mut m.cpus[0]);
    assert!(!at_once(&mut m), "it was nowhere yet");
    assert!(m.cpus[0].lrs.iter().all(|lr| lr.state == LrState::Invalid));
    m.set_timer(VcpuId(0), true);
    assert!(!at_once(&mut m), "it is still there");
    assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
    m.cpus[0].line = false;
    m.end(VcpuId(0));
    assert!(at_once(&mut m));
    let lr = m.cpus[0].lrs.iter().find(|lr| lr.state == LrState::Pending);
    assert_eq!(lr.map(|lr| (lr.intid, lr.hw)), Some((TIMER, Some(TIMER))));
    assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
    m.end(VcpuId(0));
    m.private(VcpuId(0), gicd::ICENABLER, 1 << TIMER.0);
    assert!(!at_once(&mut m), "it is disabled");
}

#[test]
fn a_timer_switched_off_while_its_interrupt_was_disabled_is_not_delivered() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.private(VcpuId(0), gicd::ICENABLER, 1 << TIMER.0);
        m.set_timer(VcpuId(0), true);
        assert!(m.cpus[0].physical_active, "quiet, not storming");
        assert_eq!(m.acknowledge(VcpuId(0)), None);
        m.cpus[0].line = false;
        m.private(VcpuId(0), gicd::ISENABLER, 1 << TIMER.0);
        assert_eq!(m.acknowledge(VcpuId(0)), None);
        assert!(!m.cpus[0].physical_active, "ready for the next");
        m.set_timer(VcpuId(0), true);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
    }
}

#[test]
fn clearing_the_active_state_of_the_timer_deactivates_the_physical_one() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.set_timer(VcpuId(0), true);
        m.acknowledge(VcpuId(0));
        m.cpus[0].line = false;
        m.cpus[0].running.clear();
        m.private(VcpuId(0), gicd::ICACTIVER, 1 << TIMER.0);
        assert!(!m.cpus[0].physical_active);
        assert_eq!(m.read_private(VcpuId(0), 0, gicd::ISACTIVER), 0);
        m.set_timer(VcpuId(0), true);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
    }
}

#[test]
fn another_vcpu_can_clear_the_active_state_of_the_timer() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.set_timer(VcpuId(1), true);
    m.acknowledge(VcpuId(1));
    m.cpus[1].line = false;
    m.redist(VcpuId(0), 1, SGI_BASE + gicd::ICACTIVER, 1 << TIMER.0);
    assert!(!m.cpus[1].physical_active);
    assert_eq!(m.read_private(VcpuId(0), 1, gicd::ISACTIVER), 0);
}

#[test]
fn a_parked_vcpu_leaves_no_physical_interrupt_active() {
    for version in BOTH {
        for acknowledged in [false, true] {
            let mut m = GuestMachine::ready(version, 1, 32, 4);
            m.set_timer(VcpuId(0), true);
            m.set_level(VcpuId(0), 33, true);
            if acknowledged {
                m.acknowledge(VcpuId(0));
            }
            m.cpus[0].line = false;
            m.vgic.park(VcpuId(0), &mut m.cpus[0]);
            assert!(!m.cpus[0].physical_active);
            assert!(m.cpus[0].lrs.iter().all(|lr| lr.state == LrState::Invalid));
            assert!(m.vgic.has_pending(VcpuId(0)), "the SPI still is");
            m.kick(VcpuSet::one(VcpuId(0)));
            let listed = m.cpus[0].lrs.iter().filter(|lr| lr.state != LrState::Invalid);
            assert_eq!(listed.count(), 1 + usize::from(acknowledged));
        }
    }
}

#[test]
fn a_timer_that_fires_after_its_interrupt_was_pended_by_hand_is_linked() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 1, 32, 4);
        m.private(VcpuId(0), gicd::ISPENDR, 1 << TIMER.0);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
        m.end(VcpuId(0));
        m.set_timer(VcpuId(0), true);
        assert!(m.cpus[0].physical_active);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((TIMER.0, 0)));
        m.cpus[0].line = false;
        m.end(VcpuId(0));
        assert!(!m.cpus[0].physical_active);
        assert_eq!(m.acknowledge(VcpuId(0)), None);
    }
}
