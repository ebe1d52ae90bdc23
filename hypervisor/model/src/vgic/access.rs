//! A guest's accesses to the controller's frames: from an address to a [row](super::registers::ROWS), and what goes
//! around it.
//!
//! What is reserved, not naturally aligned, or of a width that the register does not have is RAZ/WI. The architecture
//! leaves those UNPREDICTABLE within limits (IHI 0069H §12.1.3, IHI 0048B §4.1.4), RAZ/WI among them.

pub use super::registers::View;
use super::registers::{ROWS, Row, Store};
use super::{ListRegisters, Read, Version, Vgic};
use crate::speculation::Bound;
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::{dist as gicd, redist as gicr};

/// A frame of registers, 64 KiB at most: which row an offset belongs to, if any.
struct Frame([u8; KEYS]);

/// The Distributor of a GICv2.
static DIST_V2: Frame = Frame::new(Row::DIST_V2);
/// The Distributor of a GICv3.
static DIST_V3: Frame = Frame::new(Row::DIST_V3);
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

    /// Finds the register of an access. `None` for what is RAZ/WI.
    #[inline(always)]
    fn find(&self, offset: u64, width: Width) -> Option<Register> {
        let offset = (offset % FRAME) as u32;
        let row = &ROWS[usize::from(self.0[key(offset as usize)])];
        let at = offset.wrapping_sub(row.first);
        if at < row.size && row.widths.allows(offset, width) { Some(Register(row, at)) } else { None }
    }
}

/// Bytes of a frame, as addresses tell them apart.
const FRAME: u64 = 0x1_0000;

/// A register, or one of an array of them: its row, and the offset in it.
#[derive(Clone, Copy)]
pub struct Register(pub(super) &'static Row, pub(super) u32);

impl Register {
    /// Tells whether what it shows is in List Registers for the most part.
    #[inline(always)]
    pub fn is_in_lists(self) -> bool {
        self.0.in_lists
    }
}

/// How an access sees the controller, and its register: none if it is RAZ/WI.
pub type Found = (View, Option<Register>);

/// The frames that a controller has: the same for as long as it exists.
#[derive(Clone, Copy)]
pub struct Frames {
    /// The architecture.
    pub version: Version,
    dist: &'static Frame,
    /// Bytes of the Distributor's frame.
    dist_size: u64,
    /// Its Redistributors: a GICv2 has none.
    redists: Bound,
}

impl Frames {
    /// Returns those of the controller that [`Vgic::new`] makes.
    pub fn new(version: Version, vcpus: usize) -> Self {
        match version {
            Version::V2 => Self { version, dist: &DIST_V2, dist_size: gicd::FRAME_V2, redists: Bound::new(0) },
            Version::V3 => {
                let redists = Bound::new(super::possible_vcpus(version, vcpus));
                Self { version, dist: &DIST_V3, dist_size: gicd::FRAME_V3, redists }
            }
        }
    }

    /// Finds the register of `vcpu`'s access at an offset in the Distributor's frame. `None` beyond it.
    #[inline(always)]
    pub fn dist(&self, vcpu: VcpuId, offset: u64, width: Width) -> Option<Found> {
        if offset < self.dist_size { Some((View::Dist(vcpu), self.dist.find(offset, width))) } else { None }
    }

    /// Finds the register of an access at an offset from the first Redistributor. `None` beyond the last.
    #[inline(always)]
    pub fn redist(&self, offset: u64, width: Width) -> Option<Found> {
        let of = self.redists.below(usize::try_from(offset / gicr::STRIDE).ok()?)?;
        let frame = &REDIST[(offset / gicr::SGI_BASE % 2) as usize];
        Some((View::Redist(VcpuId(of)), frame.find(offset, width)))
    }
}

/// The guest's accesses, on `vcpu`'s own CPU.
impl Vgic {
    /// Answers a read of a register that is not [in lists](Register::is_in_lists).
    #[inline(always)]
    pub fn read(&self, view: View, Register(row, at): Register) -> u64 {
        (row.get)(self, view, at)
    }

    /// Answers a read of one that is.
    pub fn read_listed(
        &mut self,
        vcpu: VcpuId,
        view: View,
        Register(row, at): Register,
        hw: &mut dyn ListRegisters,
    ) -> Read {
        let others =
            self.bank(view, row.word(at)).and_then(|bank| self.inspect(vcpu, bank, (view, row.first + at), hw));
        let value = (row.get)(self, view, at);
        self.refill(vcpu, hw);
        others.map_or(Read::Value(value), Read::Retry)
    }

    /// Carries out a write of a register that is not [in lists](Register::is_in_lists). The vCPU's List Registers are up to date
    /// afterwards. Returns whom else to kick.
    #[inline(always)]
    pub fn write(
        &mut self,
        vcpu: VcpuId,
        view: View,
        Register(row, at): Register,
        (width, value): (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> VcpuSet {
        (row.set)(self, view, at, Store { value, mask: width.truncate(u64::MAX) });
        self.refill(vcpu, hw);
        self.take_kicks(vcpu)
    }

    /// The same of one that is.
    pub fn write_listed(
        &mut self,
        vcpu: VcpuId,
        view: View,
        register: Register,
        store: (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> VcpuSet {
        if let Some(bank) = self.bank(view, register.0.word(register.1)) {
            self.fold_own(vcpu, bank, hw);
        }
        self.write(vcpu, view, register, store, hw)
    }
}
