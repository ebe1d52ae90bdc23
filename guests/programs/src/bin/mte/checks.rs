//! Tag checks: who faults, who only notes it, who does neither (SCTLR_EL1.TCF, PSTATE.TCO).

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::{Outcome, Stop, ensure, ensure_equal, mmio, sysreg};

use crate::{features2, level, needs_tags, scratch, store_tag, with_tag};

/// Runs `test` on a granule of tag 4 with SCTLR_EL1.TCF = `mode`; restores mode and tag.
fn in_mode(mode: u64, test: impl FnOnce(u64) -> Outcome) -> Outcome {
    let page = scratch()?;
    store_tag(with_tag(page, 4));
    let before = sysreg::read!("sctlr_el1");
    sysreg::write!("sctlr_el1", before & !(3 << 40) | mode << 40);
    let outcome = test(page);
    sysreg::write!("sctlr_el1", before);
    sysreg::write!("s3_0_c5_c6_0", 0);
    store_tag(page);
    outcome
}

pub fn expect_tag_fault<T>(result: Result<T, Caught>, is_write: bool, address: u64) -> Outcome {
    match result {
        Ok(_) => ensure!(false, "no fault"),
        Err(caught) => {
            ensure_equal!(caught.class(), Caught::DATA_ABORT, "exception class");
            ensure_equal!(caught.status(), Caught::TAG_CHECK, "fault status");
            ensure_equal!(u64::from(caught.is_write()), u64::from(is_write), "ISS.WnR");
            // FAR bits 63:60 are UNKNOWN for this fault; the tag in 59:56 need not be there.
            ensure_equal!(caught.far << 8, address << 8, "FAR_EL1");
        }
    }
    Ok(())
}

pub fn fault() -> Outcome {
    needs_tags()?;
    in_mode(1, |page| {
        expect_tag_fault(mmio::probe_read(with_tag(page, 5), 8), false, page)?;
        expect_tag_fault(mmio::probe_write(with_tag(page, 5), 1, 8), true, page)
    })
}

pub fn no_fault() -> Outcome {
    needs_tags()?;
    in_mode(1, |page| {
        ensure!(mmio::probe_read(with_tag(page, 4), 8).is_ok(), "a load with the right tag faults");
        ensure!(mmio::probe_write(with_tag(page, 4), 0, 8).is_ok(), "a store with the right tag faults");
        Ok(())
    })
}

pub fn asynchronous() -> Outcome {
    needs_tags()?;
    in_mode(2, |page| {
        sysreg::write!("s3_0_c5_c6_0", 0);
        ensure!(mmio::probe_read(with_tag(page, 5), 8).is_ok(), "a load faults synchronously");
        guest_kit::cpu::dsb();
        ensure_equal!(sysreg::read!("s3_0_c5_c6_0") & 1, 1, "TFSR_EL1.TF0");
        sysreg::write!("s3_0_c5_c6_0", 0);
        ensure!(mmio::probe_write(with_tag(page, 5), 0, 8).is_ok(), "a store faults synchronously");
        guest_kit::cpu::dsb();
        ensure_equal!(sysreg::read!("s3_0_c5_c6_0") & 1, 1, "TFSR_EL1.TF0");
        Ok(())
    })
}

pub fn asymmetric() -> Outcome {
    needs_tags()?;
    if level() < 3 {
        return Err(Stop::Skip("no FEAT_MTE3"));
    }
    in_mode(3, |page| {
        sysreg::write!("s3_0_c5_c6_0", 0);
        expect_tag_fault(mmio::probe_read(with_tag(page, 5), 8), false, page)?;
        ensure_equal!(sysreg::read!("s3_0_c5_c6_0") & 1, 0, "TFSR_EL1.TF0");
        ensure!(mmio::probe_write(with_tag(page, 5), 0, 8).is_ok(), "a store faults synchronously");
        guest_kit::cpu::dsb();
        ensure_equal!(sysreg::read!("s3_0_c5_c6_0") & 1, 1, "TFSR_EL1.TF0");
        Ok(())
    })
}

pub fn check_override() -> Outcome {
    needs_tags()?;
    in_mode(1, |page| {
        extern "C" fn load(address: u64) -> u64 {
            let value;
            // SAFETY: reads free RAM with PSTATE.TCO set.
            unsafe {
                asm!(".arch_extension memtag", "msr tco, #1", "ldr {v}, [{a}]", "msr tco, #0",
                    v = out(reg) value, a = in(reg) address)
            };
            value
        }
        let result = exception::guarded(load as *const () as u64, with_tag(page, 5), 0);
        ensure!(result.is_ok(), "a load faults with PSTATE.TCO set");
        Ok(())
    })
}

/// FEAT_MTE_STORE_ONLY: SCTLR_EL1.TCSO.
pub fn store_only() -> Outcome {
    needs_tags()?;
    if features2() >> 4 & 0xf == 0 {
        return Err(Stop::Skip("no FEAT_MTE_STORE_ONLY"));
    }
    in_mode(1, |page| {
        let before = sysreg::read!("sctlr_el1");
        sysreg::write!("sctlr_el1", before | 1 << 59);
        let read = mmio::probe_read(with_tag(page, 5), 8);
        let written = mmio::probe_write(with_tag(page, 5), 1, 8);
        sysreg::write!("sctlr_el1", before);
        ensure!(read.is_ok(), "a load faults");
        expect_tag_fault(written, true, page)
    })
}

/// FEAT_MTE_TAGGED_FAR: FAR_EL1 has the whole address, the tag that failed included.
pub fn tagged_far() -> Outcome {
    needs_tags()?;
    if features2() >> 8 & 0xf == 0 {
        return Err(Stop::Skip("no FEAT_MTE_TAGGED_FAR"));
    }
    in_mode(1, |page| match mmio::probe_read(with_tag(page, 5), 8) {
        Ok(_) => expect_tag_fault(Ok(()), false, page),
        Err(caught) => {
            ensure_equal!(caught.far, with_tag(page, 5), "FAR_EL1");
            Ok(())
        }
    })
}
