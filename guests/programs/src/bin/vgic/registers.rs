//! The registers: every offset answers, and those with state keep it.

use guest_kit::gic::{self, Gic, Version};
use guest_kit::machine::machine;
use guest_kit::mmio::{self, probe_read, probe_write};
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal};

use crate::fresh;

const GICD_SGIR: u64 = 0xf00;

/// Bytes of the Distributor's frame: IHI0069H §12.8, IHI0048B §4.1.2.
fn distributor_bytes(gic: Gic) -> u64 {
    if gic.version == Version::V3 { 0x1_0000 } else { 0x1000 }
}

/// Bytes of the Redistributors, or of the CPU interface.
fn second_bytes(gic: Gic) -> u64 {
    if gic.version == Version::V3 { 0x2_0000 * machine().cpus().len() as u64 } else { 0x2000 }
}

pub fn identification() -> Outcome {
    let gic = fresh();
    let (at, revision) = if gic.version == Version::V3 { (0xffe8, 3) } else { (0xfe8, 2) };
    ensure_equal!(mmio::read32(gic.distributor + at) >> 4 & 0xf, revision, "GICD_PIDR2.ArchRev");
    let typer = mmio::read32(gic.distributor + gic::TYPER);
    ensure!(gic.lines() >= 64, "GICD_TYPER={:#x} has no SPI", typer);
    if gic.version == Version::V2 {
        ensure_equal!((typer >> 5 & 7) as usize + 1, machine().cpus().len(), "GICD_TYPER.CPUNumber + 1");
        return Ok(());
    }
    ensure_equal!(mmio::read32(gic.second + 0xffe8) >> 4 & 0xf, 3, "GICR_PIDR2.ArchRev");
    for (index, mpidr) in machine().cpus().iter().enumerate() {
        let typer = mmio::read64(gic.second + index as u64 * 0x2_0000 + gic::GICR_TYPER);
        ensure_equal!(typer >> 32, mpidr & 0xff_ffff | mpidr >> 8 & 0xff00_0000, "GICR_TYPER.Affinity_Value");
        ensure_equal!(typer >> 8 & 0xffff, index as u64, "GICR_TYPER.Processor_Number");
        let is_last = index + 1 == machine().cpus().len();
        ensure_equal!(typer >> 4 & 1, u64::from(is_last), "GICR_TYPER.Last");
    }
    Ok(())
}

/// Reads every offset at every width.
fn sweep_reads(base: u64, bytes: u64) -> Outcome {
    for width in [1, 2, 4, 8] {
        for offset in (0..bytes).step_by(if width == 1 { 4 } else { width as usize }) {
            if let Err(caught) = probe_read(base + offset, width) {
                ensure!(false, "read of {} bytes at +{:#x}: esr={:#x}", width, offset, caught.esr);
            }
        }
    }
    Ok(())
}

/// Writes all ones and then zero to every word but the skipped ones.
fn sweep_writes(base: u64, bytes: u64, skip: &[u64]) -> Outcome {
    for offset in (0..bytes).step_by(4).filter(|offset| !skip.contains(offset)) {
        for value in [!0, 0] {
            if let Err(caught) = probe_write(base + offset, value, 4) {
                ensure!(false, "write at +{:#x}: esr={:#x}", offset, caught.esr);
            }
        }
    }
    // Widths that hardly any register has.
    for offset in (0..bytes).step_by(0x40).filter(|offset| !skip.contains(offset)) {
        for width in [1, 2, 8] {
            if let Err(caught) = probe_write(base + offset, 0, width) {
                ensure!(false, "write of {} bytes at +{:#x}: esr={:#x}", width, offset, caught.esr);
            }
        }
    }
    Ok(())
}

pub fn distributor_reads() -> Outcome {
    let gic = fresh();
    sweep_reads(gic.distributor, distributor_bytes(gic))
}

pub fn distributor_writes() -> Outcome {
    let gic = fresh();
    // An SGI that nobody sent would be left pending; GICv3 has nothing at that offset.
    let outcome = sweep_writes(gic.distributor, distributor_bytes(gic), &[GICD_SGIR]);
    fresh();
    outcome
}

pub fn second_frame() -> Outcome {
    let gic = fresh();
    sweep_reads(gic.second, second_bytes(gic))?;
    // GICR_CTLR.EnableLPIs cannot be taken back where there are LPIs; GICC_EOIR and GICC_DIR want
    // an interrupt that is active (IHI0048B §4.4.5: else UNPREDICTABLE).
    let skip: &[u64] = if gic.version == Version::V3 { &[] } else { &[0x10, 0x1000] };
    let lpis = gic.version == Version::V3 && mmio::read32(gic.distributor + gic::TYPER) & 1 << 17 != 0;
    let outcome = if lpis { Ok(()) } else { sweep_writes(gic.second, second_bytes(gic), skip) };
    fresh();
    outcome
}

pub fn reserved() -> Outcome {
    let gic = fresh();
    let words = if gic.version == Version::V3 { 0x1000..0x6000 } else { 0xf30..0xfd0 };
    for offset in words.step_by(4) {
        mmio::write32(gic.distributor + offset, !0);
        let value = mmio::read32(gic.distributor + offset);
        ensure!(value == 0, "+{:#x} reads {:#x}", offset, value);
    }
    Ok(())
}

pub fn enables() -> Outcome {
    let gic = fresh();
    for intid in (16..32).chain(32..64) {
        gic.enable_intid(intid);
        ensure!(gic.read_bit(gic::ISENABLER, intid), "INTID {} is not enabled", intid);
        ensure!(gic.read_bit(gic::ICENABLER, intid), "INTID {}: ICENABLER differs", intid);
        gic.disable_intid(intid);
        ensure!(!gic.read_bit(gic::ISENABLER, intid), "INTID {} is still enabled", intid);
    }
    Ok(())
}

pub fn beyond() -> Outcome {
    let gic = fresh();
    if gic.lines() >= 1020 {
        return Err(Stop::Skip("every interrupt is there"));
    }
    let word = u64::from(gic.lines() / 32) * 4;
    for register in [gic::ISENABLER, gic::ISPENDR, gic::ISACTIVER] {
        mmio::write32(gic.distributor + register + word, !0);
        let value = mmio::read32(gic.distributor + register + word);
        ensure!(value == 0, "+{:#x} reads {:#x}", register + word, value);
    }
    Ok(())
}

pub fn priorities() -> Outcome {
    let gic = fresh();
    for intid in [0, 7, 15, 27, 30, 32, 33, 47, 63] {
        for value in [0, 0x50, 0xa8, 0xf8] {
            gic.set_priority(intid, value);
            ensure_equal!(gic.priority(intid) & 0xf8, value, "priority, five bits");
        }
    }
    // A word holds four of them.
    let word = gic.distributor + gic::IPRIORITYR + 40;
    mmio::write32(word, 0x1020_3040);
    ensure_equal!(mmio::read32(word), 0x1020_3040, "GICD_IPRIORITYR10");
    ensure_equal!(gic.priority(41), 0x30, "priority of INTID 41");
    Ok(())
}

pub fn configuration() -> Outcome {
    let gic = fresh();
    for intid in 40..48 {
        for edge in [true, false] {
            gic.set_edge(intid, edge);
            let value = mmio::read32(gic.distributor + gic::ICFGR + u64::from(intid / 16) * 4);
            ensure!((value >> (intid % 16 * 2) & 2 != 0) == edge, "INTID {}: GICD_ICFGR={:#x}", intid, value);
        }
    }
    cpu::dsb();
    // SGIs are edge-triggered always.
    ensure_equal!(mmio::read32(gic.bank(0) + gic::ICFGR) & 0xaaaa_aaaa, 0xaaaa_aaaa, "ICFGR0");
    Ok(())
}
