//! The backend of all devices: `docs/virtio.md` has the registers of its faces.

use guest_kit::machine::machine;
use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, irq, mmio, println, timer, uart};

const MAGIC: u64 = 0x00;
const KIND: u64 = 0x08;
const EVENTS: u64 = 0x0c;
const CONTROL: u64 = 0x14;
const INTERRUPT: u64 = 0x18;
const RAM: u64 = 0x20;
const DEVICE_FEATURES: u64 = 0x30;
const QUEUE: u64 = 0x200;

const SERVE: u32 = 1;
const LET_GO: u32 = 2;
const BREAK: u32 = 3;
const KICKED: u32 = 0xff;
const RESET: u32 = 1 << 9;
/// A queue's length at most.
pub const MOST: u32 = 256;
/// Bytes of descriptors, of the driver's area and of the device's, for each entry.
const AREAS: [u64; 3] = [16, 2, 8];

/// What has come of the drivers.
#[derive(Default)]
struct Told {
    notices: u32,
    broken: u32,
    resets: u32,
}

/// Calls `each` with the BAR of each face.
fn faces(each: &mut dyn FnMut(u64)) {
    let bridge = machine().tree.compatible("pci-host-ecam-generic").and_then(|bridge| bridge.reg(0));
    let Some((config, _)) = bridge else { return };
    for function in (1..=8).map(|device| config + (device << 15)) {
        if mmio::read32(function) == 0xa55a_1234 {
            each(u64::from(mmio::read32(function + 0x10) & !0xf));
        }
    }
}

fn wide(address: u64) -> u64 {
    u64::from(mmio::read32(address + 4)) << 32 | u64::from(mmio::read32(address))
}

/// Tells whether queue 0 can be where the driver says.
fn is_in_ram(face: u64) -> bool {
    let (start, size) = (wide(face + RAM), wide(face + RAM + 8));
    let entries = mmio::read32(face + QUEUE + 4);
    let fits = |(area, bytes): (u64, u64)| {
        let offset = wide(face + QUEUE + 0x10 + 8 * area).wrapping_sub(start);
        offset < size && size - offset >= bytes * u64::from(entries)
    };
    (1..=MOST).contains(&entries) && (0..).zip(AREAS).all(fits)
}

fn look(face: u64, told: &mut Told) {
    let events = mmio::read32(face + EVENTS);
    if events & RESET != 0 {
        mmio::write32(face + CONTROL, LET_GO);
        told.resets += 1;
    }
    if events & KICKED == 0 {
        return;
    }
    told.notices += 1;
    if is_in_ram(face) {
        mmio::write32(face + INTERRUPT, 1);
    } else {
        mmio::write32(face + CONTROL, BREAK);
        told.broken += 1;
    }
}

/// Serves until somebody types `q`.
pub fn serve() {
    let mut count = 0;
    faces(&mut |face| {
        mmio::write32(face + DEVICE_FEATURES + 4, 1);
        mmio::write32(face + QUEUE, MOST);
        mmio::write32(face + CONTROL, SERVE);
        count += 1;
    });
    println!("virtio: serving {}", count);
    let mut told = Told::default();
    while uart::get() != Some(b'q') {
        faces(&mut |face| look(face, &mut told));
        timer::delay(20);
    }
    println!("virtio: notices={} broken={} resets={}", told.notices, told.broken, told.resets);
}

/// The first face serves `times` notices, each by its interrupt.
pub fn pass(times: u32) -> Outcome {
    let mut first = 0;
    faces(&mut |face| first = if first == 0 { face } else { first });
    ensure!(first != 0, "no face");
    // The first entry of interrupt-map is the first function's: its unit address and pin, the GIC and its unit address.
    let bridge = machine().tree.compatible("pci-host-ecam-generic");
    let gic = machine().tree.compatible("arm,gic-v3").or_else(|| machine().tree.compatible("arm,cortex-a15-gic"));
    let address = gic.and_then(|gic| gic.u32("#address-cells")).unwrap_or(0) as usize;
    let line = bridge.and_then(|bridge| bridge.cell("interrupt-map", 6 + address));
    let intid = 32 + line.ok_or_else(|| Stop::Fail(Text::new(format_args!("no interrupt-map"))))?;
    irq::admit(intid);
    mmio::write32(first + DEVICE_FEATURES + 4, 1);
    mmio::write32(first + QUEUE, MOST);
    mmio::write32(first + CONTROL, SERVE);
    let mut served = 0;
    while served < times {
        crate::take(intid, || {
            let events = mmio::read32(first + EVENTS);
            if events & RESET != 0 {
                mmio::write32(first + CONTROL, LET_GO);
            }
            if events & KICKED != 0 {
                served += 1;
                mmio::write32(first + INTERRUPT, 1);
            }
        });
    }
    Ok(())
}

pub fn whole() -> Outcome {
    let mut count = 0;
    let mut wrong = None;
    faces(&mut |face| {
        count += 1;
        let kind = mmio::read32(face + KIND);
        if mmio::read32(face + MAGIC) != 0x7679_7361 || !(1..=3).contains(&kind) {
            wrong = Some(kind);
        }
    });
    ensure!(count > 0, "no face");
    ensure_equal!(wrong.unwrap_or(0), 0, "the kind of a face that is none");
    Ok(())
}
