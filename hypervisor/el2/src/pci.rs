//! PCI configuration space as memory (ECAM, PCI Express Base Specification 4.0 §7.2.2): words of one host bridge's
//! window, and nothing beyond it.
//!
//! Which words are read or written is `model`'s matter.

use core::arch::global_asm;
use core::mem::offset_of;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use crate::frames::{self, Use};
use crate::image;
use crate::mmu::{self, Kind};
use crate::percpu::PerCpu;

/// Bytes of configuration space that a bus has.
const BUS_BYTES: u64 = 0x10_0000;
/// Bytes that a function has.
const FUNCTION_BYTES: u64 = 0x1000;

/// A host bridge's configuration space, in EL2's map for good: no VM can be granted any of it.
#[derive(Clone, Copy, Debug)]
pub struct Ecam {
    window: Region<Pa>,
    first_bus: u8,
}

impl Ecam {
    /// Maps `window`, which begins with bus `first_bus`. Allocates, at the boot only.
    ///
    /// `None` if it is not of whole pages, or in part the image's, memory that frames come from, something else in
    /// EL2's map, or given to somebody already.
    pub fn open(window: Region<Pa>, first_bus: u8) -> Option<Self> {
        let free = window.is_aligned(PAGE_SIZE)
            && !window.overlaps(&image::region())
            && !frames::manages(window)
            && !mmu::is_mapped(window, |kind| kind != Kind::Configuration)
            && frames::keep(window, Use::Configuration);
        if !free {
            return None;
        }
        mmu::add(window, Kind::Configuration).ok()?;
        Some(Self { window, first_bus })
    }

    /// Returns where the word at `offset` of a function is, if that is in the window.
    fn address(&self, requester_id: u16, offset: u16) -> Option<u64> {
        let bus = u64::from(requester_id >> 8).checked_sub(u64::from(self.first_bus))?;
        let function = bus * BUS_BYTES + u64::from(requester_id & 0xff) * FUNCTION_BYTES;
        let at = function + u64::from(offset & 0xffc);
        (at + 4 <= self.window.size).then_some(self.window.start.0 + at)
    }

    /// Reads a word; all ones outside of the window, where nothing answers, and where the bridge answers with an
    /// abort. Bits 1:0 of `offset` and those from 12 on count as 0.
    pub fn read(&self, requester_id: u16, offset: u16) -> u32 {
        let Some(address) = self.address(requester_id, offset) else {
            return u32::MAX;
        };
        // SAFETY: an aligned word of the window, which `open` mapped and which is no memory that Rust
        // objects or a guest could be in; an abort is recovered.
        unsafe { pci_read(address) }
    }

    /// Writes a word; nothing happens where there is none.
    pub fn write(&self, requester_id: u16, offset: u16, value: u32) {
        if let Some(address) = self.address(requester_id, offset) {
            // SAFETY: as in `read`. What the write makes a function do is our caller's matter: EL2 keeps Bus
            // Master 0, so that no function writes to memory.
            unsafe { pci_write(address, value) }
        }
    }
}

unsafe extern "C" {
    fn pci_read(address: u64) -> u32;
    fn pci_write(address: u64, value: u32);
}

// The barriers keep an abort, which may come late, within the reach of its recovery, and a write complete before
// what it changes is used.
global_asm!(
    ".section .text.pci, \"ax\"",
    ".globl pci_read",
    "pci_read:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    ldr   w0, [x0]",
    "    dsb   sy",
    "    str   xzr, [x2, #{RECOVERY}]",
    "    ret",
    "9:  mov   w0, #-1",
    "    ret",
    ".globl pci_write",
    "pci_write:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    str   w1, [x0]",
    "    dsb   sy",
    "    str   xzr, [x2, #{RECOVERY}]",
    "9:  ret",
    RECOVERY = const offset_of!(PerCpu, recovery),
);
