//! A guest's accesses to the controller's frames: from an offset to a [row](super::registers::ROWS), and what goes
//! around it.
//!
//! What is reserved, not naturally aligned, or of a width that the register does not have is RAZ/WI. The architecture
//! leaves those UNPREDICTABLE within limits (IHI 0069H §12.1.3, IHI 0048B §4.1.4), RAZ/WI among them.

use super::registers::{ROWS, Row, Store, View};
use super::{ListRegisters, Read, Version, Vgic};
use crate::speculation::below;
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::{dist as gicd, redist as gicr};

/// A frame of registers, 64 KiB at most: which row an offset belongs to, if any.
pub(super) struct Frame([u8; KEYS]);

/// The Distributor of a GICv2.
pub(super) static DIST_V2: Frame = Frame::new(Row::DIST_V2);
/// The Distributor of a GICv3.
pub(super) static DIST_V3: Frame = Frame::new(Row::DIST_V3);
/// `RD_base` and `SGI_base` of a Redistributor.
static REDIST: [Frame; 2] = [Frame::new(Row::RD), Frame::new(Row::SGI)];

/// Keys of a frame's offsets: no two registers share one. Words at its beginning, then 16 bytes, then pages.
const KEYS: usize = WORDS + (0x1000 - 4 * WORDS) / 16 + 15;
const WORDS: usize = 32;

const fn key(offset: usize) -> usize {
    const QUADS: usize = WORDS - 4 * WORDS / 16;
    const PAGES: usize = KEYS - 16;
    if offset < 4 * WORDS {
        offset / 4
    } else if offset < 0x1000 {
        QUADS + offset / 16
    } else {
        PAGES + offset / 0x1000 % 16
    }
}

impl Frame {
    const fn new(frame: u8) -> Self {
        let mut rows = [0; KEYS];
        let mut n = 1;
        while (n as usize) < ROWS.len() {
            let row = &ROWS[n as usize];
            let mut offset = row.first;
            while row.frames & frame != 0 && offset < row.first + row.size {
                let entry = &mut rows[key(offset as usize)];
                assert!(*entry == 0 || *entry == n, "two registers have one key");
                *entry = n;
                offset += 4;
            }
            n += 1;
        }
        Self(rows)
    }

    /// Finds the register of an access: its row, and the offset in it.
    #[inline(always)]
    pub(super) fn find(&self, offset: u64, width: Width) -> Option<(&'static Row, u32)> {
        let offset = u32::try_from(offset).ok().filter(|offset| *offset < 0x1_0000)?;
        let row = &ROWS[usize::from(self.0[key(offset as usize)])];
        let at = offset.wrapping_sub(row.first);
        (at < row.size && row.widths.allows(offset, width)).then_some((row, at))
    }
}

/// The guest's accesses, on `vcpu`'s own CPU. `None` where there is no frame of this controller.
impl Vgic {
    /// Answers a read in the Distributor's frame.
    #[inline(always)]
    pub fn dist_read(&mut self, vcpu: VcpuId, offset: u64, width: Width, hw: &mut dyn ListRegisters) -> Option<Read> {
        match self.dist.find(offset, width) {
            Some(found) => Some(self.read(vcpu, View::Dist(vcpu), found, hw)),
            None => self.is_in_dist(offset).then_some(Read::Value(0)),
        }
    }

    /// Answers a read at `offset` from the first Redistributor.
    #[inline(always)]
    pub fn redist_read(&mut self, vcpu: VcpuId, offset: u64, width: Width, hw: &mut dyn ListRegisters) -> Option<Read> {
        let (view, frame) = self.redist(offset)?;
        match frame.find(offset % gicr::SGI_BASE, width) {
            Some(found) => Some(self.read(vcpu, view, found, hw)),
            None => Some(Read::Value(0)),
        }
    }

    /// Carries out a write in the Distributor's frame. The vCPU's List Registers are up to date afterwards. Returns whom
    /// else to kick.
    pub fn dist_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        (width, value): (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        match self.dist.find(offset, width) {
            Some(found) => Some(self.write(vcpu, View::Dist(vcpu), found, (width, value), hw)),
            None => self.is_in_dist(offset).then_some(VcpuSet::EMPTY),
        }
    }

    /// Carries out a write at `offset` from the first Redistributor, as [`dist_write`](Self::dist_write) does.
    pub fn redist_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        (width, value): (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        let (view, frame) = self.redist(offset)?;
        match frame.find(offset % gicr::SGI_BASE, width) {
            Some(found) => Some(self.write(vcpu, view, found, (width, value), hw)),
            None => Some(VcpuSet::EMPTY),
        }
    }

    #[cold]
    fn is_in_dist(&self, offset: u64) -> bool {
        offset < if self.version == Version::V2 { gicd::FRAME_V2 } else { gicd::FRAME_V3 }
    }

    /// Finds the frame by an offset from the first Redistributor.
    #[inline(always)]
    fn redist(&self, offset: u64) -> Option<(View, &'static Frame)> {
        let of = below(usize::try_from(offset / gicr::STRIDE).ok()?, self.redists)?;
        Some((View::Redist(VcpuId(of)), &REDIST[(offset / gicr::SGI_BASE % 2) as usize]))
    }

    #[inline(always)]
    fn read(&mut self, vcpu: VcpuId, view: View, (row, at): (&'static Row, u32), hw: &mut dyn ListRegisters) -> Read {
        if row.in_lists {
            return self.read_listed(vcpu, view, (row, at), hw);
        }
        Read::Value((row.get)(self, view, at))
    }

    /// The same for a register that shows what is in List Registers.
    #[inline(never)]
    fn read_listed(
        &mut self,
        vcpu: VcpuId,
        view: View,
        (row, at): (&'static Row, u32),
        hw: &mut dyn ListRegisters,
    ) -> Read {
        let others =
            self.bank(view, row.word(at)).and_then(|bank| self.inspect(vcpu, bank, (view, row.first + at), hw));
        let value = (row.get)(self, view, at);
        self.refill(vcpu, hw);
        others.map_or(Read::Value(value), Read::Retry)
    }

    #[inline(always)]
    fn write(
        &mut self,
        vcpu: VcpuId,
        view: View,
        (row, at): (&'static Row, u32),
        (width, value): (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> VcpuSet {
        if row.in_lists
            && let Some(bank) = self.bank(view, row.word(at))
        {
            self.fold_own(vcpu, bank, hw);
        }
        (row.set)(self, view, at, Store { value, mask: width.truncate(u64::MAX) });
        self.refill(vcpu, hw);
        self.take_kicks(vcpu)
    }
}
