//! A VM without tags: nothing reports them, nothing keeps them, nothing faults for them.

use core::arch::asm;

use guest_kit::code::{self, Encoding};
use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, ktap, mmio, sysreg};

use crate::{features2, level, load_tag, scratch, store_tag, with_tag};

pub fn not_reported() -> Outcome {
    let pfr1 = sysreg::read!("id_aa64pfr1_el1");
    // Natively a CPU without tag memory reports 1: the instructions alone.
    let most = if machine().is_native() { 1 } else { 0 };
    ensure!(level() <= most, "ID_AA64PFR1_EL1.MTE is {}", level());
    ktap::needs_hypervisor()?;
    ensure_equal!(pfr1 >> 40 & 0xf, 0, "ID_AA64PFR1_EL1.MTE_frac");
    ensure_equal!(pfr1 >> 52 & 0xf, 0, "ID_AA64PFR1_EL1.MTEX");
    // MTEPERM, MTESTOREONLY, MTEFAR.
    ensure_equal!(features2() & 0xfff, 0, "ID_AA64PFR2_EL1");
    Ok(())
}

pub fn undefined() -> Outcome {
    let names = [
        ("GCR_EL1", Encoding(3, 0, 1, 0, 6)),
        ("RGSR_EL1", Encoding(3, 0, 1, 0, 5)),
        ("TFSR_EL1", Encoding(3, 0, 5, 6, 0)),
        ("TFSRE0_EL1", Encoding(3, 0, 5, 6, 1)),
        ("GMID_EL1", Encoding(3, 1, 0, 0, 4)),
    ];
    for (name, register) in names {
        for instruction in [register.read(), register.write()] {
            match code::run(instruction, 0) {
                Ok(value) => ensure!(false, "{} is there: {:#x}", name, value),
                // Natively GMID_EL1 is of the identification space and may come as a trapped MRS.
                Err(caught) => ensure!(matches!(caught.class(), 0 | 0x18), "{}: esr={:#x}", name, caught.esr),
            }
        }
    }
    Ok(())
}

/// Runs a tag instruction that a CPU without the feature does not have.
fn try_tag(function: extern "C" fn(u64) -> u64, address: u64) -> Result<u64, Stop> {
    match exception::guarded(function as *const () as u64, address, 0) {
        Ok(value) => Ok(value),
        Err(caught) if caught.class() == Caught::UNKNOWN => Err(Stop::Skip("the CPU has no tag instructions")),
        Err(caught) => Err(Stop::Fail(guest_kit::text::Text::new(format_args!("esr={:#x}", caught.esr)))),
    }
}

extern "C" fn try_stg(tagged: u64) -> u64 {
    store_tag(tagged);
    0
}

extern "C" fn try_ldg(address: u64) -> u64 {
    load_tag(address)
}

extern "C" fn try_stzg(tagged: u64) -> u64 {
    // SAFETY: free RAM.
    unsafe { asm!(".arch_extension memtag", "stzg {0}, [{0}]", "dsb sy", in(reg) tagged) };
    0
}

pub fn no_tags() -> Outcome {
    let page = scratch()?;
    for offset in [0, 0x10, 0xff0] {
        try_tag(try_stg, with_tag(page + offset, 7))?;
        ensure_equal!(try_tag(try_ldg, page + offset)?, 0, "tag that was stored");
    }
    Ok(())
}

pub fn data_only() -> Outcome {
    let page = scratch()?;
    mmio::write64(page, !0);
    mmio::write64(page + 8, !0);
    try_tag(try_stzg, with_tag(page, 7))?;
    ensure_equal!(mmio::read64(page) | mmio::read64(page + 8), 0, "data after STZG");
    ensure_equal!(try_tag(try_ldg, page)?, 0, "tag after STZG");
    Ok(())
}

pub fn no_checks() -> Outcome {
    let page = scratch()?;
    match try_tag(try_stg, with_tag(page, 7)) {
        Ok(_) | Err(Stop::Skip(_)) => {}
        Err(stop) => return Err(stop),
    }
    mmio::write64(page, 0);
    for tag in 0..16 {
        ensure!(mmio::probe_read(with_tag(page, tag), 8) == Ok(0), "a load with tag {} faults", tag);
    }
    Ok(())
}
