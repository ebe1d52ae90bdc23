//! Loads and stores of both faces of virtio devices.

use std::sync::Arc;

use assay_spec::addr::Region;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::lr::LrState;

use super::accesses::{loads, stores, syndrome};
use super::fixture::{RT, Vm};
use crate::exits::Accessed;
use crate::layout;
use crate::vgic::Version;
use crate::virtio::{Kind, Link, News};

const FRONT: u64 = layout::VIRTIO.0;
const FACE: u64 = layout::FACES.start.0;
const CONFIG: u64 = layout::PCI_CONFIG.start.0 + (1 << 15);
const STATUS: u64 = 0x70;
const CONTROL: u64 = 0x14;

fn link(number: usize) -> Arc<Link> {
    Arc::new(Link::new(number, Kind::Net, Region { start: layout::RAM, size: 0x1000_0000 }))
}

/// A VM with a device, and the one that is its backend.
fn pair() -> (Vm, Vm) {
    let link = link(7);
    let (mut front, mut back) = (Vm::new(Version::V3, 1), Vm::new(Version::V3, 1));
    front.machine.virtio.push(link.clone());
    back.machine.faces.push(link);
    back.machine.pci = true;
    let functions = back.machine.face_functions().collect();
    back.devices.lock().functions = functions;
    for vm in [&mut front, &mut back] {
        vm.enable_interrupts();
        vm.store(0x0800_0084, Width::W4, u32::MAX.into());
        vm.store(0x0800_0104, Width::W4, u32::MAX.into());
    }
    (front, back)
}

fn set_up(front: &mut Vm, back: &mut Vm) {
    back.store(FACE + 0x34, Width::W4, 1);
    back.store(FACE + CONTROL, Width::W4, 1);
    front.store(FRONT + 0x24, Width::W4, 1);
    front.store(FRONT + 0x20, Width::W4, 1);
    for status in [3, 0xb, 0xf] {
        front.store(FRONT + STATUS, Width::W4, status);
    }
}

#[test]
fn a_vcpu_that_waits_for_the_backend_stays_where_it_is() {
    let (mut front, mut back) = pair();
    let before = front.frame();
    assert_eq!(front.accessed(syndrome(FRONT + 8, loads(Width::W4))), Accessed::Wait);
    assert_eq!(front.frame(), before);
    back.store(FACE + CONTROL, Width::W4, 1);
    assert_eq!(back.cpu.told, [(7, News { front: true, wake: true, back: false })]);
    assert_eq!(front.load(FRONT + 8, Width::W4), 1);
}

#[test]
fn a_kick_goes_to_the_other_vm_without_a_lock_of_this_one() {
    let (mut front, mut back) = pair();
    set_up(&mut front, &mut back);
    front.cpu.told.clear();
    front.general.set(RT, 1);
    let held = front.devices.lock();
    let done = crate::exits::between(
        syndrome(FRONT + 0x50, stores(Width::W4)),
        &mut front.general,
        (&front.vcpu, &front.machine, &front.devices),
        &mut front.cpu,
    );
    drop(held);
    assert_eq!(done, Accessed::Done);
    assert_eq!(front.cpu.told, [(7, News { back: true, ..News::default() })]);
    let kicks = back.devices.lock().update_face(&back.machine, 0);
    assert_eq!(kicks.iter().next(), Some(VcpuId(0)));
}

#[test]
fn the_backends_line_is_low_while_its_function_has_intx_off_and_status_shows_it() {
    let (mut front, mut back) = pair();
    set_up(&mut front, &mut back);
    assert_eq!(back.load(CONFIG, Width::W4), 0xa55a_1234);
    assert_eq!(back.load(CONFIG + 0x10, Width::W4), FACE);
    assert_eq!(back.load(CONFIG + 4, Width::W4) >> 19 & 1, 1, "READY is an event");
    let intid = layout::pci_intid(0);
    back.store(CONFIG + 4, Width::W2, 0x402);
    back.devices.lock().update_face(&back.machine, 0);
    assert_eq!(back.cpu.listed(intid), LrState::Invalid);
    back.store(CONFIG + 4, Width::W2, 0x002);
    assert_eq!(back.cpu.listed(intid), LrState::Pending);
    assert_eq!(back.load(FACE + 0xc, Width::W4), 0x100);
    assert_eq!(back.load(CONFIG + 4, Width::W4) >> 19 & 1, 0);
    assert_eq!(back.cpu.commands, [], "no function of the machine is touched");
}

#[test]
fn the_drivers_line_falls_when_it_has_answered() {
    let (mut front, mut back) = pair();
    set_up(&mut front, &mut back);
    back.store(FACE + 0x18, Width::W4, 1);
    let intid = layout::virtio_intid(0);
    let _ = front.devices.lock().update_virtio(&front.machine, 0);
    assert_eq!(front.load(FRONT + 0x60, Width::W4), 1);
    front.store(FRONT + 0x64, Width::W4, 1);
    assert_eq!(front.cpu.listed(intid), LrState::Invalid);
}

#[test]
fn beyond_the_last_device_there_is_nothing() {
    let (mut front, mut back) = pair();
    for (vm, places) in [(&mut front, [FRONT + 0x1000, FACE]), (&mut back, [FACE + 0x1000, FRONT])] {
        for ipa in places {
            assert_eq!(vm.accessed(syndrome(ipa, loads(Width::W4))), Accessed::Nothing);
        }
    }
}
