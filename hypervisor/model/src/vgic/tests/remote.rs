//! Rules about what one vCPU does to the interrupts of another.

use super::fake::GuestMachine;
use crate::vcpus::VcpuSet;
use crate::vgic::{Read, Version};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::dist as gicd;
use assay_spec::intid::IntId;

const BOTH: [Version; 2] = [Version::V2, Version::V3];

#[test]
fn a_waiting_vcpu_knows_what_wakes_it() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.vgic.sync_lr(VcpuId(1), &mut m.cpus[1]);
    assert!(!m.vgic.has_pending(VcpuId(1)));
    assert_eq!(m.vgic.set_level(VcpuId(1), IntId(30), true), VcpuSet::one(VcpuId(1)));
    assert!(m.vgic.has_pending(VcpuId(1)));
    m.vgic.set_level(VcpuId(1), IntId(30), false);
    assert!(!m.vgic.has_pending(VcpuId(1)));
    let kicks = m.vgic.sgi1r(VcpuId(0), 2, &mut m.cpus[0]);
    assert_eq!(kicks, VcpuSet::one(VcpuId(1)));
    assert!(m.vgic.has_pending(VcpuId(1)));
}

#[test]
fn what_its_interface_masks_does_not_wake_a_vcpu() {
    const GROUP0: u32 = 1;
    const GROUP1: u32 = 2;
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 2, 32, 4);
        match version {
            Version::V3 => m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 1),
            Version::V2 => m.dist_write(VcpuId(0), gicd::ITARGETSR + 33, Width::W1, 2),
        }
        m.dist_write(VcpuId(0), gicd::IPRIORITYR + 33, Width::W1, 0x80);
        m.set_level(VcpuId(0), 33, true);
        m.vgic.sync_lr(VcpuId(1), &mut m.cpus[1]);
        assert!(m.vgic.has_pending(VcpuId(1)));
        for (mask, groups, wakes) in [
            (0xf8, GROUP1, true),
            (0x88, GROUP0 | GROUP1, true),
            (0x80, GROUP0 | GROUP1, false),
            (0x00, GROUP0 | GROUP1, false),
            (0xf8, GROUP0, false),
            (0xf8, 0, false),
        ] {
            let vmcr = mask << 24 | groups;
            assert_eq!(m.vgic.wakes(VcpuId(1), vmcr), wakes, "{version:?} {vmcr:#x}");
            assert!(!m.vgic.wakes(VcpuId(0), vmcr), "it is another's");
        }
        m.dist(VcpuId(0), gicd::IGROUPR + 4, 0);
        m.vgic.sync_lr(VcpuId(1), &mut m.cpus[1]);
        m.dist(VcpuId(0), gicd::CTLR, gicd::CTLR_ENABLE_GRP0);
        m.vgic.sync_lr(VcpuId(1), &mut m.cpus[1]);
        assert!(m.vgic.wakes(VcpuId(1), 0xf8 << 24 | GROUP0));
        assert!(!m.vgic.wakes(VcpuId(1), 0xf8 << 24 | GROUP1));
    }
}

#[test]
fn a_more_urgent_interrupt_wakes_whatever_is_masked_beside_it() {
    let mut m = GuestMachine::ready(Version::V3, 1, 32, 4);
    m.dist_write(VcpuId(0), gicd::IPRIORITYR + 40, Width::W1, 0xa0);
    m.dist_write(VcpuId(0), gicd::IPRIORITYR + 41, Width::W1, 0x20);
    m.vgic.set_level(VcpuId(0), IntId(40), true);
    assert!(!m.vgic.wakes(VcpuId(0), 0x80 << 24 | 2));
    m.vgic.set_level(VcpuId(0), IntId(41), true);
    assert!(m.vgic.wakes(VcpuId(0), 0x80 << 24 | 2));
}

#[test]
fn a_new_route_takes_a_pending_interrupt_along() {
    for version in BOTH {
        let mut m = GuestMachine::ready(version, 2, 32, 4);
        m.set_level(VcpuId(0), 33, true);
        match version {
            Version::V3 => m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 1),
            Version::V2 => m.dist_write(VcpuId(0), gicd::ITARGETSR + 33, Width::W1, 2),
        }
        assert_eq!(m.acknowledge(VcpuId(0)), None);
        assert_eq!(m.acknowledge(VcpuId(1)), Some((33, 0)));
    }
}

#[test]
fn an_edge_that_comes_while_active_goes_to_the_new_target() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.dist(VcpuId(0), gicd::ICFGR + 8, 2 << 2);
    m.dist(VcpuId(0), gicd::ISPENDR + 4, 2);
    assert_eq!(m.acknowledge(VcpuId(0)), Some((33, 0)));
    m.dist(VcpuId(0), gicd::ISPENDR + 4, 2);
    m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 1);
    m.end(VcpuId(0));
    assert_eq!(m.acknowledge(VcpuId(0)), None);
    assert_eq!(m.acknowledge(VcpuId(1)), Some((33, 0)));
}

#[test]
fn a_route_to_nobody_keeps_the_interrupt_pending() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 0x1_0000_0001);
    m.set_level(VcpuId(0), 33, true);
    assert_eq!(m.acknowledge(VcpuId(0)), None);
    assert_eq!(m.acknowledge(VcpuId(1)), None);
    assert_eq!(m.read_dist(VcpuId(0), gicd::ISPENDR + 4), 2);
    m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33 + 4, Width::W4, 0);
    assert_eq!(m.acknowledge(VcpuId(1)), Some((33, 0)));
}

#[test]
fn rwp_reads_one_until_the_other_vcpu_has_given_the_interrupt_back() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 1);
    m.set_level(VcpuId(0), 33, true);
    let kicks = m.vgic.dist_write(VcpuId(0), gicd::ICENABLER + 4, (Width::W4, 2), &mut m.cpus[0]);
    let kicks = kicks.expect("it is there");
    assert_eq!(kicks, VcpuSet::one(VcpuId(1)));
    assert_ne!(m.read_dist(VcpuId(0), gicd::CTLR) & gicd::CTLR_RWP, 0);
    m.kick(kicks);
    assert_eq!(m.read_dist(VcpuId(0), gicd::CTLR) & gicd::CTLR_RWP, 0);
    assert_eq!(m.acknowledge(VcpuId(1)), None);
}

#[test]
fn a_read_of_what_another_vcpu_has_listed_waits_for_that_vcpu() {
    let mut m = GuestMachine::ready(Version::V3, 3, 32, 4);
    m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 1);
    m.set_level(VcpuId(0), 33, true);
    m.acknowledge(VcpuId(1));
    let read = |m: &mut GuestMachine, vcpu: VcpuId| {
        m.vgic.dist_read(vcpu, gicd::ISACTIVER + 4, Width::W4, &mut m.cpus[vcpu.0]).expect("it is there")
    };
    assert_eq!(read(&mut m, VcpuId(0)), Read::Retry(VcpuSet::one(VcpuId(1))));
    assert_eq!(read(&mut m, VcpuId(2)), Read::Retry(VcpuSet::one(VcpuId(1))));
    assert_eq!(read(&mut m, VcpuId(0)), Read::Retry(VcpuSet::one(VcpuId(1))), "not yet");
    m.kick(VcpuSet::one(VcpuId(1)));
    assert_eq!(read(&mut m, VcpuId(0)), Read::Value(2));
    assert_eq!(read(&mut m, VcpuId(2)), Read::Value(2));
    assert_eq!(read(&mut m, VcpuId(0)), Read::Retry(VcpuSet::one(VcpuId(1))), "a new question");
    assert_eq!(read(&mut m, VcpuId(1)), Read::Value(2), "its owner knows");
}

#[test]
fn orders_for_what_another_vcpu_has_listed_are_carried_out_there() {
    let mut m = GuestMachine::ready(Version::V3, 2, 32, 4);
    m.dist(VcpuId(0), gicd::ICFGR + 8, 2 << 2);
    m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 33, Width::W8, 1);
    m.dist(VcpuId(0), gicd::ISPENDR + 4, 2);
    m.dist(VcpuId(0), gicd::ICPENDR + 4, 2);
    assert_eq!(m.acknowledge(VcpuId(1)), None, "withdrawn");
    m.dist(VcpuId(0), gicd::ISPENDR + 4, 2);
    m.dist(VcpuId(0), gicd::ISACTIVER + 4, 2);
    assert_eq!(m.acknowledge(VcpuId(1)), None, "active by order");
    m.dist(VcpuId(0), gicd::ICACTIVER + 4, 2);
    assert_eq!(m.acknowledge(VcpuId(1)), Some((33, 0)));
}
