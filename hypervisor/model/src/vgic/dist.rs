//! The Distributor's frame.

use super::access::bytes_of;
use super::bank::{Forward, bit};
use super::owners::Place;
use super::{ListRegisters, NOBODY, Read, Version, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::exit::Width;
use assay_spec::gic::dist as gicd;
use assay_spec::gic::row::{self, Register};

/// `GICD_IIDR` and `GICR_IIDR`: implementer Arm, as of the virtual interface underneath, with a
/// product identifier of our own ("A").
pub(super) const IIDR: u32 = 0x4100_043b;

impl Vgic {
    /// Answers a guest's read in the Distributor's frame, on `vcpu`'s own CPU. What is not there reads
    /// as zero.
    #[inline(always)]
    pub fn dist_read<H: ListRegisters>(&mut self, vcpu: usize, offset: u64, width: Width, hw: &mut H) -> Read {
        // Read at every interrupt by some guests, and by everyone's benchmark.
        if offset == gicd::TYPER && width == Width::W4 {
            return Read::Value(u64::from(self.typer));
        }
        self.dist_read_any(vcpu, offset, width, hw)
    }

    #[inline(never)]
    fn dist_read_any<H: ListRegisters>(&mut self, vcpu: usize, offset: u64, width: Width, hw: &mut H) -> Read {
        let Some((register, within)) = row::find(self.dist_rows(), offset, width) else {
            return Read::Value(0);
        };
        let read = self.dist_read_register(vcpu, register, within, width, hw);
        self.refill(vcpu, hw);
        read
    }

    /// Carries out a guest's write in the Distributor's frame, on `vcpu`'s own CPU, whose List
    /// Registers are up to date afterwards. Returns whom else to kick. Writes to what is not there are
    /// ignored.
    pub fn dist_write<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        offset: u64,
        width: Width,
        value: u64,
        hw: &mut H,
    ) -> VcpuSet {
        if let Some((register, within)) = row::find(self.dist_rows(), offset, width) {
            self.dist_write_register(vcpu, register, within, width, value, hw);
            self.refill(vcpu, hw);
        }
        self.take_kicks(vcpu)
    }

    fn dist_rows(&self) -> &'static [row::Row] {
        match self.version {
            Version::V2 => &gicd::V2,
            Version::V3 => &gicd::V3,
        }
    }

    fn dist_read_register<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        register: Register,
        within: u32,
        width: Width,
        hw: &mut H,
    ) -> Read {
        Read::Value(match register {
            Register::Ctlr => u64::from(self.read_ctlr(vcpu)),
            Register::Typer => u64::from(self.typer),
            Register::Iidr => u64::from(IIDR),
            Register::Identification => u64::from(identification(self.version, within)),
            Register::Igroupr
            | Register::Isenabler
            | Register::Icenabler
            | Register::Ispendr
            | Register::Icpendr
            | Register::Isactiver
            | Register::Icactiver => {
                let Some(place) = self.dist_place(vcpu, within / 4) else {
                    return Read::Value(0);
                };
                let question = (register as u32) << 8 | within;
                return self.read_bits(vcpu, place, register, question, hw);
            }
            Register::Ipriorityr => {
                self.dist_place(vcpu, within / 32).map_or(0, |place| self.read_priorities(place, within & 31, width))
            }
            Register::Icfgr => {
                self.dist_place(vcpu, within / 8).map_or(0, |place| u64::from(self.read_config(place, within / 4)))
            }
            Register::Irouter => self.read_irouter(within, width),
            Register::Itargetsr => each_byte(width, |i| self.read_itargetsr(vcpu, within | i)),
            Register::Cpendsgir | Register::Spendsgir => {
                self.fold_own_sgis(vcpu, hw);
                each_byte(width, |i| self.read_senders(vcpu, within | i))
            }
            _ => 0,
        })
    }

    fn dist_write_register<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        register: Register,
        within: u32,
        width: Width,
        value: u64,
        hw: &mut H,
    ) {
        let word = (value & 0xffff_ffff) as u32;
        let byte = |i: u32| (value >> (8 * i) & 0xff) as u8;
        let bytes = 0..bytes_of(width);
        match register {
            Register::Ctlr => self.write_ctlr(word),
            Register::Igroupr
            | Register::Isenabler
            | Register::Icenabler
            | Register::Ispendr
            | Register::Icpendr
            | Register::Isactiver
            | Register::Icactiver => {
                if let Some(place) = self.dist_place(vcpu, within / 4) {
                    self.write_bits(vcpu, place, register, word, hw);
                }
            }
            Register::Ipriorityr => {
                if let Some(place) = self.dist_place(vcpu, within / 32) {
                    self.write_priorities(place, within & 31, width, value);
                }
            }
            Register::Icfgr => {
                if let Some(place) = self.dist_place(vcpu, within / 8) {
                    self.write_config(place, within / 4, word);
                }
            }
            Register::Irouter => self.write_irouter(within, width, value),
            Register::Itargetsr => bytes.for_each(|i| self.write_itargetsr(within | i, byte(i))),
            Register::Sgir => self.write_sgir(vcpu, word),
            Register::Spendsgir => {
                bytes.for_each(|i| self.write_spendsgir(vcpu, within | i, byte(i)));
            }
            Register::Cpendsgir => {
                self.fold_own_sgis(vcpu, hw);
                bytes.for_each(|i| self.write_cpendsgir(vcpu, within | i, byte(i)));
            }
            _ => {}
        }
    }

    /// Which bank the `word`th register of one bit an interrupt is about. With affinity routing the
    /// private interrupts are the Redistributors' alone (IHI 0069H §12.9.26 and others: RES0).
    fn dist_place(&self, vcpu: usize, word: u32) -> Option<Place> {
        match (word, self.version) {
            (0, Version::V3) => None,
            (0, Version::V2) => Some(Place::Private(vcpu)),
            (word, _) => Some(Place::Shared(word as usize - 1)),
        }
    }

    /// `RWP` is about disabling: some other vCPU may still take what was withdrawn.
    ///
    /// Enforced by `rwp_reads_one_until_the_other_vcpu_has_given_the_interrupt_back`.
    fn read_ctlr(&self, vcpu: usize) -> u32 {
        let enables = self.forward.to_ctlr();
        match self.version {
            Version::V2 => enables,
            Version::V3 => {
                let rwp = if self.is_withdrawing(vcpu) { gicd::CTLR_RWP } else { 0 };
                enables | gicd::CTLR_ARE | gicd::CTLR_DS | rwp
            }
        }
    }

    /// Tells whether another vCPU has yet to fold what was changed under it.
    pub(super) fn is_withdrawing(&self, vcpu: usize) -> bool {
        self.stale.0 & !VcpuSet::one(vcpu).0 != 0
    }

    fn write_ctlr(&mut self, value: u32) {
        let forward = Forward::from_ctlr(value);
        if forward == self.forward {
            return;
        }
        self.forward = forward;
        for vcpu in 0..self.cpus.len() {
            self.note(Place::Private(vcpu), u32::MAX);
        }
        for word in 0..self.shared.len() {
            self.note(Place::Shared(word), u32::MAX);
        }
    }

    fn read_irouter(&self, within: u32, width: Width) -> u64 {
        let (word, n) = ((within / 256) as usize, within / 8 % 32);
        let route = self.shared.get(word).map_or(0, |shared| shared.route[n as usize]);
        let value = u64::from(route >> 24) << 32 | u64::from(route & 0xff_ffff);
        width.truncate(value >> (8 * (within & 4)))
    }

    /// `Interrupt_Routing_Mode` is RES0, since `GICD_TYPER.No1N` is 1. A route to an affinity that no
    /// vCPU has is kept, and leads nowhere.
    fn write_irouter(&mut self, within: u32, width: Width, value: u64) {
        let (word, n) = ((within / 256) as usize, within / 8 % 32);
        let Some(shared) = self.shared.get(word) else {
            return;
        };
        let old = shared.route[n as usize];
        let low = (value & 0xff_ffff) as u32;
        let high = (value >> 32 & 0xff) as u32;
        let route = match (width, within & 4) {
            (Width::W8, _) => high << 24 | low,
            (_, 0) => old & 0xff00_0000 | low,
            _ => (low & 0xff) << 24 | old & 0xff_ffff,
        };
        let vcpu = (route >> 8) * 16 + (route & 0xf);
        let exists = route & !0x30f == 0 && (vcpu as usize) < self.cpus.len();
        self.set_route(word, n, route, if exists { (vcpu & 0x3f) as u8 } else { NOBODY });
    }

    /// For SGIs and PPIs it tells a CPU its own number; on a uniprocessor it is all zero (IHI 0048B
    /// §4.3.12).
    fn read_itargetsr(&self, vcpu: usize, intid: u32) -> u8 {
        match (self.cpus.len(), Self::place(vcpu, intid)) {
            (1, _) => 0,
            (_, Place::Private(vcpu)) => 1 << (vcpu & 7),
            (_, Place::Shared(word)) => {
                let route = self.shared.get(word).map_or(0, |s| s.route[(intid & 31) as usize]);
                (route & 0xff) as u8
            }
        }
    }

    /// Of several targets the lowest gets the interrupt: one handles it in the end (IHI 0048B §3.2.3,
    /// the 1-N model), and the architecture does not say which.
    fn write_itargetsr(&mut self, intid: u32, mask: u8) {
        if let Place::Shared(word) = Self::place(0, intid)
            && self.cpus.len() > 1
        {
            let mask = u64::from(mask) & self.everyone.0;
            let target = if mask == 0 { NOBODY } else { (mask.trailing_zeros() & 7) as u8 };
            self.set_route(word, intid & 31, (mask & 0xff) as u32, target);
        }
    }

    fn set_route(&mut self, word: usize, n: u32, route: u32, target: u8) {
        let Some(shared) = self.shared.get_mut(word) else {
            return;
        };
        shared.route[(n & 31) as usize] = route;
        let old = core::mem::replace(&mut shared.target[(n & 31) as usize], target);
        if old != target {
            self.note(Place::Shared(word), bit(n));
        }
    }

    fn fold_own_sgis<H: ListRegisters>(&mut self, vcpu: usize, hw: &mut H) {
        if self.is_listed_by(vcpu, Place::Private(vcpu), 0xffff) {
            self.fold_all(vcpu, hw);
            self.changed.insert(vcpu);
        }
    }
}

/// `PIDR4` to `PIDR7`, `PIDR0` to `PIDR3`, `CIDR0` to `CIDR3`, a byte each: an Arm GIC of the
/// architecture revision in bits 7:4 of `PIDR2` (IHI 0069H §12.9.32).
pub(super) fn identification(version: Version, within: u32) -> u8 {
    let pidr2 = if version == Version::V2 { 0x2b } else { 0x3b };
    let bytes = [0x44, 0, 0, 0, 0x92, 0xb4, pidr2, 0, 0x0d, 0xf0, 0x05, 0xb1];
    bytes.get((within / 4) as usize).copied().unwrap_or(0)
}

/// Puts together a value of bytes, lowest first.
fn each_byte(width: Width, byte: impl Fn(u32) -> u8) -> u64 {
    (0..bytes_of(width)).fold(0, |value, i| value | u64::from(byte(i)) << (8 * i))
}
