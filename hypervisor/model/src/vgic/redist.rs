//! The Redistributors' frames, one vCPU's after the other's.

use super::dist::{IIDR, identification};
use super::owners::Place;
use super::{ListRegisters, Read, Version, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::exit::Width;
use assay_spec::gic::redist as gicr;
use assay_spec::gic::row::{self, Register};

/// Tells the questions about a Redistributor from those about the Distributor.
const QUESTION: u32 = 1 << 24;

impl Vgic {
    /// Answers a read by `vcpu` at `offset` from the first Redistributor, on its own CPU. What is not
    /// there reads as zero.
    #[inline(always)]
    pub fn redist_read<H: ListRegisters>(&mut self, vcpu: usize, offset: u64, width: Width, hw: &mut H) -> Read {
        let (of, offset) = Self::frame(offset);
        if self.version == Version::V2 || of >= self.cpus.len() {
            return Read::Value(0);
        }
        if offset == gicr::TYPER && width == Width::W8 {
            return Read::Value(self.redist_typer(of));
        }
        self.redist_read_any(vcpu, of, offset, width, hw)
    }

    #[inline(never)]
    fn redist_read_any<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        of: usize,
        offset: u64,
        width: Width,
        hw: &mut H,
    ) -> Read {
        let Some((register, within)) = row::find(&gicr::FRAMES, offset, width) else {
            return Read::Value(0);
        };
        let place = Place::Private(of);
        Read::Value(match register {
            Register::RedistCtlr if self.is_withdrawing(vcpu) => u64::from(gicr::CTLR_RWP),
            Register::RedistTyper => width.truncate(self.redist_typer(of) >> (8 * within)),
            Register::Iidr => u64::from(IIDR),
            Register::Identification => u64::from(identification(self.version, within)),
            Register::Waker => u64::from(self.read_waker(of)),
            Register::Ipriorityr => self.read_priorities(place, within, width),
            Register::Icfgr => u64::from(self.read_config(place, within / 4)),
            Register::Igroupr
            | Register::Isenabler
            | Register::Icenabler
            | Register::Ispendr
            | Register::Icpendr
            | Register::Isactiver
            | Register::Icactiver => {
                let question = QUESTION | u32::try_from(of).unwrap_or(0) << 16 | (register as u32) << 8;
                let read = self.read_bits(vcpu, place, register, question, hw);
                self.refill(vcpu, hw);
                return read;
            }
            _ => 0,
        })
    }

    /// Carries out a write by `vcpu` at `offset` from the first Redistributor, on its own CPU, whose
    /// List Registers are up to date afterwards. Returns whom else to kick.
    pub fn redist_write<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        offset: u64,
        width: Width,
        value: u64,
        hw: &mut H,
    ) -> VcpuSet {
        let (of, offset) = Self::frame(offset);
        if self.version == Version::V2 || of >= self.cpus.len() {
            return VcpuSet::EMPTY;
        }
        let word = (value & 0xffff_ffff) as u32;
        let place = Place::Private(of);
        let Some((register, within)) = row::find(&gicr::FRAMES, offset, width) else {
            return VcpuSet::EMPTY;
        };
        match register {
            Register::Waker => self.write_waker(of, word),
            Register::Ipriorityr => self.write_priorities(place, within, width, value),
            Register::Icfgr => self.write_config(place, within / 4, word),
            Register::Igroupr
            | Register::Isenabler
            | Register::Icenabler
            | Register::Ispendr
            | Register::Icpendr
            | Register::Isactiver
            | Register::Icactiver => self.write_bits(vcpu, place, register, word, hw),
            _ => {}
        }
        self.refill(vcpu, hw);
        self.take_kicks(vcpu)
    }

    /// Which vCPU's frames an offset lies in, and where in them.
    fn frame(offset: u64) -> (usize, u64) {
        let index = usize::try_from(offset / gicr::STRIDE).unwrap_or(usize::MAX);
        (index, offset % gicr::STRIDE)
    }

    /// Affinity and number of the PE, and whether it is the last; no LPIs (IHI 0069H §12.10.35).
    fn redist_typer(&self, of: usize) -> u64 {
        let number = of as u64;
        let affinity = number >> 4 << 8 | number & 15;
        let last = if of + 1 == self.cpus.len() { gicr::TYPER_LAST } else { 0 };
        affinity << gicr::TYPER_AFFINITY_SHIFT | number << gicr::TYPER_NUMBER_SHIFT | last
    }

    /// `ChildrenAsleep` follows `ProcessorSleep` at once: there is no interface to quiesce. Delivery
    /// does not depend on it.
    fn read_waker(&self, of: usize) -> u32 {
        if self.cpus.get(of).is_some_and(|cpu| cpu.asleep) {
            gicr::WAKER_PROCESSOR_SLEEP | gicr::WAKER_CHILDREN_ASLEEP
        } else {
            0
        }
    }

    fn write_waker(&mut self, of: usize, value: u32) {
        if let Some(cpu) = self.cpus.get_mut(of) {
            cpu.asleep = value & gicr::WAKER_PROCESSOR_SLEEP != 0;
        }
    }
}
