//! Allocation Tags of the region: there and whole, not there, or denied (DDI0487 D10.3, FEAT_MTE_PERM).

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::mmio::{self, probe_read, probe_write};
use guest_kit::text::Text;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, memory, sysreg, tags};

use crate::PAGE;
use crate::region::{find, pages};

/// Puts `tag` into an address.
fn with_tag(address: u64, tag: u64) -> u64 {
    address & !(0xff << 56) | tag << 56
}

extern "C" fn stg(tagged: u64) -> u64 {
    // SAFETY: changes a tag of the region.
    unsafe { asm!(".arch_extension memtag", "stg {0}, [{0}]", "dsb sy", in(reg) tagged) };
    0
}

extern "C" fn ldg(address: u64) -> u64 {
    let mut tagged = with_tag(address, 0);
    // SAFETY: reads a tag.
    unsafe { asm!(".arch_extension memtag", "ldg {0}, [{0}]", inout(reg) tagged) };
    tagged >> 56 & 0xf
}

/// Stores a tag, or returns what was caught.
fn store(address: u64, tag: u64) -> Result<(), Caught> {
    exception::guarded(stg as *const () as u64, with_tag(address, tag), 0).map(|_| ())
}

/// Loads a tag, or returns what was caught.
fn load(address: u64) -> Result<u64, Caught> {
    exception::guarded(ldg as *const () as u64, address, 0)
}

fn fail(what: &str, caught: Caught) -> Stop {
    Stop::Fail(Text::new(format_args!("{}: esr={:#x} far={:#x}", what, caught.esr, caught.far)))
}

/// Tells whether the CPU has the tag instructions: an IRG that is UNDEFINED says no.
pub fn instructions() -> bool {
    extern "C" fn irg(address: u64) -> u64 {
        let tagged: u64;
        // SAFETY: makes an address only.
        unsafe { asm!(".arch_extension memtag", "irg {0}, {1}", out(reg) tagged, in(reg) address) };
        tagged
    }
    exception::guarded(irg as *const () as u64, 0, 0).is_ok()
}

pub fn clear() -> Outcome {
    ensure!(sysreg::read!("id_aa64pfr1_el1") >> 8 & 0xf >= 2, "ID_AA64PFR1_EL1.MTE is below 2");
    let (start, size) = find()?;
    let found = tags::first_nonzero(start, start + size);
    ensure!(found.is_none(), "tags at {:#x}", found.unwrap_or(0));
    Ok(())
}

/// Writes tags to the whole region.
pub fn soil() {
    if let Ok((start, size)) = find() {
        tags::fill(start, start + size, !0);
    }
}

pub fn round_trip() -> Outcome {
    let tag = |page: u64, granule: u64| (page / PAGE + granule) % 15 + 1;
    let granules = || (0..PAGE / 16).map(|granule| (granule, granule * 16));
    let pages = pages()?;
    // All stores first: a machine that keeps too few tags would mix them up.
    for page in pages {
        for (granule, offset) in granules() {
            let stored = store(page + offset, tag(page, granule));
            stored.map_err(|caught| fail("STG", caught))?;
        }
    }
    let mut outcome = Ok(());
    for page in pages {
        for (granule, offset) in granules() {
            let loaded = load(page + offset).map_err(|caught| fail("LDG", caught))?;
            if loaded != tag(page, granule) && outcome.is_ok() {
                outcome = differs(page + offset, loaded, tag(page, granule));
            }
            let _ = store(page + offset, 0);
        }
    }
    outcome
}

fn differs(address: u64, loaded: u64, stored: u64) -> Outcome {
    ensure!(false, "{:#x}: tag {:#x}, stored {:#x}", address, loaded, stored);
    Ok(())
}

fn expect_tag_fault<T>(result: Result<T, Caught>, is_write: bool) -> Outcome {
    match result {
        Ok(_) => ensure!(false, "no fault"),
        Err(caught) => {
            ensure_equal!(caught.class(), Caught::DATA_ABORT, "exception class");
            ensure_equal!(caught.status(), Caught::TAG_CHECK, "fault status");
            ensure_equal!(u64::from(caught.is_write()), u64::from(is_write), "ISS.WnR");
        }
    }
    Ok(())
}

pub fn fault() -> Outcome {
    for page in pages()? {
        store(page, 4).map_err(|caught| fail("STG", caught))?;
        let right = probe_read(with_tag(page, 4), 8);
        let wrong = probe_read(with_tag(page, 5), 8);
        let written = probe_write(with_tag(page, 5), 1, 8);
        let _ = store(page, 0);
        ensure!(right.is_ok(), "a load with the right tag faults");
        expect_tag_fault(wrong, false)?;
        expect_tag_fault(written, true)?;
    }
    Ok(())
}

pub fn separate() -> Outcome {
    for page in pages()? {
        mmio::write64(page, 0x1234);
        let _ = store(page, 5);
        let data = mmio::read64(with_tag(page, 5));
        mmio::write64(with_tag(page, 5), 0x5678);
        let tag = load(page).map_err(|caught| fail("LDG", caught))?;
        let _ = store(page, 0);
        mmio::write64(page, 0);
        ensure_equal!(data, 0x1234, "data after a tag was stored");
        ensure_equal!(tag, 5, "tag after data was stored");
    }
    Ok(())
}

/// Ends the case as skipped where a tag instruction is UNDEFINED.
fn needs_instructions() -> Outcome {
    if instructions() { Ok(()) } else { Err(Stop::Skip("the CPU has no tag instructions")) }
}

/// An Untagged location: tags read zero and what is stored is lost (DDI0487 D10.3).
pub fn nowhere() -> Outcome {
    needs_instructions()?;
    for page in pages()? {
        for offset in [0, 0x10, 0xff0] {
            store(page + offset, 7).map_err(|caught| fail("STG", caught))?;
            let tag = load(page + offset).map_err(|caught| fail("LDG", caught))?;
            ensure_equal!(tag, 0, "tag that was stored");
        }
    }
    Ok(())
}

pub fn unchecked() -> Outcome {
    needs_instructions()?;
    for page in pages()? {
        let _ = store(page, 7);
        for tag in 0..16 {
            let address = with_tag(page, tag);
            let result = probe_read(address, 8).and_then(|_| probe_write(address, 0, 8));
            result.map_err(|caught| fail("a checked access", caught))?;
        }
    }
    Ok(())
}

/// One store with PSTATE.TCO set: no tag access.
pub fn write_unchecked(address: u64, value: u64) {
    // SAFETY: writes memory of the region; the CPU has MTE2 where this is used.
    unsafe {
        asm!(".arch_extension memtag", "msr tco, #1", "str {v}, [{a}]", "msr tco, #0",
            v = in(reg) value, a = in(reg) address)
    };
}

extern "C" fn stgm(address: u64) -> u64 {
    // SAFETY: writes tags, guarded.
    unsafe { asm!(".arch_extension memtag", "stgm xzr, [{0}]", "dsb sy", in(reg) address) };
    0
}

/// DC GVA (S1_3_C7_C4_3): tags without data.
extern "C" fn gva(address: u64) -> u64 {
    // SAFETY: writes tags, guarded.
    unsafe { asm!("sys #3, c7, c4, #3, {0}", "dsb sy", in(reg) address) };
    0
}

fn attempt(function: extern "C" fn(u64) -> u64, address: u64) -> Result<(), Caught> {
    exception::guarded(function as *const () as u64, address, 0).map(|_| ())
}

/// NoTagAccess: loads and stores of tags, and checked accesses, come back as external aborts.
pub fn denied() -> Outcome {
    for page in pages()? {
        let attempts = [
            ("LDG", load(page).map(|_| ())),
            ("STG", store(page, 7)),
            ("STGM", attempt(stgm, page)),
            ("DC GVA", attempt(gva, page)),
            ("a checked load", probe_read(with_tag(page, 7), 8).map(|_| ())),
        ];
        for (name, result) in attempts {
            match result {
                Ok(()) => ensure!(false, "{} works", name),
                Err(caught) => ensure!(
                    caught.class() == Caught::DATA_ABORT && caught.status() == Caught::EXTERNAL,
                    "{}: esr={:#x}",
                    name,
                    caught.esr
                ),
            }
        }
    }
    Ok(())
}

/// The VM's own RAM still has tags: what is denied is the region's alone.
pub fn ram() -> Outcome {
    let mut page = 0;
    machine().free_ram(&mut |start, end| {
        if page == 0 && end - start > 64 * PAGE {
            page = start.next_multiple_of(PAGE) + 16 * PAGE;
        }
    });
    ensure!(page != 0, "no free RAM");
    store(page, 9).map_err(|caught| fail("STG", caught))?;
    let tag = load(page).map_err(|caught| fail("LDG", caught))?;
    let _ = store(page, 0);
    memory::fill(page, page + 64, 0);
    ensure_equal!(tag, 9, "tag of RAM");
    Ok(())
}

/// Runs `case` with PSTATE.TCO set, so that its loads and stores are no tag accesses.
pub fn without_checks(case: fn() -> Outcome) -> Outcome {
    // PSTATE.TCO is S3_3_C4_C2_7, bit 25.
    sysreg::write!("s3_3_c4_c2_7", 1 << 25);
    let outcome = case();
    sysreg::write!("s3_3_c4_c2_7", 0);
    outcome
}
