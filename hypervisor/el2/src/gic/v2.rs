//! GICv2 with virtualisation extensions (IHI 0048B): Distributor, CPU interface, virtual interface control.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::hyp::{HCR_EN, v2 as lr_v2};
use assay_spec::gic::is_repeated;
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;
use spin::Once;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};

use super::{Ack, First, GicError, Interface, frame};
use crate::mmio::{Mmio, Registers, is_usable};
use crate::mmu::{self, Kind};
use crate::percpu;
use crate::probe::probe_read;
use crate::sysreg::dsb_ishst;

register_structs! {
    Gicd {
        (0x000 => ctlr: ReadWrite<u32>),
        (0x004 => typer: ReadOnly<u32>),
        (0x008 => _reserved0),
        (0x080 => igroupr: [ReadWrite<u32>; 32]),
        (0x100 => isenabler: [ReadWrite<u32>; 32]),
        (0x180 => icenabler: [ReadWrite<u32>; 32]),
        (0x200 => _reserved1),
        (0x280 => icpendr: [ReadWrite<u32>; 32]),
        (0x300 => _reserved2),
        (0x380 => icactiver: [ReadWrite<u32>; 32]),
        (0x400 => ipriorityr: [ReadWrite<u8>; 1024]),
        (0x800 => itargetsr: [ReadWrite<u8>; 1024]),
        (0xc00 => icfgr: [ReadWrite<u32>; 64]),
        (0xd00 => _reserved3),
        (0xf00 => sgir: WriteOnly<u32>),
        (0xf04 => @END),
    },
    Gicc {
        (0x0000 => ctlr: ReadWrite<u32>),
        (0x0004 => pmr: ReadWrite<u32>),
        (0x0008 => bpr: ReadWrite<u32>),
        (0x000c => iar: ReadOnly<u32>),
        (0x0010 => eoir: WriteOnly<u32>),
        (0x0014 => _reserved0),
        (0x0018 => hppir: ReadOnly<u32>),
        (0x001c => _reserved3),
        (0x00d0 => apr: [ReadWrite<u32>; 4]),
        (0x00e0 => _reserved1),
        (0x00fc => iidr: ReadOnly<u32>),
        (0x0100 => _reserved2),
        (0x1000 => dir: WriteOnly<u32>),
        (0x1004 => @END),
    },
    Gich {
        (0x000 => hcr: ReadWrite<u32>),
        (0x004 => vtr: ReadOnly<u32>),
        (0x008 => vmcr: ReadWrite<u32>),
        (0x00c => _reserved0),
        (0x030 => elrsr: [ReadOnly<u32>; 2]),
        (0x038 => _reserved2),
        (0x0f0 => apr: ReadWrite<u32>),
        (0x0f4 => _reserved3),
        (0x100 => lr: [ReadWrite<u32>; 64]),
        (0x200 => @END),
    }
}

/// GICC_CTLR.EOImode for the group that we use, in both views: EOIR drops the priority, DIR deactivates.
const GICC_EOI_MODE: u32 = 1 << 9;
/// Everything is Group 0 here. From Non-secure state, with the Security Extensions, group registers are RAZ/WI
/// and bit 0 of the enables stands for Group 1, where firmware has put what is ours (IHI 0048B §4.4.1); without
/// them we see the Secure view, in which only Group 0 is acknowledged through IAR and taken as IRQ (FIQEn = 0).
const ENABLE: u32 = 1;

// SAFETY: registers only.
unsafe impl Registers for Gicd {}
// SAFETY: as above.
unsafe impl Registers for Gicc {}
// SAFETY: as above.
unsafe impl Registers for Gich {}

struct Frames {
    distributor: Mmio<Gicd>,
    cpu: Mmio<Gicc>,
    hypervisor: Mmio<Gich>,
}

static FRAMES: Once<Frames> = Once::new();
static LR_COUNT: AtomicU32 = AtomicU32::new(0);
/// The CPU interface number of each of the at most eight CPUs, as a target mask; 0 = not up yet.
static TARGETS: [AtomicU8; 8] = [const { AtomicU8::new(0) }; 8];

#[inline]
fn frames() -> &'static Frames {
    FRAMES.get().unwrap_or_else(|| super::impossible())
}

/// Pages of a CPU interface that show its first 4 KiB sixteen times over, and then its second.
const ALIASED: u64 = 0x2_0000;
/// The last of the sixteen: behind it comes the second page, as the architecture has it.
const LAST_ALIAS: u64 = 0xf000;

/// Finds a CPU interface, physical or virtual, in its frame, which is mapped as Device: a GIC-400 wired for pages of
/// 64 KiB repeats each page in one.
fn unaliased(frame: Region<Pa>) -> Region<Pa> {
    if !is_usable(frame, ALIASED) {
        return frame;
    }
    let last = Region { start: Pa(frame.start.0 + LAST_ALIAS), size: size_of::<Gicc>() as u64 };
    // SAFETY: an aligned word of a frame of at least `ALIASED` bytes, mapped as Device, with neither a Rust object nor a
    // guest in it. A read of GICC_IIDR changes nothing, and an abort is recovered.
    let identity = |page: Pa| unsafe { probe_read(page.0 + offset_of!(Gicc, iidr) as u64) };
    if is_repeated(identity(frame.start), identity(last.start)) { last } else { frame }
}

pub(super) fn interfaces(cpu: Region<Pa>, virtual_cpu: Region<Pa>) -> (Region<Pa>, Region<Pa>) {
    let found = if cpu.size < ALIASED { cpu } else { unaliased(cpu) };
    // Only guests use this one: it is EL2's for this look alone. What a wrong tree has EL2 use too must stay in its map,
    // and of what is not whole pages more would.
    let may_look = virtual_cpu.size >= ALIASED
        && virtual_cpu.is_aligned(PAGE_SIZE)
        && !mmu::is_mapped(virtual_cpu, |_| true)
        && mmu::add(virtual_cpu, Kind::Device).is_ok();
    if !may_look {
        return (found, virtual_cpu);
    }
    let found_virtual = unaliased(virtual_cpu);
    mmu::remove(virtual_cpu);
    (found, found_virtual)
}

pub(super) fn init(distributor: Region<Pa>, cpu: Region<Pa>, hypervisor: Region<Pa>) -> Result<(), GicError> {
    let frames = Frames { distributor: frame(distributor)?, cpu: frame(cpu)?, hypervisor: frame(hypervisor)? };
    let gicd = &frames.distributor;
    gicd.ctlr.set(0);
    let words = (gicd.typer.get() & 0x1f) as usize + 1;
    for word in 1..words.min(32) {
        gicd.icenabler[word].set(u32::MAX);
        gicd.icpendr[word].set(u32::MAX);
        gicd.icactiver[word].set(u32::MAX);
        gicd.igroupr[word].set(0);
    }
    for intid in 32..(words * 32).min(1020) {
        gicd.ipriorityr[intid].set(0x80);
    }
    gicd.ctlr.set(ENABLE);
    let _ = FRAMES.call_once(|| frames);
    Ok(())
}

pub(super) fn init_cpu(private: &[IntId]) -> Result<(), GicError> {
    let frames = frames();
    let gicd = &frames.distributor;
    gicd.icenabler[0].set(u32::MAX);
    gicd.icactiver[0].set(u32::MAX);
    gicd.igroupr[0].set(0);
    for intid in 0..32 {
        gicd.ipriorityr[intid].set(0x80);
    }
    for intid in private.iter().chain([&super::KICK]) {
        gicd.isenabler[0].set(1 << (intid.0 & 31));
    }
    // ITARGETSR0 reads as the mask of the CPU that reads it (IHI 0048B §4.3.12).
    if let Some(target) = TARGETS.get(percpu::index().0) {
        target.store(gicd.itargetsr[0].get(), Ordering::Release);
    }
    // A priority that firmware left active keeps all below it from coming.
    frames.cpu.apr.iter().for_each(|active| active.set(0));
    frames.cpu.pmr.set(0xff);
    frames.cpu.bpr.set(0);
    frames.cpu.ctlr.set(ENABLE | GICC_EOI_MODE);
    LR_COUNT.store((frames.hypervisor.vtr.get() & 0x3f) + 1, Ordering::Relaxed);
    reset_virtual();
    Ok(())
}

#[inline]
pub(super) fn acknowledge() -> u32 {
    // Here, and in the next two and `lr_write`, no panic, which would cost the GICv3's fast path.
    FRAMES.get().map_or(1023, |frames| frames.cpu.iar.get())
}

pub(super) fn highest_pending() -> Option<IntId> {
    // An SGI's sender is above bit 9, as in GICC_IAR.
    FRAMES.get().and_then(|frames| IntId(frames.cpu.hppir.get() & 0x3ff).if_real())
}

#[inline]
pub(super) fn drop_priority(ack: u32) {
    if let Some(frames) = FRAMES.get() {
        frames.cpu.eoir.set(ack);
    }
}

#[inline]
pub(super) fn deactivate(Ack(ack): Ack) {
    if let Some(frames) = FRAMES.get() {
        frames.cpu.dir.set(ack);
    }
}

/// `GICD_ICFGR`, of which each word is for 16 interrupts.
static CONFIGURATION: spin::Mutex<()> = spin::Mutex::new(());

pub(super) fn enable_spi(intid: IntId, cpu: PcpuId, edge: bool) {
    let Some(target) = TARGETS.get(cpu.0) else { return };
    let index = intid.0 as usize;
    if !(32..1020).contains(&index) {
        return;
    }
    let gicd = &frames().distributor;
    let shift = index % 16 * 2 + 1;
    {
        let _lock = CONFIGURATION.lock();
        let config = gicd.icfgr[index / 16].get() & !(1 << shift);
        gicd.icfgr[index / 16].set(config | u32::from(edge) << shift);
    }
    gicd.itargetsr[index].set(target.load(Ordering::Acquire));
    gicd.isenabler[index / 32].set(1 << (index % 32));
}

pub(super) fn disable_spi(intid: IntId) {
    frames().distributor.icenabler[intid.0 as usize / 32].set(1 << (intid.0 % 32));
}

pub(super) fn kick(cpu: PcpuId) {
    let Some(target) = TARGETS.get(cpu.0) else { return };
    dsb_ishst();
    frames().distributor.sgir.set(u32::from(target.load(Ordering::Acquire)) << 16 | super::KICK.0);
}

#[inline]
pub(super) fn lr_count() -> u32 {
    LR_COUNT.load(Ordering::Relaxed)
}

pub(super) fn lr_read(index: usize) -> Lr {
    lr_v2::decode(frames().hypervisor.lr[index].get())
}

#[inline(never)]
pub(super) fn lr_write(index: usize, lr: Lr) {
    if let Some(register) = FRAMES.get().and_then(|frames| frames.hypervisor.lr.get(index)) {
        register.set(lr_v2::encode(lr));
    }
}

#[inline]
pub(super) fn lr_empty() -> u32 {
    frames().hypervisor.elrsr[0].get()
}

pub(super) fn set_maintenance(requests: u32) {
    frames().hypervisor.hcr.set(HCR_EN | requests);
}

pub(super) fn vmcr() -> u32 {
    frames().hypervisor.vmcr.get()
}

pub(super) fn is_pending(intid: IntId) -> bool {
    frames().distributor.icpendr[intid.0 as usize / 32].get() >> (intid.0 % 32) & 1 != 0
}

pub(super) fn save_virtual() -> Interface {
    let (vmcr, apr) = (vmcr(), frames().hypervisor.apr.get());
    Interface { vmcr: vmcr.into(), first: First { ap1r0: apr.into(), ..First::default() }, ..Interface::default() }
}

pub(super) fn load_virtual(interface: &Interface) {
    let gich = &frames().hypervisor;
    gich.vmcr.set(interface.vmcr as u32);
    gich.apr.set(interface.first.ap1r0 as u32);
    // The guest's own accesses go to another frame of the same device.
    crate::sysreg::dsb_sy();
}

pub(super) fn reset_virtual() {
    let gich = &frames().hypervisor;
    for register in gich.lr.iter().take(lr_count() as usize) {
        register.set(0);
    }
    gich.apr.set(0);
    gich.vmcr.set(0);
    gich.hcr.set(HCR_EN);
    // As in `load_virtual`.
    crate::sysreg::dsb_sy();
}
