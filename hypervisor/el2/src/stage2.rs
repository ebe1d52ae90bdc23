//! The memory behind one VM's stage-2 tables, and the one place that stores a stage-2 descriptor.
//!
//! The invariant that everything rests on is enforced here, whatever safe code decided before: a leaf points
//! into memory that was granted to this VM, a table entry to one of its own tables, and granted memory is
//! never EL2's. A VM's own RAM is granted to that VM alone, and to those that it is lent to; memory between VMs to
//! several. What a VM has from others is never executable, and writable to those that may write. A violation is a bug of ours and stops the machine.
//!
//! Once tables are in use nothing more is granted to them, and pages only leave them: what was broken is forgotten by all
//! TLBs before anything is made (DDI0487 D8.17.1), and no leaf leads to a page again that was withdrawn.

use alloc::vec::Vec;

use assay_spec::addr::{Address, PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::{CONTIGUOUS_ENTRIES, Descriptor, LAST_LEVEL, Rights, Shape, entry_size};

use crate::claim::claim;
use crate::coherent::CoherentMemory;
use crate::frames::{self, Frames, Use};
use crate::guest_ram::{GuestRam, LentRam};
use crate::shared::SharedRam;
use crate::sysreg::{dsb_ishst, isb};
use crate::{heap, tlb};

/// One page of tables.
struct Page {
    start: Pa,
    /// Its level: known from the start for the root, else from when it is linked. Nothing is stored before.
    level: Option<u8>,
}

/// `VTCR_EL2` and `VTTBR_EL2` for tables that [`TableMemory::store`] has filled: only
/// [`TableMemory::put_in_use`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Regime {
    pub(crate) vtcr: u64,
    pub(crate) vttbr: u64,
}

/// The same of tables for a VM's devices: only [`TableMemory::put_in_use_by_devices`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRegime {
    pub(crate) vtcr: u64,
    pub(crate) root: Pa,
    pub(crate) vmid: u16,
}

/// Memory for a VM, by what it is.
pub enum Memory<'a> {
    /// RAM that this VM has alone, or with those that it is lent to. How it is mapped is the policy's matter.
    Ram(&'a mut GuestRam),
    /// RAM that this VM has alone to read: what EL2 tells it. Its devices have nothing to do with that.
    Told(&'a mut GuestRam),
    /// Coherent memory that this VM has alone, with whatever type the policy decided.
    Coherent(&'a mut CoherentMemory),
    /// RAM between VMs: by leaves that nobody executes from, and that let write only with these rights.
    Shared(&'a SharedRam, Rights),
    /// RAM of another VM, lent for good: by leaves that nobody executes from.
    Lent(&'a LentRam),
    /// A device's registers that every VM may see: the GIC's virtual CPU interface.
    Interface(Region<Pa>),
    /// A device's registers, which only this VM has: none of its devices is led there, the device itself neither. What the
    /// device itself accesses is led by its streams, or by `ecam`'s Bus Master if it is a PCI function; of a device of the
    /// platform tree that has no stream, nothing here can stop it, and only `plan` says that it accesses nothing.
    Registers(Region<Pa>),
}

/// Memory that the tables may lead to, and the most that a leaf there may allow.
struct Granted {
    region: Region<Pa>,
    write: bool,
    execute: bool,
    /// Whether the VM's devices may be led there too.
    devices: bool,
}

impl Granted {
    /// A device's registers, if they are nobody's who must not share them.
    fn registers(region: Region<Pa>, use_: Use) -> Option<Self> {
        claim(region, use_).then_some(Self { region, write: true, execute: false, devices: false })
    }

    fn allows(&self, descriptor: Descriptor) -> bool {
        (self.write || !descriptor.is_writable()) && (self.execute || !descriptor.is_executable())
    }
}

/// The tables of one VM and the memory that they may lead to.
pub struct TableMemory {
    start_level: u8,
    pages: Vec<Page>,
    frames: Vec<Frames>,
    granted: Vec<Granted>,
    /// They are for the VM's devices, else for its vCPUs.
    for_devices: bool,
    /// The VMID under which a guest may run on them, or a device.
    in_use: Option<u16>,
    /// Entries were broken, and TLBs may still know what they were.
    is_stale: bool,
    /// Pages that no leaf may lead to any more.
    withdrawn: Vec<Pa>,
}

/// A VMID that tables are in use under: TLBs know translations by it, and those of SMMUs are others than those of CPUs
/// (`SMMU_CR2.PTM`).
struct InUse {
    vmid: u16,
    for_devices: bool,
    /// How many streams of devices may pass the tables, or are not known to have been stopped.
    streams: usize,
}

static IN_USE: spin::Mutex<Vec<InUse>> = spin::Mutex::new(Vec::new());

/// Notes that a stream more, or one less, passes the tables of devices under `vmid`.
pub(crate) fn count_stream(vmid: u16, passes: bool) {
    let mut all = IN_USE.lock();
    for one in all.iter_mut().filter(|one| one.for_devices && one.vmid == vmid) {
        one.streams = if passes { one.streams + 1 } else { one.streams.saturating_sub(1) };
    }
}

/// The pages that can be withdrawn from a VM: room for them is taken at the boot.
const WITHDRAWN: usize = 16;

/// Heap that taking frames for tables while VMs run is not to exceed: two vectors' entries, and the frames' books.
const BOOKS: usize = 8 << 10;

/// `VTCR_EL2` bits 13:8: walks are Inner Shareable and Write-Back, as the stores of descriptors are.
const WALKS: u64 = 0x35;

impl TableMemory {
    /// Makes an empty set whose first allocation will be the root at `start_level`.
    pub fn new(start_level: u8) -> Self {
        Self {
            start_level,
            pages: Vec::new(),
            frames: Vec::new(),
            granted: Vec::new(),
            for_devices: false,
            in_use: None,
            is_stale: false,
            withdrawn: Vec::new(),
        }
    }

    /// Makes an empty set for the devices of the VM whose tables these are: it may lead to the memory that the VM has been
    /// granted by now, to write where the VM may write, and to no registers. Nothing there is executable. Its root will be at
    /// `start_level`.
    pub fn for_devices(&self, start_level: u8) -> Self {
        let memory = self.granted.iter().filter(|granted| granted.devices);
        let granted = memory.map(|granted| Granted { execute: false, ..*granted }).collect();
        Self { granted, for_devices: true, ..Self::new(start_level) }
    }

    /// Lets the tables lead to `memory`, and returns where that is. `None` if registers are EL2's own, or given away:
    /// neither the image, nor anything that frames came from, nor a device that EL2 drives is ever granted.
    ///
    /// # Panics
    /// If some VM has RAM or coherent memory already, or the tables are in use: our bug.
    pub fn grant(&mut self, memory: Memory<'_>) -> Option<Region<Pa>> {
        assert!(self.in_use.is_none(), "memory is granted to tables in use");
        let granted = match memory {
            Memory::Ram(ram) => {
                assert!(ram.grant(), "RAM of one VM is granted twice");
                Granted { region: ram.region(), write: true, execute: true, devices: true }
            }
            Memory::Told(ram) => {
                assert!(ram.grant(), "RAM of one VM is granted twice");
                Granted { region: ram.region(), write: false, execute: false, devices: false }
            }
            Memory::Coherent(memory) => {
                assert!(memory.grant(), "coherent memory is granted twice");
                Granted { region: memory.region(), write: true, execute: true, devices: true }
            }
            Memory::Shared(memory, rights) => {
                let write = rights == Rights::ReadWrite;
                Granted { region: memory.region(), write, execute: false, devices: true }
            }
            Memory::Lent(ram) => Granted { region: ram.region(), write: true, execute: false, devices: false },
            Memory::Interface(region) => Granted::registers(region, Use::Granted)?,
            Memory::Registers(region) => Granted::registers(region, Use::Registers)?,
        };
        let region = granted.region;
        self.granted.push(granted);
        Some(region)
    }

    /// Puts the tables in use under `vmid`. Before this nothing of them can be cached, and afterwards pages only leave them
    /// ([`Self::withdraw`]).
    ///
    /// `None` if a walk with this `vtcr` would not begin at their root, at the level they were made for, with
    /// no more start tables than there are: it would take guest memory for tables. Or if it would not see what was
    /// stored; or if other tables are in use under the VMID. Only 4 KiB, no DS, HA or HD.
    pub fn put_in_use(&mut self, vmid: u16, vtcr: u64) -> Option<Regime> {
        let root = self.close(vmid, vtcr, false)?;
        Some(Regime { vtcr, vttbr: assay_spec::stage2_desc::vttbr(vmid, root) })
    }

    /// Puts tables made by [`Self::for_devices`] in use under `vmid`, as [`Self::put_in_use`] does with a VM's: an SMMU
    /// walks them as `vtcr` says.
    pub fn put_in_use_by_devices(&mut self, vmid: u16, vtcr: u64) -> Option<DeviceRegime> {
        let root = self.close(vmid, vtcr, true)?;
        Some(DeviceRegime { vtcr, root, vmid })
    }

    /// Ends the granting of memory, and the storing of descriptors without further ado. Returns where the tables are.
    fn close(&mut self, vmid: u16, vtcr: u64, for_devices: bool) -> Option<Pa> {
        let root = self.frames.first()?.region();
        let (t0sz, sl0) = (vtcr & 0x3f, vtcr >> 6 & 3);
        let bits = 64u64.checked_sub(t0sz)?;
        let indexed = u64::from(assay_spec::stage2_desc::shift(self.start_level)) + 9;
        let tables = 1u64.checked_shl(u32::try_from(bits.saturating_sub(indexed)).ok()?)?;
        let fits = sl0 + u64::from(self.start_level) == 2 && bits <= 48 && tables * PAGE_SIZE <= root.size;
        if !fits || vtcr >> 8 & 0x3f != WALKS || vtcr >> 14 & 3 != 0 || vtcr >> 21 & 3 != 0 || vtcr >> 32 != 0 {
            return None;
        }
        // Without VTCR_EL2.VS the CPU compares 8 bits of the VMID.
        if vmid > 0xff && vtcr >> 19 & 1 == 0 {
            return None;
        }
        self.publish();
        let mut all = IN_USE.lock();
        let is_taken = all.iter().any(|one| one.vmid == vmid && one.for_devices == for_devices);
        if self.in_use.is_some() || self.for_devices != for_devices || is_taken {
            return None;
        }
        all.push(InUse { vmid, for_devices, streams: 0 });
        self.withdrawn.reserve_exact(WITHDRAWN);
        self.in_use = Some(vmid);
        Some(root.start)
    }

    /// Returns the bytes that the tables take.
    pub fn bytes(&self) -> u64 {
        self.frames.iter().map(|frames| frames.region().size).sum()
    }

    /// Takes `pages` zeroed pages, naturally aligned.
    pub fn alloc(&mut self, pages: usize) -> Option<Pa> {
        // At the boot the heap was sized for it.
        let has_room = self.in_use.is_none() || heap::reserve(BOOKS);
        if !has_room || self.pages.try_reserve(pages).is_err() || self.frames.try_reserve(1).is_err() {
            return None;
        }
        let frames = frames::take(pages as u64 * PAGE_SIZE)?;
        let region = frames.region();
        // SAFETY: frames hold no Rust object and are mapped read-write by EL2's map.
        unsafe { crate::fill::zero(region, false) };
        let level = self.pages.is_empty().then_some(self.start_level);
        let starts = (0..region.size / PAGE_SIZE).map(|page| Pa(region.start.0 + page * PAGE_SIZE));
        self.pages.extend(starts.map(|start| Page { start, level }));
        self.frames.push(frames);
        Some(region.start)
    }

    fn page_of(&self, address: Pa) -> Option<usize> {
        let start = address.align_down(PAGE_SIZE);
        self.pages.iter().rposition(|page| page.start == start)
    }

    /// Loads a descriptor of these tables; zero from anywhere else.
    pub fn load(&self, entry: Pa) -> u64 {
        if self.page_of(entry).is_none() || !entry.is_aligned(8) {
            return 0;
        }
        // SAFETY: an aligned word in a page of ours; the hardware may read it too, and writes nothing (VTCR.HA = 0).
        unsafe { (entry.0 as *const u64).read_volatile() }
    }

    /// Stores a descriptor, ordered after all earlier stores.
    ///
    /// # Panics
    /// If the entry is not in these tables or the descriptor leads where this VM must not get, or to a page that was
    /// withdrawn; if a TLB may know another translation by the entry: our bug.
    pub fn store(&mut self, entry: Pa, descriptor: u64) {
        let allowed = self.page_of(entry).is_some_and(|page| self.allows(page, Descriptor(descriptor)));
        assert!(allowed && entry.is_aligned(8), "stage-2 descriptor {descriptor:#x} at {entry} leads out of the VM");
        if self.in_use.is_some() {
            let is_made = descriptor != 0;
            assert!(!is_made || self.load(entry) == 0 && !self.is_stale, "{descriptor:#x} at {entry} was not broken");
            self.is_stale |= !is_made;
        }
        dsb_ishst();
        // SAFETY: an aligned word in a page of ours that holds no Rust object, checked above.
        unsafe { (entry.0 as *mut u64).write_volatile(descriptor) }
    }

    /// Tells whether `descriptor` may stand in page `page`; a table that it links gets its level.
    fn allows(&mut self, page: usize, descriptor: Descriptor) -> bool {
        let Some(level) = self.pages[page].level else {
            return false;
        };
        match descriptor.shape(level) {
            Shape::Table(table) => self.link(table, level + 1),
            Shape::Leaf => self.allows_leaf(descriptor, level),
            Shape::Invalid => true,
        }
    }

    /// Tells whether a leaf of `level` leads into granted memory only, as it was granted: all of what the hardware makes of it,
    /// which ignores the address bits below the block size, and may take one entry of a contiguous group for
    /// the whole group (DDI0487 D8.7.1).
    fn allows_leaf(&self, descriptor: Descriptor, level: u8) -> bool {
        let group = if descriptor.is_contiguous() { CONTIGUOUS_ENTRIES } else { 1 };
        let size = entry_size(level) * group;
        let memory = Region { start: descriptor.output().align_down(size), size };
        descriptor.output().is_aligned(entry_size(level))
            && self.grant_of(memory).is_some_and(|granted| granted.allows(descriptor))
            && !self.withdrawn.iter().any(|page| memory.contains(*page))
    }

    /// Gives a table, which is empty until then, the level at which it is linked.
    fn link(&mut self, table: Pa, level: u8) -> bool {
        let page = self.pages.iter_mut().rfind(|page| page.start == table);
        page.is_some_and(|page| level <= LAST_LEVEL && *page.level.get_or_insert(level) == level)
    }

    fn grant_of(&self, memory: Region<Pa>) -> Option<&Granted> {
        self.granted.iter().find(|granted| granted.region.covers(&memory))
    }

    /// Tells whether a VM may be given `memory`.
    pub fn may_map(&self, memory: Region<Pa>) -> bool {
        self.grant_of(memory).is_some()
    }

    /// Makes earlier stores visible to table walks of all CPUs.
    pub fn publish(&mut self) {
        dsb_ishst();
        isb();
    }

    /// Lets no leaf that is stored from now on lead to `page`. False if a stream of the VM's devices may pass the tables, or
    /// too many pages have been withdrawn: the tables stay as they are then.
    pub fn withdraw(&mut self, page: Pa) -> bool {
        let is_new = !self.withdrawn.contains(&page);
        if self.is_passed() || is_new && self.withdrawn.len() == self.withdrawn.capacity() {
            return false;
        }
        if is_new {
            self.withdrawn.push(page);
        }
        true
    }

    /// Tells whether a stream may pass the tables, which are for devices.
    fn is_passed(&self) -> bool {
        let is_it = |one: &InUse| one.for_devices && self.for_devices && Some(one.vmid) == self.in_use;
        IN_USE.lock().iter().any(|one| is_it(one) && one.streams != 0)
    }

    /// Makes earlier stores visible to table walks, and has all TLBs forget what they know of these tables.
    ///
    /// # Panics
    /// If a stream may pass them: our bug.
    pub fn forget(&mut self) {
        self.publish();
        if self.for_devices {
            // An SMMU was told to forget the VMID when the last stream there ended (`Stream::abort`), and knows none of a
            // VMID that no stream passes.
            assert!(!self.is_passed(), "tables are changed that a device uses");
        } else if let Some((vmid, root)) = self.in_use.zip(self.frames.first()) {
            tlb::invalidate_vm_of(assay_spec::stage2_desc::vttbr(vmid, root.region().start));
        }
        self.is_stale = false;
    }
}
