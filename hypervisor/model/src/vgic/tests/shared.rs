//! Rules about a shared interrupt with a physical one behind it: a device's that the VM was given.

use super::fake::{GuestMachine, TIMER};
use crate::vcpus::VcpuSet;
use crate::vgic::Version;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::dist as gicd;
use assay_spec::intid::IntId;

const BOTH: [Version; 2] = [Version::V2, Version::V3];
const SPI: IntId = IntId(35);

/// A VM of two, and a physical interrupt that EL2 has taken.
fn taken(version: Version) -> GuestMachine {
    let mut m = GuestMachine::ready(version, 2, 32, 4);
    route(&mut m, 0);
    m.cpus[0].physical_active = true;
    m.cpus[0].line = true;
    m
}

fn route(m: &mut GuestMachine, vcpu: u64) {
    match m.vgic.version {
        Version::V3 => m.dist_write(VcpuId(0), gicd::IROUTER + 8 * 35, Width::W8, vcpu),
        Version::V2 => m.dist_write(VcpuId(0), gicd::ITARGETSR + 35, Width::W1, 1 << vcpu),
    }
}

#[test]
fn it_is_linked_and_ends_with_the_guests_own_deactivation() {
    for version in BOTH {
        let mut m = taken(version);
        let kicks = m.vgic.hw_fired(VcpuId(0), SPI, TIMER, &mut m.cpus[0]);
        m.kick(kicks);
        assert_eq!(m.acknowledge(VcpuId(1)), None);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((35, 0)));
        m.cpus[0].line = false;
        m.end(VcpuId(0));
        assert!(!m.cpus[0].physical_active);
        assert_eq!(m.acknowledge(VcpuId(0)), None);
    }
}

#[test]
fn the_line_of_one_that_is_held_is_the_physical_ones() {
    for version in BOTH {
        let mut m = taken(version);
        m.vgic.sync_lr(VcpuId(0), &mut m.cpus[0]);
        m.vgic.hold(VcpuId(0), SPI, TIMER);
        assert_eq!(m.vgic.set_level(VcpuId(0), SPI, false), VcpuSet::EMPTY);
        assert!(m.vgic.has_pending(VcpuId(0)));
        m.vgic.park(VcpuId(0), &mut m.cpus[0]);
        assert!(!m.vgic.has_pending(VcpuId(0)), "it will say so again");
        assert_eq!(m.vgic.set_level(VcpuId(0), SPI, true), VcpuSet::one(VcpuId(0)));
        assert!(m.vgic.has_pending(VcpuId(0)));
    }
}

#[test]
fn one_that_comes_while_no_guest_is_there_waits_for_it() {
    for version in BOTH {
        let mut m = taken(version);
        m.vgic.sync_lr(VcpuId(0), &mut m.cpus[0]);
        let kicks = m.vgic.hold(VcpuId(0), SPI, TIMER);
        assert_eq!(kicks, VcpuSet::one(VcpuId(0)));
        assert!(m.vgic.has_pending(VcpuId(0)));
        m.kick(kicks);
        assert_eq!(m.acknowledge(VcpuId(0)), Some((35, 0)));
        m.cpus[0].line = false;
        m.end(VcpuId(0));
        assert!(!m.cpus[0].physical_active);
    }
}

#[test]
fn one_that_is_disabled_is_kept_until_it_is_enabled() {
    let mut m = taken(Version::V3);
    m.dist(VcpuId(0), gicd::ICENABLER + 4, 1 << 3);
    let kicks = m.vgic.hold(VcpuId(0), SPI, TIMER);
    m.kick(kicks);
    assert_eq!(m.acknowledge(VcpuId(0)), None);
    assert!(m.cpus[0].physical_active, "quiet, not storming");
    m.dist(VcpuId(0), gicd::ISENABLER + 4, 1 << 3);
    assert_eq!(m.acknowledge(VcpuId(0)), Some((35, 0)));
}

#[test]
fn its_target_is_the_vcpu_that_the_guest_chose_if_there_is_one() {
    for version in BOTH {
        let mut m = taken(version);
        assert_eq!(m.vgic.target(SPI), Some(VcpuId(0)));
        route(&mut m, 1);
        assert_eq!(m.vgic.target(SPI), Some(VcpuId(1)));
        route(&mut m, 7);
        assert_eq!(m.vgic.target(SPI), None);
        assert_eq!(m.vgic.target(TIMER), None, "not shared");
        assert_eq!(m.vgic.target(IntId(64)), None, "not there");
    }
}

#[test]
fn the_end_of_a_life_leaves_none_active_whosever_it_is() {
    for version in BOTH {
        let mut m = taken(version);
        route(&mut m, 7);
        m.vgic.hold(VcpuId(0), SPI, TIMER);
        for vcpu in [0, 1] {
            m.vgic.park(VcpuId(vcpu), &mut m.cpus[vcpu]);
        }
        assert!(m.cpus[0].physical_active, "nobody's");
        m.vgic.release_shared(&mut m.cpus[0]);
        assert!(!m.cpus[0].physical_active);
    }
}
