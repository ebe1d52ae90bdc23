//! The driver: registers of virtio over MMIO, version 2 (Virtual I/O Device 1.2 §4.2.2).

use core::cell::UnsafeCell;

use guest_kit::fdt::Node;
use guest_kit::machine::machine;
use guest_kit::mmio::{self, probe_read, probe_write};
use guest_kit::random::Random;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, irq, println, text::Text, timer};

const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SEL: u64 = 0x024;
const QUEUE_SEL: u64 = 0x030;
const QUEUE_SIZE: u64 = 0x038;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const INTERRUPT_ACK: u64 = 0x064;
const STATUS: u64 = 0x070;
const AREAS: [u64; 3] = [0x080, 0x090, 0x0a0];

const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;
/// ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK.
const STEPS: [u32; 4] = [1, 3, 11, 15];
const ENTRIES: u32 = 16;
/// For what the backend, another VM, has to do.
const LIMIT_US: u64 = 20_000_000;

/// Where a queue may be.
#[repr(align(4096))]
struct Room(UnsafeCell<[u8; 4096]>);
// SAFETY: nobody in this program looks at it.
unsafe impl Sync for Room {}
static ROOM: Room = Room(UnsafeCell::new([0; 4096]));

/// The first device's node.
fn node() -> Result<Node, Stop> {
    let node = machine().tree.compatible("virtio,mmio");
    node.ok_or_else(|| Stop::Fail(Text::new(format_args!("no virtio device in the tree"))))
}

/// Where it is.
fn device() -> Result<u64, Stop> {
    Ok(node()?.reg(0).map_or(0, |(start, _)| start))
}

/// On return the backend has let go of the queues.
fn reset(device: u64) -> Outcome {
    mmio::write32(device + STATUS, 0);
    ensure_equal!(mmio::read32(device + STATUS), 0, "Status after a reset");
    Ok(())
}

/// Sets the device up, with a queue whose areas are at these addresses.
fn set_up(device: u64, areas: [u64; 3], entries: u32) -> Outcome {
    reset(device)?;
    for step in STEPS {
        if step & FEATURES_OK != 0 && mmio::read32(device + STATUS) & FEATURES_OK == 0 {
            mmio::write32(device + DRIVER_FEATURES_SEL, 1);
            mmio::write32(device + DRIVER_FEATURES, 1);
        }
        mmio::write32(device + STATUS, step);
        ensure_equal!(mmio::read32(device + STATUS) & step, step, "Status in a step");
        if step == 11 {
            mmio::write32(device + QUEUE_SEL, 0);
            mmio::write32(device + QUEUE_SIZE, entries);
            for (register, area) in AREAS.into_iter().zip(areas) {
                mmio::write32(device + register, area as u32);
                mmio::write32(device + register + 4, (area >> 32) as u32);
            }
            mmio::write32(device + QUEUE_READY, 1);
        }
    }
    Ok(())
}

fn in_ram() -> [u64; 3] {
    let room = ROOM.0.get() as u64;
    [room, room + 0x400, room + 0x800]
}

pub fn known() -> Outcome {
    let device = device()?;
    ensure_equal!(mmio::read32(device), 0x7472_6976, "MagicValue");
    ensure_equal!(mmio::read32(device + 4), 2, "Version");
    let kind = mmio::read32(device + 8);
    ensure!((1..=3).contains(&kind), "DeviceID is {}", kind);
    Ok(())
}

pub fn works() -> Outcome {
    let device = device()?;
    set_up(device, in_ram(), ENTRIES)?;
    mmio::write32(device + QUEUE_NOTIFY, 0);
    let used = timer::wait_for(LIMIT_US, || mmio::read32(device + INTERRUPT_STATUS) & 1 != 0);
    ensure!(used, "no interrupt by the backend");
    mmio::write32(device + INTERRUPT_ACK, 1);
    ensure_equal!(mmio::read32(device + STATUS), 15, "Status of a device that works");
    reset(device)
}

pub fn outside() -> Outcome {
    let device = device()?;
    let (end, good) = (machine().ram_end(), in_ram());
    for bad in [0, device, end, end - 8, 0x8_0000_0000, u64::MAX - 0xff, u64::MAX] {
        for area in 0..3 {
            let mut areas = good;
            areas[area] = bad;
            set_up(device, areas, ENTRIES)?;
            mmio::write32(device + QUEUE_NOTIFY, 0);
            let broken = timer::wait_for(LIMIT_US, || mmio::read32(device + STATUS) & NEEDS_RESET != 0);
            ensure!(broken, "area {} at {:#x} is taken", area, bad);
            reset(device)?;
        }
    }
    for entries in [0, 257, 0x8000_0000, u32::MAX] {
        set_up(device, good, entries)?;
        mmio::write32(device + QUEUE_NOTIFY, 0);
        let broken = timer::wait_for(LIMIT_US, || mmio::read32(device + STATUS) & NEEDS_RESET != 0);
        ensure!(broken, "{} entries are taken", entries);
        reset(device)?;
    }
    Ok(())
}

pub fn random() -> Outcome {
    let device = device()?;
    let mut random = Random::of_bootargs();
    for _ in 0..20_000 {
        let bytes = 1 << random.below(4);
        // Now and then behind the device, where the next one is, or none.
        let page = if random.below(16) == 0 { 0x1000 * random.below(6) } else { 0 };
        let address = device + page + (random.below(0x1000) & !(bytes - 1));
        if random.below(2) == 0 {
            let _ = probe_read(address, bytes as u32);
        } else {
            let _ = probe_write(address, random.draw(), bytes as u32);
        }
    }
    reset(device)
}

pub fn flood() -> Outcome {
    let device = device()?;
    let mut random = Random::of_bootargs();
    set_up(device, in_ram(), ENTRIES)?;
    for n in 0..20_000u32 {
        let queue = if n % 4 == 0 { random.draw() as u32 } else { n % 8 };
        mmio::write32(device + QUEUE_NOTIFY, queue);
    }
    ensure_equal!(mmio::read32(device + STATUS), 15, "Status after the flood");
    reset(device)
}

pub fn resets() -> Outcome {
    let device = device()?;
    for n in 0..200u64 {
        let areas = if n % 3 == 0 { [n << 20; 3] } else { in_ram() };
        set_up(device, areas, ENTRIES)?;
        for _ in 0..n % 4 {
            mmio::write32(device + QUEUE_NOTIFY, 0);
        }
    }
    reset(device)
}

/// Notifies the backend `times` times, and waits for its interrupt each time. As Linux's driver does, it asks what the interrupt
/// is for, and acknowledges that.
pub fn pass(times: u32) -> Outcome {
    let device = device()?;
    let intid = node()?.intid(0).ok_or_else(|| Stop::Fail(Text::new(format_args!("no interrupt"))))?;
    irq::admit(intid);
    let _ = mmio::read32(device + 8);
    set_up(device, in_ram(), ENTRIES)?;
    let start = timer::now();
    for _ in 0..times {
        mmio::write32(device + QUEUE_NOTIFY, 0);
        crate::take(intid, || {
            let why = mmio::read32(device + INTERRUPT_STATUS);
            mmio::write32(device + INTERRUPT_ACK, why);
        });
    }
    let ticks = timer::now().wrapping_sub(start);
    println!("BENCH virtio_io {} ns", timer::nanoseconds(ticks) / u64::from(times.max(1)));
    Ok(())
}
