//! Where things are in a guest: QEMU `virt`'s addresses and interrupts.
//!
//! Fixed for all VMs but for RAM, so that what was built for that machine runs unchanged.

use assay_spec::addr::{Ipa, Region};
use assay_spec::intid::IntId;

const fn region(start: u64, size: u64) -> Region<Ipa> {
    Region { start: Ipa(start), size }
}

/// The frame for messages of devices; in the tables of the VM's devices an ITS's is there.
pub const V2M: Region<Ipa> = region(0x0802_0000, 0x1000);
/// The first interrupt that a message can be: SPI 32, edge.
pub const MSI_BASE: IntId = IntId(64);
/// How many there are.
pub const MSI_COUNT: u32 = 32;

/// Where RAM begins, unless the manifest says otherwise.
pub const RAM: Ipa = Ipa(0x4000_0000);
/// The Distributor of a GICv3 (IHI0069H 12.8: 64 KiB).
pub const GICD_V3: Region<Ipa> = region(0x0800_0000, 0x1_0000);
/// The Distributor of a GICv2 (IHI0048B 4.1.2: 4 KiB).
pub const GICD_V2: Region<Ipa> = region(0x0800_0000, 0x1000);
/// The CPU interface of a GICv2 (IHI0048B 4.1.3: 8 KiB with `GICC_DIR`).
pub const GICC: Region<Ipa> = region(0x0801_0000, 0x2000);
/// The first vCPU's Redistributor; the others' follow without gaps.
pub const GICR: Ipa = Ipa(0x080a_0000);
/// Bytes of one Redistributor (IHI0069H 12.10: RD_base and SGI_base, 64 KiB each).
pub const GICR_SIZE: u64 = 0x2_0000;
/// The PL011.
pub const UART: Region<Ipa> = region(0x0900_0000, 0x1000);
/// The PL011's interrupt: SPI 1, level.
pub const UART_INTID: IntId = IntId(33);
/// The PL031.
pub const RTC: Region<Ipa> = region(0x0901_0000, 0x1000);
/// Stolen time of a VM that shares CPUs, 64 bytes a vCPU (DEN0057 §3.2): memory that it can read.
pub const STOLEN_TIME: Region<Ipa> = region(0x090a_0000, 0x1000);
/// The watchdog's refresh frame.
pub const WATCHDOG_REFRESH: Region<Ipa> = region(0x090e_0000, 0x1000);
/// The watchdog's control frame.
pub const WATCHDOG_CONTROL: Region<Ipa> = region(0x090f_0000, 0x1000);
/// The watchdog's interrupt: SPI 2, level.
pub const WATCHDOG_INTID: IntId = IntId(34);
/// The first doorbell of a region between VMs; the others' follow without gaps.
pub const DOORBELLS: Ipa = Ipa(0x0b00_0000);
/// Bytes of one doorbell.
pub const DOORBELL_SIZE: u64 = 0x1000;
/// The most doorbells.
pub const DOORBELLS_MAX: usize = 16;
/// The first doorbell's interrupt: SPI 3, edge; the others' follow.
const DOORBELL_INTID: IntId = IntId(35);

/// The first virtio device whose backend is another VM, a page each; the others' follow without gaps. QEMU has its own
/// here.
pub const VIRTIO: Ipa = Ipa(0x0a00_0000);
/// Bytes from one to the next.
pub const VIRTIO_STRIDE: u64 = 0x1000;
/// The most of them.
pub const VIRTIO_MAX: usize = 4;
/// The first one's interrupt: SPI 27, level; the others' follow.
const VIRTIO_INTID: IntId = IntId(59);

/// Returns the interrupt of virtio device `index` (modulo 4).
pub fn virtio_intid(index: usize) -> IntId {
    let index = u32::try_from(index % VIRTIO_MAX).unwrap_or(0);
    IntId(VIRTIO_INTID.0 + index)
}

/// Returns the interrupt of doorbell `index` (modulo 16).
pub fn doorbell_intid(index: usize) -> IntId {
    let index = u32::try_from(index % DOORBELLS_MAX).unwrap_or(0);
    IntId(DOORBELL_INTID.0 + index)
}

/// All of these devices, and room for more: no memory of a guest is there.
pub const DEVICES: Region<Ipa> = region(0x0800_0000, 0x0800_0000);
/// What a VM with PCI functions has besides.
pub const PCI: Region<Ipa> = region(0x1000_0000, 0x3000_0000);
/// What their bridge leads to.
pub const PCI_MEMORY: Region<Ipa> = region(0x1000_0000, 0x2eff_0000);
/// The registers of the machine's functions.
pub const PCI_REGISTERS: Region<Ipa> = region(0x1000_0000, 0x2efe_0000);
/// The registers of functions that EL2 makes up: the backends' faces of virtio devices, a page each.
pub const FACES: Region<Ipa> = region(0x3efe_0000, 0x1_0000);
/// Bytes of one of them.
pub const FACE_SIZE: u64 = 0x1000;
/// Tells whether something between VMs may be at a guest address: a virtio device, a doorbell, or a face.
#[inline(always)]
pub const fn is_between(ipa: Ipa) -> bool {
    /// Bytes of the one half of `DEVICES` that has nothing else, and of `FACES`.
    const HALF: u64 = 0x0200_0000;
    const { assert!(VIRTIO.0 / HALF == DOORBELLS.0 / HALF && FACES.start.0.is_multiple_of(FACES.size)) };
    ipa.0 / HALF == VIRTIO.0 / HALF || ipa.0 / FACES.size == FACES.start.0 / FACES.size
}

/// The configuration space of the emulated PCI host bridge: one bus.
pub const PCI_CONFIG: Region<Ipa> = region(0x3f00_0000, 0x10_0000);
/// The most devices of a VM: PCI functions, and devices of the platform tree.
pub const DEVICES_MAX: usize = 8;
/// The first INTx line of PCI functions: SPI 19, level; the others' follow.
const PCI_INTID: IntId = IntId(51);

/// Returns the interrupt of INTx line `index` (modulo 8).
pub fn pci_intid(index: usize) -> IntId {
    let index = u32::try_from(index % DEVICES_MAX).unwrap_or(0);
    IntId(PCI_INTID.0 + index)
}

/// The registers of devices of the platform tree, from here upwards.
pub const PLATFORM: Region<Ipa> = region(0x0c00_0000, 0x0400_0000);
/// The most interrupts of such devices.
pub const PLATFORM_INTERRUPTS: usize = 32;
/// The first of them: SPI 64; the others' follow.
const PLATFORM_INTID: IntId = IntId(96);

/// Returns interrupt `index` (modulo 32) of the platform's devices.
pub fn platform_intid(index: usize) -> IntId {
    let index = u32::try_from(index % PLATFORM_INTERRUPTS).unwrap_or(0);
    IntId(PLATFORM_INTID.0 + index)
}

/// The interrupt of the performance monitors, the one that SBSA gives them.
pub const PMU_INTID: IntId = IntId(23);
/// The timers' interrupts in the order of the `arm,armv8-timer` binding: secure physical, physical,
/// virtual, hypervisor.
pub const TIMER_INTIDS: [IntId; 4] = [IntId(29), IntId(30), IntId(27), IntId(26)];
