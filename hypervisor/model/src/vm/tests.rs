use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Region};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;

use super::{Devices, GuestMachine, PHYS_TIMER, VIRT_TIMER, Vcpu};
use crate::doorbell::Doorbells;
use crate::idregs::tests::gic_v3;
use crate::inject::PstateBits;
use crate::layout;
use crate::smccc::Workarounds;
use crate::stage::Start;
use crate::vcpus::VcpuSet;
use crate::vgic::{Frames, Read, Version};
use crate::watchdog::WatchdogFrame;

fn machine(ram: Region<Ipa>) -> GuestMachine {
    GuestMachine {
        id: gic_v3(),
        workarounds: Workarounds::default(),
        pstate: PstateBits::default(),
        ram,
        flashes: Vec::new(),
        gic: Frames::new(Version::V3, 2),
        vcpus: 2,
        rtc: None,
        watchdog: true,
        doorbells: Doorbells::default(),
        pci: false,
        messages: false,
        wires: false,
        virtio: Vec::new(),
        faces: Vec::new(),
        physical_functions: 0,
    }
}

fn small() -> GuestMachine {
    machine(Region { start: layout::RAM, size: 0x1000 })
}

#[test]
fn code_is_what_lies_in_ram_at_a_multiple_of_four() {
    let machine = small();
    for address in [0x4000_0000, 0x4000_0004, 0x4000_0ffc] {
        assert!(machine.is_code(address), "{address:#x}");
    }
    for address in [0, 0x3fff_fffc, 0x4000_0002, 0x4000_0ffd, 0x4000_1000, 0x0900_0000, 0x1_0000_4000_0000, u64::MAX] {
        assert!(!machine.is_code(address), "{address:#x}");
    }
}

#[test]
fn code_reaches_to_the_end_of_ram_at_the_top_of_the_address_space() {
    let top = machine(Region { start: Ipa(u64::MAX - 0xfff), size: 0x1000 });
    assert!(top.is_code(u64::MAX - 3));
    assert!(!top.is_code(0));
}

#[test]
fn the_timers_have_the_interrupts_that_the_device_tree_tells() {
    assert_eq!((PHYS_TIMER.0, VIRT_TIMER.0), (30, 27));
    assert_eq!(layout::TIMER_INTIDS[1..3], [PHYS_TIMER, VIRT_TIMER]);
}

#[test]
fn a_reset_forgets_all_that_the_guest_did() {
    let mut devices = Devices::new(&small());
    devices.power.boot(Start { entry: 0x4000_0000, context: 0 });
    devices.receive(b'a');
    devices.watchdog.write(WatchdogFrame::Control, 0, Width::W4, 1, 0);
    assert!(devices.watchdog_deadline().is_some());
    devices.reset();
    assert_eq!(devices.power.not_off(), VcpuSet::EMPTY);
    assert_eq!(devices.watchdog_deadline(), None);
    // UARTFR.RXFE.
    assert_eq!(devices.uart.read(0x18, Width::W4) & 1 << 4, 1 << 4);
}

#[test]
fn a_ring_makes_the_doorbells_own_interrupt_pending_once() {
    let mut devices = Devices::new(&small());
    assert_eq!(devices.ring(0), VcpuSet::EMPTY, "nobody has enabled it");
    devices.ring(15);
    devices.ring(15);
    // GICD_ISPENDR1: SPI 3 and SPI 18.
    let pending = devices.vgic.dist_read(VcpuId(0), 0x204, Width::W4, &mut NoLists);
    assert_eq!(pending, Some(Read::Value(1 << 3 | 1 << 18)));
    devices.reset();
    let pending = devices.vgic.dist_read(VcpuId(0), 0x204, Width::W4, &mut NoLists);
    assert_eq!(pending, Some(Read::Value(0)));
}

#[test]
fn a_vcpu_at_power_on_has_no_deadline() {
    let vcpu = Vcpu::new(VcpuId(1));
    assert_eq!(vcpu.index, VcpuId(1));
    assert_eq!(vcpu.timer.deadline(), None);
}

#[test]
fn the_line_of_a_physical_timer_that_is_stopped_is_low() {
    const ISPENDR0: u64 = assay_spec::gic::redist::SGI_BASE + 0x200;
    let pending = |devices: &mut Devices| devices.vgic.redist_read(VcpuId(0), ISPENDR0, Width::W4, &mut NoLists);
    let (mut devices, mut vcpu) = (Devices::new(&small()), Vcpu::new(VcpuId(0)));
    vcpu.timer.write(crate::ptimer::Register::Ctl, 1, 10);
    vcpu.update_timer(&mut devices, &mut NoLists, 10);
    assert_eq!(pending(&mut devices), Some(Read::Value(1 << PHYS_TIMER.0)));
    assert_eq!(vcpu.timer_deadline(), None, "its line is high already");
    vcpu.stop_timer(&mut devices);
    assert_eq!(pending(&mut devices), Some(Read::Value(0)));
    vcpu.update_timer(&mut devices, &mut NoLists, 20);
    assert_eq!(pending(&mut devices), Some(Read::Value(0)));
}

struct NoLists;
impl crate::vgic::ListSlots for NoLists {
    fn write(&mut self, _: usize, _: assay_spec::lr::Lr) {}
    fn empty(&self) -> u32 {
        0
    }
}

impl crate::vgic::ListRegisters for NoLists {
    fn count(&self) -> u32 {
        0
    }
    fn read(&self, _: usize) -> assay_spec::lr::Lr {
        assay_spec::gic::hyp::EMPTY
    }
    fn set_maintenance(&mut self, _: u32) {}
    fn deactivate_physical(&mut self, _: assay_spec::intid::IntId) {}
    fn is_deactivation_separate(&self) -> bool {
        false
    }
    fn is_physical_pending(&self, _: assay_spec::intid::IntId) -> bool {
        false
    }
}
