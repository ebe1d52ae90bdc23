//! What a side cannot do: execute, and if it may only read, change anything.

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::mmio::{self, probe_read, probe_write};
use guest_kit::{Outcome, Stop, code, ensure, ensure_equal, sysreg};

use crate::region::{self, Word, wait};

/// Where a side that may only read tries: nobody has a word or a message there.
fn places() -> Result<[u64; 3], Stop> {
    let (start, end) = region::unused()?;
    Ok([start, start + (end - start) / 2 / 64 * 64, end - 64])
}

/// Expects what a Permission fault at stage 2 becomes: an external abort of this kind.
fn expect<T>(result: Result<T, Caught>, class: u64, what: &str) -> Outcome {
    match result {
        Ok(_) => ensure!(false, "{} works", what),
        Err(caught) => {
            ensure!(caught.class() == class && caught.status() == Caught::EXTERNAL, "{}: esr={:#x}", what, caught.esr)
        }
    }
    Ok(())
}

/// MOV x0, #42; RET, where this side can write it; else what is there, which is never reached.
pub fn execution() -> Outcome {
    let read_only = region::described_read_only().is_ok();
    let own = region::own()?;
    let places = if read_only { places()? } else { [own, own + 0x800, own + 0xfc0] };
    for place in places {
        if !read_only {
            mmio::write64(place, 0xd280_0540 | (code::RET as u64) << 32);
            // SAFETY: makes the code visible to instruction fetch (DDI0487 B2.4.4).
            unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) place) };
        }
        let result = exception::guarded(place, 0, 0);
        if !read_only {
            mmio::write64(place, 0);
        }
        expect(result, Caught::INSTRUCTION_ABORT, "code")?;
    }
    Ok(())
}

pub fn watch() -> Outcome {
    wait(Word::Sign, 0x5160)
}

pub fn stores() -> Outcome {
    for place in places()? {
        for bytes in [1, 2, 4, 8] {
            let before = probe_read(place, bytes);
            ensure!(before.is_ok(), "a load of {} bytes aborts", bytes);
            expect(probe_write(place, !0, bytes), Caught::DATA_ABORT, "a store")?;
        }
    }
    Ok(())
}

pub fn atomics() -> Outcome {
    extern "C" fn exclusive(address: u64) -> u64 {
        // SAFETY: guarded; the caller knows what becomes of it.
        unsafe {
            asm!("ldxr {v}, [{a}]", "stxr {s:w}, {v}, [{a}]", a = in(reg) address, v = out(reg) _,
                s = out(reg) _)
        };
        0
    }
    extern "C" fn add(address: u64) -> u64 {
        // SAFETY: as above; FEAT_LSE is there.
        unsafe {
            asm!(".arch_extension lse", "ldadd {one}, {old}, [{a}]", a = in(reg) address, one = in(reg) 1u64,
                old = out(reg) _)
        };
        0
    }
    extern "C" fn zero(address: u64) -> u64 {
        // SAFETY: as above.
        unsafe { asm!("dc zva, {}", "dsb sy", in(reg) address) };
        0
    }
    let has_lse = sysreg::read!("id_aa64isar0_el1") >> 20 & 0xf >= 2;
    for place in places()? {
        let run = |function: extern "C" fn(u64) -> u64| exception::guarded(function as *const () as u64, place, 0);
        expect(run(exclusive), Caught::DATA_ABORT, "STXR")?;
        if has_lse {
            expect(run(add), Caught::DATA_ABORT, "LDADD")?;
        }
        if sysreg::read!("dczid_el0") & 1 << 4 == 0 {
            expect(run(zero), Caught::DATA_ABORT, "DC ZVA")?;
        }
    }
    Ok(())
}

pub fn tags() -> Outcome {
    extern "C" fn stg(address: u64) -> u64 {
        let tagged = address | 5 << 56;
        // SAFETY: guarded.
        unsafe { asm!(".arch_extension memtag", "stg {0}, [{0}]", "dsb sy", in(reg) tagged) };
        0
    }
    if !region::has_tags() {
        return Err(Stop::Skip("no tags"));
    }
    for place in places()? {
        let result = exception::guarded(stg as *const () as u64, place, 0);
        expect(result, Caught::DATA_ABORT, "STG")?;
        ensure_equal!(region::tag(place), 0, "tag");
    }
    Ok(())
}

pub fn unchanged() -> Outcome {
    region::clear()
}

/// A side that may only read has a word in no region: it rings, if it can.
pub fn tell() -> Outcome {
    let bell = crate::bell::find()?;
    let peer = bell.peer(0)?;
    bell.ring(peer);
    Ok(())
}

/// Waits for the reader, where there is one.
pub fn seen() -> Outcome {
    if !machine().has_bootarg("reader") {
        return Err(Stop::Skip("nobody only reads"));
    }
    let bell = crate::bell::find()?;
    // It may have run and ended by now.
    let reader = bell.number(1)?;
    let bit = 1 << reader;
    // The handler may have answered it already.
    let rang = guest_kit::timer::wait_for(region::PATIENCE_US, || (crate::bell::heard() | bell.rung()) & bit != 0);
    ensure!(rang, "the reader has not rung");
    Ok(())
}
