//! Tag checks of EL0 (SCTLR_EL1.TCF0, TFSRE0_EL1), by LDTR and STTR: at EL1 they are EL0's accesses.

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, mmio, mmu, sysreg};

use crate::checks::expect_tag_fault;
use crate::{level, needs_tags, scratch, store_tag, with_tag};

const GIB: u64 = 1 << 30;
/// A GiB of addresses in which nothing else is, for RAM that EL0 may use too. In one GiB with the program it
/// cannot be: what EL0 can write, EL1 does not execute.
const ALIAS: usize = 511;
/// SCTLR_EL1: ATA0 lets EL0 use tags; TCF0 and TCF are at these bits.
const ATA0: u64 = 1 << 42;
const TCF0: u32 = 38;
const TCF: u32 = 40;

extern "C" fn ldtr(address: u64, _: u64) -> u64 {
    let value: u64;
    // SAFETY: reads free RAM, guarded.
    unsafe { asm!("ldtr {v}, [{a}]", v = out(reg) value, a = in(reg) address) };
    value
}

extern "C" fn sttr(address: u64, value: u64) -> u64 {
    // SAFETY: writes free RAM, guarded.
    unsafe { asm!("sttr {v}, [{a}]", "dsb sy", v = in(reg) value, a = in(reg) address) };
    0
}

fn read(address: u64) -> Result<u64, Caught> {
    exception::guarded(ldtr as *const () as u64, address, 0)
}

fn write(address: u64) -> Result<u64, Caught> {
    exception::guarded(sttr as *const () as u64, address, 1)
}

/// TFSR_EL1.TF0 and TFSRE0_EL1.TF0.
fn noted() -> (u64, u64) {
    cpu::dsb();
    (sysreg::read!("s3_0_c5_c6_0") & 1, sysreg::read!("s3_0_c5_c6_1") & 1)
}

fn forget() {
    sysreg::write!("s3_0_c5_c6_0", 0);
    sysreg::write!("s3_0_c5_c6_1", 0);
}

/// Runs `test` with TCF0 = `mode` and TCF = `own`, on the alias of a granule of tag 4; restores all.
fn in_modes(mode: u64, own: u64, test: impl FnOnce(u64) -> Outcome) -> Outcome {
    let page = scratch()?;
    store_tag(with_tag(page, 4));
    // Normal Tagged as `Ram::Tagged`, AP = 0b01, never executed, a valid block.
    let attributes = 2 << 2 | 1 << 6 | 3 << 8 | 1 << 10 | 3 << 53 | 1;
    mmu::set_descriptor(ALIAS, page & !(GIB - 1) | attributes);
    let before = sysreg::read!("sctlr_el1");
    let modes = mode << TCF0 | own << TCF;
    sysreg::write!("sctlr_el1", before & !(3 << TCF0 | 3 << TCF) | modes | ATA0);
    forget();
    let outcome = test(ALIAS as u64 * GIB + page % GIB);
    sysreg::write!("sctlr_el1", before);
    forget();
    mmu::set_descriptor(ALIAS, 0);
    store_tag(page);
    outcome
}

pub fn synchronous() -> Outcome {
    needs_tags()?;
    in_modes(1, 0, |page| {
        ensure!(
            read(with_tag(page, 4)).is_ok() && write(with_tag(page, 4)).is_ok(),
            "an access with the right tag faults"
        );
        expect_tag_fault(read(with_tag(page, 5)), false, page)?;
        expect_tag_fault(write(with_tag(page, 5)), true, page)?;
        // EL1's own mode is another: no effect.
        ensure!(mmio::probe_read(with_tag(page, 5), 8).is_ok(), "EL1's own load faults");
        ensure!(noted() == (0, 0), "TFSR_EL1, TFSRE0_EL1: {:?}", noted());
        Ok(())
    })
}

/// EL1's own mode is synchronous meanwhile: each follows its own.
pub fn asynchronous() -> Outcome {
    needs_tags()?;
    in_modes(2, 1, |page| {
        ensure!(read(with_tag(page, 5)).is_ok(), "a load faults synchronously");
        ensure!(noted() == (0, 1), "after a load: {:?}", noted());
        forget();
        ensure!(write(with_tag(page, 5)).is_ok(), "a store faults synchronously");
        ensure!(noted() == (0, 1), "after a store: {:?}", noted());
        expect_tag_fault(mmio::probe_read(with_tag(page, 5), 8), false, page)
    })
}

pub fn asymmetric() -> Outcome {
    needs_tags()?;
    if level() < 3 {
        return Err(Stop::Skip("no FEAT_MTE3"));
    }
    in_modes(3, 0, |page| {
        expect_tag_fault(read(with_tag(page, 5)), false, page)?;
        ensure!(noted() == (0, 0), "after a load: {:?}", noted());
        ensure!(write(with_tag(page, 5)).is_ok(), "a store faults synchronously");
        ensure!(noted() == (0, 1), "after a store: {:?}", noted());
        ensure_equal!(mmio::read64(with_tag(page, 4)), 1, "what was stored");
        Ok(())
    })
}
