//! A backend against a driver, over the very registers that EL2 keeps between them: what works, and what lies.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use assay_model::virtio::{Answer, Kind, Link};
use assay_spec::addr::{Ipa, Region};
use assay_spec::exit::Width;
use vm_memory::{Bytes as _, GuestAddress};

use crate::block::Block;
use crate::face::Registers;
use crate::{Device, Memory, Server};

const RAM: u64 = 0x4000_0000;
const SIZE: u64 = 4 << 20;
const DESCRIPTORS: u64 = RAM + 0x1000;
const AVAILABLE: u64 = RAM + 0x2000;
const USED: u64 = RAM + 0x3000;
const HEADER: u64 = RAM + 0x1_0000;
const STATUS_BYTE: u64 = RAM + 0x1_1000;
const DATA: u64 = RAM + 0x2_0000;
/// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Device status.
const STATUS: u64 = 0x70;
const NEEDS_RESET: u64 = 0x40;

/// The backend's face of the registers.
struct Back(Arc<Link>);

impl Registers for Back {
    fn load(&self, offset: u64) -> u32 {
        u32::try_from(self.0.back_read(offset, Width::W4).0).unwrap()
    }
    fn store(&self, offset: u64, value: u32) {
        let _ = self.0.back_write(offset, Width::W4, value.into());
    }
}

/// A driver, the backend of its device, and the RAM that both see.
struct Pair<D> {
    link: Arc<Link>,
    memory: Memory,
    server: Server<Back, D>,
    posted: u16,
}

impl<D: Device> Pair<D> {
    fn new(kind: Kind, device: D) -> Self {
        let ram = Region { start: Ipa(RAM), size: SIZE };
        let link = Arc::new(Link::new(0, kind, ram));
        let memory = Memory::from_ranges(&[(GuestAddress(RAM), usize::try_from(SIZE).unwrap())]).unwrap();
        let server = Server::start(Back(link.clone()), device, memory.clone());
        Self { link, memory, server, posted: 0 }
    }

    fn store(&self, offset: u64, value: u64) {
        assert!(matches!(self.link.front_write(offset, Width::W4, value), Answer::Done(..)), "{offset:#x} waits");
    }

    fn load(&self, offset: u64) -> u64 {
        match self.link.front_read(offset, Width::W4) {
            Answer::Done(value, _) => value,
            Answer::Wait(_) => panic!("{offset:#x} waits"),
        }
    }

    fn word(&self, address: u64, value: u16) {
        self.memory.write_obj(value, GuestAddress(address)).unwrap();
    }

    /// Sets the device up with a queue of 8 at these places.
    fn set_up(&mut self, places: [u64; 3], size: u64) -> Option<String> {
        self.posted = 0;
        for place in [DESCRIPTORS, AVAILABLE, USED] {
            self.memory.write_slice(&[0; 0x1000], GuestAddress(place)).unwrap();
        }
        self.store(STATUS, 3);
        self.store(0x24, 1);
        self.store(0x20, 1);
        self.store(STATUS, 0xb);
        self.store(0x30, 0);
        self.store(0x38, size);
        for (place, register) in places.into_iter().zip([0x80, 0x90, 0xa0]) {
            self.store(register, place & 0xffff_ffff);
            self.store(register + 4, place >> 32);
        }
        self.store(0x44, 1);
        self.store(STATUS, 0xf);
        self.server.look()
    }

    fn reset(&mut self) {
        assert!(matches!(self.link.front_write(STATUS, Width::W4, 0), Answer::Wait(_)), "it is done at once");
        assert_eq!(self.server.look(), None);
        self.store(STATUS, 0);
    }

    fn describe(&self, index: u64, address: u64, length: u32, flags: u16, next: u16) {
        let at = DESCRIPTORS + 16 * index;
        self.memory.write_obj(address, GuestAddress(at)).unwrap();
        self.memory.write_obj(length, GuestAddress(at + 8)).unwrap();
        self.word(at + 12, flags);
        self.word(at + 14, next);
    }

    /// Makes the chain that begins with `head` available, and kicks.
    fn post(&mut self, head: u16) -> Option<String> {
        self.word(AVAILABLE + 4 + 2 * u64::from(self.posted % 8), head);
        self.posted += 1;
        self.kick(self.posted)
    }

    fn kick(&mut self, index: u16) -> Option<String> {
        self.word(AVAILABLE + 2, index);
        self.store(0x50, 0);
        self.server.look()
    }

    fn used(&self) -> u16 {
        self.memory.read_obj(GuestAddress(USED + 2)).unwrap()
    }
}

/// A disk of 64 KiB whose sectors begin with their number.
fn disk() -> Pair<Block> {
    let path =
        std::env::temp_dir().join(format!("assay-backend-{}-{:?}", std::process::id(), std::thread::current().id()));
    let mut file = File::create_new(&path).unwrap();
    for sector in 0..128u8 {
        file.write_all(&[[sector; 4].as_slice(), &[0; 508]].concat()).unwrap();
    }
    let file = File::options().read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    Pair::new(Kind::Block, Block::new(file, false).unwrap())
}

fn live() -> Pair<Block> {
    let mut disk = disk();
    assert_eq!(disk.set_up([DESCRIPTORS, AVAILABLE, USED], 8), None);
    disk
}

impl Pair<Block> {
    fn header(&self, kind: u32, sector: u64) {
        self.memory.write_obj(kind, GuestAddress(HEADER)).unwrap();
        self.memory.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
    }

    /// A request of `kind` with data of this length; returns its status.
    fn request(&mut self, kind: u32, sector: u64, length: u32) -> u8 {
        self.header(kind, sector);
        self.describe(0, HEADER, 16, NEXT, 1);
        self.describe(1, DATA, length, NEXT | if kind == 1 { 0 } else { WRITE }, 2);
        self.describe(2, STATUS_BYTE, 1, WRITE, 0);
        self.memory.write_obj(0xee_u8, GuestAddress(STATUS_BYTE)).unwrap();
        assert_eq!(self.post(0), None);
        self.memory.read_obj(GuestAddress(STATUS_BYTE)).unwrap()
    }

    fn first_byte(&self) -> u8 {
        self.memory.read_obj(GuestAddress(DATA)).unwrap()
    }

    /// The device works.
    fn works(&mut self) {
        assert_eq!((self.request(0, 7, 512), self.first_byte()), (0, 7));
    }

    /// The driver has broken the rules, is told so, and after a reset all is well.
    fn breaks(mut self, told: Option<String>) {
        assert!(told.is_some(), "nothing is said");
        assert_eq!(self.load(STATUS) & NEEDS_RESET, NEEDS_RESET);
        assert_eq!(self.load(0x60) & 2, 2, "an interrupt for the configuration");
        self.reset();
        assert_eq!(self.set_up([DESCRIPTORS, AVAILABLE, USED], 8), None);
        self.works();
    }
}

#[test]
fn what_is_written_is_read_and_the_driver_is_interrupted() {
    let mut disk = live();
    assert_eq!(disk.load(0x100), 128, "sectors");
    disk.works();
    assert_eq!(disk.load(0x60), 1);
    disk.memory.write_slice(&[0xab; 1024], GuestAddress(DATA)).unwrap();
    assert_eq!(disk.request(1, 126, 1024), 0);
    disk.memory.write_slice(&[0; 1024], GuestAddress(DATA)).unwrap();
    assert_eq!((disk.request(0, 127, 512), disk.first_byte()), (0, 0xab));
    assert_eq!((disk.request(4, 0, 0), disk.request(8, 0, 20), disk.first_byte()), (0, 0, b'a'));
    assert_eq!(disk.used(), 5);
}

#[test]
fn beyond_the_disk_and_within_a_sector_there_is_an_error_and_no_other_request_is_known() {
    let mut disk = live();
    for (kind, sector, length, status) in [
        (0, 127, 1024, 1),
        (0, u64::MAX, 512, 1),
        (0, u64::MAX / 512, 512, 1),
        (1, 128, 512, 1),
        (0, 0, 100, 1),
        (3, 0, 512, 2),
        (8, 0, 19, 2),
    ] {
        assert_eq!(disk.request(kind, sector, length), status, "{kind} {sector} {length}");
    }
    disk.works();
}

#[test]
fn queues_outside_of_ram_are_refused() {
    for (place, size) in [
        ([RAM - 0x1000, AVAILABLE, USED], 8),
        ([DESCRIPTORS, RAM + SIZE - 8, USED], 8),
        ([DESCRIPTORS, AVAILABLE, u64::MAX - 0xfff], 8),
        ([0, 0, 0], 8),
        ([DESCRIPTORS, AVAILABLE, USED], 0),
        ([DESCRIPTORS, AVAILABLE, USED], 7),
        ([DESCRIPTORS, AVAILABLE, USED], 512),
        ([DESCRIPTORS, AVAILABLE, USED], 0x1_0008),
    ] {
        let mut disk = disk();
        let told = disk.set_up(place, size);
        disk.breaks(told);
    }
}

#[test]
fn an_index_that_runs_ahead_of_the_queue_is_refused() {
    let mut disk = live();
    let told = disk.kick(9);
    disk.breaks(told);
}

#[test]
fn buffers_outside_of_ram_are_refused_and_nothing_is_written() {
    for (address, length) in
        [(RAM - 8, 512), (RAM + SIZE - 8, 512), (u64::MAX - 8, 512), (0, 512), (RAM + SIZE, 1), (DATA, u32::MAX)]
    {
        let mut disk = live();
        disk.header(0, 0);
        disk.describe(0, HEADER, 16, NEXT, 1);
        disk.describe(1, address, length, NEXT | WRITE, 2);
        disk.describe(2, STATUS_BYTE, 1, WRITE, 0);
        let told = disk.post(0);
        disk.breaks(told);
    }
}

#[test]
fn a_chain_that_is_a_circle_ends() {
    let mut disk = live();
    disk.header(0, 0);
    disk.describe(0, HEADER, 16, NEXT, 1);
    disk.describe(1, DATA, 512, NEXT | WRITE, 2);
    disk.describe(2, DATA, 512, NEXT | WRITE, 1);
    // It is cut at the queue's size: 7 buffers of 512 bytes, the last of them for the answer.
    let told = disk.post(0);
    assert_eq!((told, disk.used()), (None, 1));
    disk.works();
}

#[test]
fn a_request_without_header_or_room_for_the_answer_is_refused() {
    for (length, flags) in [(15, 0), (16, 0), (16, WRITE)] {
        let mut disk = live();
        disk.describe(0, HEADER, length, flags, 0);
        let told = disk.post(0);
        disk.breaks(told);
    }
}

#[test]
fn a_table_within_a_table_is_refused() {
    let mut disk = live();
    let at = DATA;
    disk.describe(0, at, 32, INDIRECT, 0);
    for (offset, value) in [(0, at), (8, 32 | u64::from(INDIRECT) << 32)] {
        disk.memory.write_obj(value, GuestAddress(at + offset)).unwrap();
    }
    let told = disk.post(0);
    disk.breaks(told);
}

#[test]
fn a_driver_that_changes_its_rings_meanwhile_harms_only_its_own_device() {
    let mut disk = live();
    let (memory, end) = (disk.memory.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stop = end.clone();
    let hostile = std::thread::spawn(move || {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let place = [DESCRIPTORS, AVAILABLE, USED, HEADER][usize::try_from(seed % 4).unwrap()];
            memory.write_obj(seed, GuestAddress(place + (seed >> 8) % 0x80)).unwrap();
        }
    });
    // How many lies are found out is the scheduler's matter; what each kind leads to, the other tests say.
    for _ in 0..1_000_000 {
        disk.store(0x50, 0);
        if disk.server.look().is_some() {
            disk.reset();
            let _ = disk.set_up([DESCRIPTORS, AVAILABLE, USED], 8);
        }
    }
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    hostile.join().unwrap();
    disk.reset();
    assert_eq!(disk.set_up([DESCRIPTORS, AVAILABLE, USED], 8), None);
    assert_eq!(disk.request(4, 0, 0), 0);
}
