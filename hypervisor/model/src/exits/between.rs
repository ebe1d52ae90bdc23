//! Loads and stores of what is between VMs: doorbells, and both faces of virtio devices.
//!
//! No lock of the VM's is held while another VM is told, and its own only for its own interrupt.

use assay_spec::addr::Ipa;
use assay_spec::esr;
use assay_spec::exit::Access;
use assay_spec::frame::General;

use super::Cpu;
use super::accessed::{Accessed, Here, finish_load};
use crate::layout;
use crate::speculation::below;
use crate::vcpus::VcpuSet;
use crate::virtio::{Answer, News};
use crate::vm::{Devices, GuestMachine};

/// Carries out a load or store of what is between VMs and steps over it.
pub fn between<C: Cpu>(syndrome: (u64, u64, u64), general: &mut General, here: Here<'_, C>, cpu: &mut C) -> Accessed {
    let Some((ipa, access)) = esr::device_access(syndrome) else {
        return Accessed::Nothing;
    };
    let machine = here.1;
    let store = access.is_store().then(|| access.width().truncate(general.get(access.register())));
    let value = if let Some((index, offset)) = machine.doorbells.find(ipa) {
        doorbell(index, offset, (access, store), machine, cpu)
    } else if let Some((index, offset)) = find(ipa, layout::VIRTIO, machine.virtio.len()) {
        match front(index, offset, (access, store), here, cpu) {
            Some(value) => value,
            None => return Accessed::Wait,
        }
    } else if let Some((index, offset)) = find(ipa, layout::FACES.start, machine.faces.len()) {
        back(index, offset, (access, store), here, cpu)
    } else {
        return Accessed::Nothing;
    };
    if store.is_some() {
        cpu.advance()
    } else {
        finish_load(value, access, general, cpu)
    }
    Accessed::Done
}

/// An access, and what it stores.
type Asked = (Access, Option<u64>);

fn doorbell<C: Cpu>(index: usize, offset: u64, (access, store): Asked, machine: &GuestMachine, cpu: &mut C) -> u64 {
    let Some(value) = store else {
        return machine.doorbells.read(index, offset, access.width(), |side| cpu.peers(side));
    };
    if let Some(ring) = machine.doorbells.write(index, offset, access.width(), value) {
        cpu.ring(ring);
    }
    0
}

/// Carries a line of the VM's own that may have changed.
fn interrupt<C: Cpu>((vcpu, _, devices): Here<'_, C>, cpu: &mut C, update: impl FnOnce(&mut Devices) -> VcpuSet) {
    let mut devices = devices.lock();
    let kicks = update(&mut devices).union(devices.vgic.flush_lr(vcpu.index, cpu));
    drop(devices);
    cpu.kick(kicks);
}

/// Finds one of `count` pages from `start` on, and the offset in it.
fn find(ipa: Ipa, start: Ipa, count: usize) -> Option<(usize, u64)> {
    const PAGE: u64 = layout::FACE_SIZE;
    const { assert!(layout::VIRTIO_STRIDE == PAGE) };
    let offset = ipa.0.checked_sub(start.0)?;
    let index = below(usize::try_from(offset / PAGE).ok()?, count)?;
    Some((index, offset % PAGE))
}

/// `None` if the vCPU has to wait.
fn front<C: Cpu>(index: usize, offset: u64, (access, store): Asked, here: Here<'_, C>, cpu: &mut C) -> Option<u64> {
    let link = &here.1.virtio[index];
    let answer = match store {
        None => link.front_read(offset, access.width()),
        Some(value) => link.front_write(offset, access.width(), value),
    };
    let (value, news) = match answer {
        Answer::Done(value, news) => (Some(value), news),
        Answer::Wait(news) => (None, news),
    };
    if news.front {
        interrupt(here, cpu, |devices| devices.update_virtio(here.1, index));
    }
    if news.back {
        cpu.tell(link.number, News { back: true, ..News::default() });
    }
    value
}

fn back<C: Cpu>(index: usize, offset: u64, (access, store): Asked, here: Here<'_, C>, cpu: &mut C) -> u64 {
    let link = &here.1.faces[index];
    let (value, news) = match store {
        None => link.back_read(offset, access.width()),
        Some(value) => (0, link.back_write(offset, access.width(), value)),
    };
    if news.back {
        interrupt(here, cpu, |devices| devices.update_face(here.1, index));
    }
    if news.front || news.wake {
        cpu.tell(link.number, News { back: false, ..news });
    }
    value
}
