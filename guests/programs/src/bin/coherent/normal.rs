//! What Normal Write-Back memory promises (DDI0487 B2.2.6, B2.12.2): unaligned, exclusive and atomic accesses.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::mmio::{self, probe_read, probe_write};
use guest_kit::{Outcome, Stop, cpu, ensure, ensure_equal, memory, sysreg, timer};

use crate::PAGE;
use crate::region::pages;

pub fn unaligned() -> Outcome {
    for page in pages()? {
        for offset in [1, 3, 7, 0xff1, 0xff5, 0xff7] {
            let value = 0x0123_4567_89ab_cdef;
            let written = probe_write(page + offset, value, 8);
            ensure!(written.is_ok(), "store at {:#x} aborts", page + offset);
            let read = probe_read(page + offset, 8);
            ensure!(read == Ok(value), "load at {:#x} differs", page + offset);
            mmio::write64(page, 0);
            mmio::write64(page + 8, 0);
            let _ = probe_write(page + offset, 0, 8);
        }
    }
    Ok(())
}

/// Adds one by LDAXR and STLXR.
fn add_exclusive(address: u64) {
    // SAFETY: a word of the region.
    unsafe {
        asm!("2: ldaxr {v}, [{a}]", "add {v}, {v}, #1", "stlxr {s:w}, {v}, [{a}]", "cbnz {s:w}, 2b",
            a = in(reg) address, v = out(reg) _, s = out(reg) _)
    };
}

pub fn exclusives() -> Outcome {
    for word in pages()? {
        mmio::write64(word, 41);
        add_exclusive(word);
        let sum = mmio::read64(word);
        mmio::write64(word, 0);
        ensure_equal!(sum, 42, "after an exclusive addition");
    }
    Ok(())
}

pub fn atomics() -> Outcome {
    if sysreg::read!("id_aa64isar0_el1") >> 20 & 0xf < 2 {
        return Err(Stop::Skip("no FEAT_LSE"));
    }
    for word in pages()? {
        mmio::write64(word, 40);
        let (before, swapped): (u64, u64);
        let mut compared = 7u64;
        // SAFETY: a word of the region; FEAT_LSE is there.
        unsafe {
            asm!(".arch_extension lse", "ldaddal {one}, {b}, [{a}]", "swpal {seven}, {s}, [{a}]",
                "casal {c}, {nine}, [{a}]",
                a = in(reg) word, one = in(reg) 1u64, b = out(reg) before, seven = in(reg) 7u64,
                s = out(reg) swapped, c = inout(reg) compared, nine = in(reg) 9u64)
        };
        let after = mmio::read64(word);
        mmio::write64(word, 0);
        ensure_equal!(before, 40, "LDADD returned");
        ensure_equal!(swapped, 41, "SWP returned");
        ensure_equal!(compared, 7, "CAS returned");
        ensure_equal!(after, 9, "after CAS");
    }
    Ok(())
}

static WORD: AtomicU64 = AtomicU64::new(0);

pub fn adding() -> Outcome {
    const ROUNDS: u64 = 20_000;
    fn add(_: u64) {
        for _ in 0..ROUNDS {
            add_exclusive(WORD.load(Ordering::Acquire));
        }
    }
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    let [_, word, _] = pages()?;
    WORD.store(word, Ordering::Release);
    for index in 1..cpu::count() {
        ensure_equal!(cpu::start(index, add, 0), 0, "CPU_ON");
    }
    add(0);
    for index in 1..cpu::count() {
        timer::wait_for(10_000_000, || cpu::is_done(index));
        ensure!(cpu::wait_off(index), "CPU {} does not end", index);
    }
    let sum = mmio::read64(word);
    mmio::write64(word, 0);
    ensure_equal!(sum, ROUNDS * cpu::count() as u64, "sum");
    Ok(())
}

pub fn zeroing() -> Outcome {
    let dczid = sysreg::read!("dczid_el0");
    if dczid & 1 << 4 != 0 {
        return Err(Stop::Skip("DC ZVA is prohibited"));
    }
    let ([_, page, _], block) = (pages()?, 4u64 << (dczid & 0xf));
    memory::fill(page, page + PAGE, !0);
    // SAFETY: memory of the region.
    unsafe { asm!("dc zva, {}", "dsb sy", in(reg) page) };
    let first = mmio::read64(page) | mmio::read64(page + block - 8);
    let behind = mmio::read64(page + block);
    memory::fill(page, page + PAGE, 0);
    ensure_equal!(first, 0, "the block");
    ensure_equal!(behind, !0, "behind the block");
    Ok(())
}

pub fn maintenance() -> Outcome {
    for page in pages()? {
        mmio::write64(page, 0x5a);
        // SAFETY: cleaning keeps the data.
        unsafe {
            asm!("dc cvac, {0}", "dc cvau, {0}", "dc civac, {0}", "dsb sy", "ic ivau, {0}", "dsb sy",
                "isb", in(reg) page)
        };
        let kept = mmio::read64(page);
        mmio::write64(page, 0);
        ensure_equal!(kept, 0x5a, "after clean and invalidate");
    }
    Ok(())
}
