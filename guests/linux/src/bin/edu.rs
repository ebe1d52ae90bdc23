//! `edu node N | dax`: QEMU's teaching device as an accelerator that a program drives from user space by `uio_pci_generic`. It
//! copies between the guest's RAM and coherent memory, which is that of NUMA node N, or `/dev/dax0.0`.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use linux_guests::ktap::{self, Outcome, equal};
use linux_guests::map::Map;

const DRIVER: &str = "/sys/bus/pci/drivers/uio_pci_generic";
/// Vendor and device, as sysfs has them.
const IDS: (&str, &str) = ("0x1234", "0x11e8");
/// Offsets of the registers (QEMU's docs/specs/edu.rst), all in BAR 0.
const ID: usize = 0x00;
const INTERRUPTS: usize = 0x24;
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;
const DMA: usize = 0x80;
const DMA_COMMAND: usize = 0x98;
/// Where the device's own buffer is, for its DMA engine.
const OWN: u64 = 0x4_0000;
/// Bits of `DMA_COMMAND`, and of `INTERRUPTS` after a copy.
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
const INTERRUPT: u64 = 4;
const COPIED: u32 = 0x100;
/// The Command register of the configuration space, and its bits.
const COMMAND: u64 = 4;
const BUS_MASTER: u16 = 1 << 2;
const INTX_DISABLE: u16 = 1 << 10;

const PAGE: usize = 4096;
/// Of coherent memory; the copies go to pages of it that are apart.
const LENGTH: usize = 4 << 20;
const ROUNDS: usize = 16;
/// What the device may take for a copy.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let coherent = || match (std::env::args().nth(1).as_deref(), std::env::args().nth(2)) {
        (Some("dax"), None) => Map::file(&open("/dev/dax0.0")?, 0, LENGTH, 0).map_err(words),
        (Some("node"), Some(node)) => {
            let node = node.parse().map_err(|_| format!("{node} is no node"))?;
            Map::on_node(LENGTH, 0, node).map_err(words)
        }
        _ => Err("say `node N` or `dax`".to_owned()),
    };
    ktap::run(vec![
        ("the_device_is_bound", Box::new(bind)),
        ("what_a_register_raises_interrupts_once_each", Box::new(raises)),
        ("it_copies_between_ram_and_coherent_memory_and_each_copy_interrupts", Box::new(|| copies(&coherent()?))),
    ])
}

fn words(error: std::io::Error) -> String {
    error.to_string()
}

fn open(path: &str) -> Result<File, String> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| format!("{path}: {error}"))
}

/// The device's folder in sysfs.
fn folder() -> Result<PathBuf, String> {
    let all = fs::read_dir("/sys/bus/pci/devices").map_err(words)?;
    let is = |device: &PathBuf, name, id: &str| {
        fs::read_to_string(device.join(name)).is_ok_and(|text: String| text.trim() == id)
    };
    let mut all = all.flatten().map(|entry| entry.path());
    all.find(|device| is(device, "vendor", IDS.0) && is(device, "device", IDS.1)).ok_or("no edu".to_owned())
}

fn bind() -> Outcome {
    fs::write(format!("{DRIVER}/new_id"), "1234 11e8").map_err(|error| format!("{DRIVER}/new_id: {error}"))?;
    let device = Device::open()?;
    equal("the identification register", device.registers.read32(ID), 0x0100_00ed)
}

/// The device, as the kernel gives it to a program.
struct Device {
    config: File,
    registers: Map,
    /// Reading it waits for an interrupt, after which INTx is disabled, and gives how many there were.
    uio: File,
    seen: u32,
}

impl Device {
    /// Opens it, with Bus Master on and INTx let through.
    fn open() -> Result<Self, String> {
        let folder = folder()?;
        let bar = open(&folder.join("resource0").to_string_lossy())?;
        let uio = fs::read_dir(folder.join("uio")).map_err(|error| format!("no uio: {error}"))?;
        let name = uio.flatten().next().ok_or("no uio")?.file_name();
        let mut device = Self {
            config: open(&folder.join("config").to_string_lossy())?,
            registers: Map::file(&bar, 0, 1 << 20, 0).map_err(words)?,
            uio: open(&format!("/dev/{}", name.to_string_lossy()))?,
            seen: 0,
        };
        device.registers.write32(ACKNOWLEDGE, device.registers.read32(INTERRUPTS));
        device.seen = device.count()?;
        device.command(BUS_MASTER, INTX_DISABLE)?;
        Ok(device)
    }

    /// How many interrupts the kernel has taken.
    fn count(&self) -> Result<u32, String> {
        let path = folder()?.join("uio");
        let name = fs::read_dir(&path).map_err(words)?.flatten().next().ok_or("no uio")?;
        let count = fs::read_to_string(name.path().join("event")).map_err(words)?;
        count.trim().parse().map_err(|_| format!("event is {count:?}"))
    }

    /// Sets and clears bits of the Command register.
    fn command(&self, set: u16, clear: u16) -> Outcome {
        let mut word = [0; 2];
        self.config.read_exact_at(&mut word, COMMAND).map_err(words)?;
        let word = u16::from_le_bytes(word) & !clear | set;
        self.config.write_all_at(&word.to_le_bytes(), COMMAND).map_err(words)
    }

    /// Waits for the next interrupt and ends it: what raised it must be `raised`.
    fn wait(&mut self, raised: u32) -> Outcome {
        let mut count = [0; 4];
        self.uio.read_exact(&mut count).map_err(words)?;
        self.seen += 1;
        equal("interrupts", u32::from_le_bytes(count), self.seen)?;
        equal("what raised it", self.registers.read32(INTERRUPTS), raised)?;
        self.registers.write32(ACKNOWLEDGE, raised);
        self.command(0, INTX_DISABLE)
    }

    /// Copies a page between memory and the device's buffer.
    fn copy(&mut self, memory: u64, to_memory: bool) -> Outcome {
        let (source, target) = if to_memory { (OWN, memory) } else { (memory, OWN) };
        for (index, value) in [source, target, PAGE as u64].into_iter().enumerate() {
            self.registers.write(DMA + 8 * index, value);
        }
        let direction = if to_memory { TO_MEMORY } else { 0 };
        self.registers.write(DMA_COMMAND, START | direction | INTERRUPT);
        self.wait(COPIED)?;
        let start = Instant::now();
        while self.registers.read(DMA_COMMAND) & START != 0 {
            if start.elapsed() > PATIENCE {
                return Err("the device copies for ever".to_owned());
            }
        }
        Ok(())
    }
}

fn raises() -> Outcome {
    let mut device = Device::open()?;
    for value in 1..=20 {
        device.registers.write32(RAISE, value);
        device.wait(value)?;
    }
    equal("interrupts in the end", device.count()?, device.seen)
}

/// Where a page of a mapping is for a device: this guest has no IOMMU of its own, so that it is the page's address.
fn physical(map: &Map, offset: usize) -> Result<u64, String> {
    let pagemap = File::open("/proc/self/pagemap").map_err(words)?;
    let mut entry = [0; 8];
    let page = (map.address() + offset) / PAGE;
    pagemap.read_exact_at(&mut entry, 8 * page as u64).map_err(words)?;
    let entry = u64::from_le_bytes(entry);
    let frame = entry & ((1 << 55) - 1);
    if entry >> 63 == 0 || frame == 0 {
        Err(format!("the page's entry is {entry:#x}"))
    } else {
        Ok(frame * PAGE as u64)
    }
}

fn fill(map: &Map, offset: usize, seed: u64) {
    for at in (0..PAGE).step_by(8) {
        map.write(offset + at, (seed << 32 | at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// The same words, and the number of the first that is another.
fn same(what: &str, (one, one_at): (&Map, usize), (other, other_at): (&Map, usize)) -> Outcome {
    (0..PAGE)
        .step_by(8)
        .try_for_each(|at| equal(&format!("{what}, byte {at:#x}"), one.read(one_at + at), other.read(other_at + at)))
}

fn copies(coherent: &Map) -> Outcome {
    let mut device = Device::open()?;
    let ram = Map::anonymous(2 * PAGE, 0).map_err(words)?;
    let before = device.seen;
    for round in 0..ROUNDS {
        let far = round * (LENGTH / ROUNDS);
        fill(&ram, 0, round as u64);
        fill(&ram, PAGE, !0);
        fill(coherent, far, !0);
        let (source, target, region) = (physical(&ram, 0)?, physical(&ram, PAGE)?, physical(coherent, far)?);
        if round == 0 {
            println!("# RAM at {source:#x}, coherent memory at {region:#x}");
        }
        device.copy(source, false)?;
        device.copy(region, true)?;
        same("into coherent memory", (coherent, far), (&ram, 0))?;
        fill(coherent, far, !(round as u64));
        device.copy(region, false)?;
        device.copy(target, true)?;
        same("out of coherent memory", (&ram, PAGE), (coherent, far))?;
    }
    let count = device.count()?;
    println!("# {} copies, {} interrupts", 4 * ROUNDS, count - before);
    equal("interrupts in the end", count - before, 4 * ROUNDS as u32)
}
