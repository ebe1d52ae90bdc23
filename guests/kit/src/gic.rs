//! A guest's driver for GICv3 (IHI0069H) and GICv2 (IHI0048B), as small as tests allow.
//!
//! GICv3 interrupts are put into Group 1, the one that EL1 takes as IRQ with affinity routing.
//! GICv2 keeps its reset state, Group 0, as Linux does.

use crate::{machine, mmio, sysreg, this_cpu};

pub use crate::machine::{Gic, Version};

/// GICD_CTLR.
pub const CTLR: u64 = 0x000;
/// GICD_TYPER.
pub const TYPER: u64 = 0x004;
/// GICD_IGROUPR.
pub const IGROUPR: u64 = 0x080;
/// GICD_ISENABLER.
pub const ISENABLER: u64 = 0x100;
/// GICD_ICENABLER.
pub const ICENABLER: u64 = 0x180;
/// GICD_ISPENDR.
pub const ISPENDR: u64 = 0x200;
/// GICD_ICPENDR.
pub const ICPENDR: u64 = 0x280;
/// GICD_ISACTIVER.
pub const ISACTIVER: u64 = 0x300;
/// GICD_ICACTIVER.
pub const ICACTIVER: u64 = 0x380;
/// GICD_IPRIORITYR.
pub const IPRIORITYR: u64 = 0x400;
/// GICD_ITARGETSR, GICv2.
pub const ITARGETSR: u64 = 0x800;
/// GICD_ICFGR.
pub const ICFGR: u64 = 0xc00;
/// GICD_SGIR, GICv2.
pub const SGIR: u64 = 0xf00;
const CPENDSGIR: u64 = 0xf10;
/// GICD_IROUTER, GICv3.
pub const IROUTER: u64 = 0x6000;
/// GICR_TYPER.
pub const GICR_TYPER: u64 = 0x008;
const GICR_WAKER: u64 = 0x014;
const SGI_BASE: u64 = 0x1_0000;
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

const GICC_CTLR: u64 = 0x00;
const GICC_PMR: u64 = 0x04;
const GICC_BPR: u64 = 0x08;
const GICC_IAR: u64 = 0x0c;
const GICC_EOIR: u64 = 0x10;
const GICC_RPR: u64 = 0x14;
const GICC_HPPIR: u64 = 0x18;
const GICC_APR: u64 = 0xd0;

/// Returns the machine's interrupt controller.
pub fn gic() -> Gic {
    machine::machine().gic
}

impl Gic {
    /// Turns the Distributor on, and this CPU's interface; every interrupt is disabled.
    pub fn enable(self) {
        let spis = self.lines().saturating_sub(32);
        for word in 1..=spis.div_ceil(32) {
            let at = |register: u64| self.distributor + register + u64::from(word) * 4;
            mmio::write32(at(ICENABLER), !0);
            mmio::write32(at(ICACTIVER), !0);
            mmio::write32(at(ICPENDR), !0);
            mmio::write32(at(IGROUPR), self.group());
        }
        match self.version {
            // ARE and EnableGrp1, in the view that a single security state has.
            Version::V3 => mmio::write32(self.distributor + CTLR, 1 << 4 | 1 << 1),
            Version::V2 => mmio::write32(self.distributor + CTLR, 1),
        }
        self.enable_cpu();
    }

    /// Turns this CPU's interface on with the lowest priority mask; its own interrupts are disabled.
    pub fn enable_cpu(self) {
        match self.version {
            Version::V3 => {
                let frame = self.redistributor();
                mmio::write32(frame + GICR_WAKER, 0);
                mmio::write32(frame + SGI_BASE + ICENABLER, !0);
                mmio::write32(frame + SGI_BASE + ICACTIVER, !0);
                mmio::write32(frame + SGI_BASE + ICPENDR, !0);
                mmio::write32(frame + SGI_BASE + IGROUPR, self.group());
                sysreg::write!("icc_sre_el1", 7);
                sysreg::write!("icc_pmr_el1", 0xff);
                sysreg::write!("icc_bpr1_el1", 0);
                sysreg::write!("icc_ctlr_el1", 0);
                // No priority is active: what a test left there would hold everything back.
                sysreg::write!("icc_ap1r0_el1", 0);
                sysreg::write!("icc_igrpen1_el1", 1);
            }
            Version::V2 => {
                mmio::write32(self.distributor + ICENABLER, !0);
                mmio::write32(self.distributor + ICACTIVER, !0);
                mmio::write32(self.distributor + ICPENDR, !0);
                for word in 0..4 {
                    mmio::write32(self.distributor + CPENDSGIR + word * 4, !0);
                }
                mmio::write32(self.distributor + IGROUPR, self.group());
                mmio::write32(self.second + GICC_PMR, 0xff);
                mmio::write32(self.second + GICC_BPR, 0);
                mmio::write32(self.second + GICC_APR, 0);
                mmio::write32(self.second + GICC_CTLR, 1);
            }
        }
    }

    /// The group that interrupts are put into, as a whole word of IGROUPR.
    fn group(self) -> u32 {
        if self.version == Version::V3 { !0 } else { 0 }
    }

    /// Returns how many interrupts the Distributor has, private ones included.
    pub fn lines(self) -> u32 {
        ((mmio::read32(self.distributor + TYPER) & 0x1f) + 1) * 32
    }

    /// Returns the RD_base of this CPU's Redistributor.
    pub fn redistributor(self) -> u64 {
        let mpidr = sysreg::read!("mpidr_el1");
        let affinity = (mpidr >> 32 & 0xff) << 24 | mpidr & 0xff_ffff;
        let mut frame = self.second;
        loop {
            let typer = mmio::read64(frame + GICR_TYPER);
            if typer >> 32 == affinity || typer & 1 << 4 != 0 {
                return frame;
            }
            frame += REDISTRIBUTOR_BYTES;
        }
    }

    /// Returns where the registers of `intid` begin: SGI_base for a private one of a GICv3.
    pub fn bank(self, intid: u32) -> u64 {
        match self.version {
            Version::V3 if intid < 32 => self.redistributor() + SGI_BASE,
            _ => self.distributor,
        }
    }

    /// Writes the bit of `intid` in the register group at `register`.
    pub fn write_bit(self, register: u64, intid: u32) {
        mmio::write32(self.bank(intid) + register + u64::from(intid / 32) * 4, 1 << (intid % 32));
        // The Distributor's effect is seen by what follows: write, then read back.
        let _ = mmio::read32(self.distributor + CTLR);
        this_cpu::dsb();
    }

    /// Reads the bit of `intid` in the register group at `register`.
    pub fn read_bit(self, register: u64, intid: u32) -> bool {
        mmio::read32(self.bank(intid) + register + u64::from(intid / 32) * 4) & 1 << (intid % 32) != 0
    }

    /// Lets `intid` through.
    pub fn enable_intid(self, intid: u32) {
        self.write_bit(ISENABLER, intid);
    }

    /// Holds `intid` back.
    pub fn disable_intid(self, intid: u32) {
        self.write_bit(ICENABLER, intid);
    }

    /// Sets the priority, 0 is highest.
    pub fn set_priority(self, intid: u32, priority: u8) {
        mmio::write8(self.bank(intid) + IPRIORITYR + u64::from(intid), priority);
    }

    /// Reads the priority.
    pub fn priority(self, intid: u32) -> u8 {
        mmio::read8(self.bank(intid) + IPRIORITYR + u64::from(intid))
    }

    /// Makes a shared interrupt edge- or level-triggered.
    pub fn set_edge(self, intid: u32, edge: bool) {
        let register = self.bank(intid) + ICFGR + u64::from(intid / 16) * 4;
        let bit = 2 << (intid % 16 * 2);
        let value = mmio::read32(register) & !bit;
        mmio::write32(register, if edge { value | bit } else { value });
    }

    /// Sends shared interrupt `intid` to the CPU of the tree's place `index`.
    pub fn route(self, intid: u32, index: usize) {
        match self.version {
            Version::V3 => {
                let mpidr = machine::machine().cpus().get(index).copied().unwrap_or(0);
                mmio::write64(self.distributor + IROUTER + u64::from(intid) * 8, mpidr);
            }
            Version::V2 => mmio::write8(self.distributor + ITARGETSR + u64::from(intid), 1 << index),
        }
    }

    /// Sends SGI `intid` to the CPU of the tree's place `index`.
    pub fn send_sgi(self, intid: u32, index: usize) {
        this_cpu::dsb();
        match self.version {
            Version::V3 => {
                let mpidr = machine::machine().cpus().get(index).copied().unwrap_or(0);
                let (aff0, aff1, aff2, aff3) =
                    (mpidr & 0xff, mpidr >> 8 & 0xff, mpidr >> 16 & 0xff, mpidr >> 32 & 0xff);
                let range = aff0 / 16;
                let value =
                    aff3 << 48 | range << 44 | aff2 << 32 | u64::from(intid) << 24 | aff1 << 16 | 1 << (aff0 % 16);
                sysreg::write!("icc_sgi1r_el1", value);
            }
            Version::V2 => mmio::write32(self.distributor + SGIR, 1 << (16 + index) | intid),
        }
    }

    /// Acknowledges the most urgent interrupt. Returns what [`Gic::end`] takes.
    pub fn acknowledge(self) -> u32 {
        let value = match self.version {
            Version::V3 => sysreg::read!("icc_iar1_el1") as u32,
            Version::V2 => mmio::read32(self.second + GICC_IAR),
        };
        this_cpu::dsb();
        value
    }

    /// Returns the INTID of what was acknowledged; 1020 and above = none.
    pub fn intid(self, acknowledged: u32) -> u32 {
        match self.version {
            Version::V3 => acknowledged & 0xff_ffff,
            Version::V2 => acknowledged & 0x3ff,
        }
    }

    /// Ends an acknowledged interrupt: drops the priority and deactivates.
    pub fn end(self, acknowledged: u32) {
        match self.version {
            Version::V3 => sysreg::write!("icc_eoir1_el1", u64::from(acknowledged)),
            Version::V2 => mmio::write32(self.second + GICC_EOIR, acknowledged),
        }
    }

    /// Sets the priority mask: only interrupts of a lower number are signalled.
    pub fn set_mask(self, priority: u8) {
        match self.version {
            Version::V3 => sysreg::write!("icc_pmr_el1", u64::from(priority)),
            Version::V2 => mmio::write32(self.second + GICC_PMR, u32::from(priority)),
        }
    }

    /// Reads the running priority.
    pub fn running_priority(self) -> u8 {
        (match self.version {
            Version::V3 => sysreg::read!("icc_rpr_el1") as u32,
            Version::V2 => mmio::read32(self.second + GICC_RPR),
        }) as u8
    }

    /// Reads which interrupt would be acknowledged next.
    pub fn highest_pending(self) -> u32 {
        self.intid(match self.version {
            Version::V3 => sysreg::read!("icc_hppir1_el1") as u32,
            Version::V2 => mmio::read32(self.second + GICC_HPPIR),
        })
    }
}
