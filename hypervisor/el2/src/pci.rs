//! PCI configuration space as memory (ECAM, PCI Express Base Specification 4.0 §7.2.2): words of one host bridge's
//! window, and nothing beyond it.
//!
//! Which words are read or written is `model`'s matter.

use assay_spec::addr::{Pa, Region};

use crate::claim::claim;
use crate::frames::Use;
use crate::mmu::{self, Kind};
use crate::probe;

/// Bytes of configuration space that a bus has.
const BUS_BYTES: u64 = 0x10_0000;
/// The Command register (PCI Local Bus 3.0 §6.2.2), and its bit that lets a function access memory.
const COMMAND: u16 = 4;
const BUS_MASTER: u32 = 1 << 2;
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
        if !claim(window, Use::Configuration) {
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
    #[inline(never)]
    pub fn read(&self, requester_id: u16, offset: u16) -> u32 {
        let Some(address) = self.address(requester_id, offset) else {
            return u32::MAX;
        };
        // SAFETY: an aligned word of the window, which `open` mapped and which is no memory that Rust
        // objects or a guest could be in; an abort is recovered.
        unsafe { probe::probe_read(address) }
    }

    /// Writes a function's Command register, Bus Master too: for a function whose accesses an SMMU checks.
    pub(crate) fn write_command_of_stream(&self, requester_id: u16, value: u32) {
        if let Some(address) = self.address(requester_id, COMMAND) {
            // SAFETY: as in `read`; and what the function writes to is memory of its VM (`smmu::FunctionStream`).
            unsafe { probe::probe_write(address, value) }
        }
    }

    /// Writes a word; nothing happens where there is none. Bus Master stays 0, whatever `value` says: a function that
    /// wrote to memory would write to anybody's.
    pub fn write(&self, requester_id: u16, offset: u16, value: u32) {
        let value = if offset & 0xffc == COMMAND { value & !BUS_MASTER } else { value };
        if let Some(address) = self.address(requester_id, offset) {
            // SAFETY: as in `read`; and no function can be told to write to memory.
            unsafe { probe::probe_write(address, value) }
        }
    }
}
