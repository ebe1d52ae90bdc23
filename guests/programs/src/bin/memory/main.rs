//! Memory is what the tree says and nothing else: clear, whole, each page its own, and aborts beyond.
#![no_std]
#![no_main]

mod aborts;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::exception::{self};
use guest_kit::machine::machine;
use guest_kit::mmio::{probe_read, probe_write};
use guest_kit::mmu::{self, Ram};
use guest_kit::{
    Case, Machine, Outcome, Stop, code, cpu, ensure, ensure_equal, ktap, memory, mmio, println, sysreg, timer,
};

guest_kit::entry!(main);

const PAGE: u64 = 0x1000;
const CASES: &[Case] = &[
    ("ram_is_clear_at_the_start", clear),
    ("every_page_of_ram_is_its_own", distinct),
    ("unaligned_accesses_to_normal_memory_work", unaligned),
    ("exclusives_work", exclusives),
    ("atomics_work_where_they_are_there", atomics),
    ("cpus_add_up_with_exclusives", adding),
    ("dc_zva_zeroes", zeroing),
    ("cache_maintenance_by_address_works", maintenance),
    ("fresh_ram_is_executable", executable),
    ("loads_beyond_ram_abort", aborts::loads),
    ("stores_beyond_ram_abort", aborts::stores),
    ("the_syndrome_of_a_store_says_write", aborts::store_syndrome),
    ("fetches_beyond_ram_abort", aborts::fetches),
    ("pairs_and_exclusives_beyond_ram_abort", aborts::others),
    ("table_walks_beyond_ram_abort", aborts::walks),
    ("aborts_come_with_the_mmu_off_too", aborts::mmu_off),
    ("nothing_else_is_in_the_first_gib", aborts::first_gib),
    ("nothing_is_above_ram", aborts::above),
    ("ten_thousand_aborts_leave_no_trace", aborts::many),
];

fn main(_: &'static Machine) {
    mmu::enable(Ram::WriteBack);
    ktap::run(CASES);
}

fn clear() -> Outcome {
    let (mut found, mut bytes) = (None, 0);
    machine().free_ram(&mut |start, end| {
        found = found.or(memory::first_nonzero(start, end));
        bytes += end - start;
    });
    println!("# {} KiB looked at", bytes / 1024);
    ensure!(bytes > 0, "no RAM beyond the program");
    ensure!(found.is_none(), "not clear at {:#x}", found.unwrap_or(0));
    Ok(())
}

/// Every page is written with its own address, then all are read: none is another under a second name.
fn distinct() -> Outcome {
    machine().free_ram(&mut |start, end| {
        for page in (start.next_multiple_of(PAGE)..end & !(PAGE - 1)).step_by(PAGE as usize) {
            mmio::write64(page + 8, page);
        }
    });
    let mut wrong = None;
    machine().free_ram(&mut |start, end| {
        for page in (start.next_multiple_of(PAGE)..end & !(PAGE - 1)).step_by(PAGE as usize) {
            if mmio::read64(page + 8) != page {
                wrong = wrong.or(Some(page));
            }
            mmio::write64(page + 8, 0);
        }
    });
    ensure!(wrong.is_none(), "page {:#x} holds another's address", wrong.unwrap_or(0));
    Ok(())
}

/// A page of free RAM, away from the program.
fn scratch() -> Result<u64, Stop> {
    let mut page = 0;
    machine().free_ram(&mut |start, end| {
        if page == 0 && end - start > 64 * PAGE {
            page = start.next_multiple_of(PAGE) + 16 * PAGE;
        }
    });
    if page == 0 { Err(Stop::Skip("no free RAM")) } else { Ok(page) }
}

fn unaligned() -> Outcome {
    let page = scratch()?;
    for offset in [1, 3, 7, 0xff9, 0xffd, 0xfff] {
        let value = 0x0123_4567_89ab_cdef;
        let written = probe_write(page + offset, value, 8);
        ensure!(written.is_ok(), "store at +{:#x} aborts", offset);
        let read = probe_read(page + offset, 8);
        ensure!(read == Ok(value), "load at +{:#x} differs", offset);
        let _ = probe_write(page + offset, 0, 8);
    }
    Ok(())
}

/// Adds one by LDXR and STXR.
fn add_exclusive(address: u64) {
    // SAFETY: the caller's word in RAM.
    unsafe {
        asm!("2: ldaxr {v}, [{a}]", "add {v}, {v}, #1", "stlxr {s:w}, {v}, [{a}]", "cbnz {s:w}, 2b",
            a = in(reg) address, v = out(reg) _, s = out(reg) _)
    };
}

fn exclusives() -> Outcome {
    let word = scratch()?;
    mmio::write64(word, 41);
    add_exclusive(word);
    ensure_equal!(mmio::read64(word), 42, "after an exclusive addition");
    let failed: u64;
    // SAFETY: a word of free RAM; CLREX makes the store fail.
    unsafe {
        asm!("ldxr {v}, [{a}]", "clrex", "stxr {s:w}, {v}, [{a}]",
            a = in(reg) word, v = out(reg) _, s = out(reg) failed)
    };
    ensure_equal!(failed & 1, 1, "status of a store after CLREX");
    mmio::write64(word, 0);
    Ok(())
}

fn has_atomics() -> bool {
    sysreg::read!("id_aa64isar0_el1") >> 20 & 0xf >= 2
}

fn atomics() -> Outcome {
    if !has_atomics() {
        return Err(Stop::Skip("no FEAT_LSE"));
    }
    let word = scratch()?;
    mmio::write64(word, 40);
    let (before, swapped): (u64, u64);
    // SAFETY: a word of free RAM; FEAT_LSE is there.
    unsafe {
        asm!(".arch_extension lse", "ldaddal {one}, {b}, [{a}]", "swpal {seven}, {s}, [{a}]",
            a = in(reg) word, one = in(reg) 1u64, b = out(reg) before, seven = in(reg) 7u64, s = out(reg) swapped)
    };
    ensure_equal!(before, 40, "LDADD returned");
    ensure_equal!(swapped, 41, "SWP returned");
    let mut compare = 7u64;
    // SAFETY: as above.
    unsafe {
        asm!(".arch_extension lse", "casal {c}, {n}, [{a}]", a = in(reg) word, c = inout(reg) compare, n = in(reg) 9u64)
    };
    ensure_equal!(compare, 7, "CAS returned");
    ensure_equal!(mmio::read64(word), 9, "after CAS");
    mmio::write64(word, 0);
    Ok(())
}

static WORD: AtomicU64 = AtomicU64::new(0);

fn adding() -> Outcome {
    const ROUNDS: u64 = 20_000;
    fn add(_: u64) {
        for _ in 0..ROUNDS {
            add_exclusive(WORD.load(Ordering::Acquire));
        }
    }
    if cpu::count() < 2 {
        return Err(Stop::Skip("one CPU only"));
    }
    let word = scratch()?;
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

fn zeroing() -> Outcome {
    let dczid = sysreg::read!("dczid_el0");
    if dczid & 1 << 4 != 0 {
        return Err(Stop::Skip("DC ZVA is prohibited"));
    }
    let (page, block) = (scratch()?, 4u64 << (dczid & 0xf));
    memory::fill(page, page + PAGE, !0);
    // SAFETY: free RAM.
    unsafe { asm!("dc zva, {}", "dsb sy", in(reg) page + block) };
    let zeroed = memory::first_nonzero(page + block, page + block + block.max(64));
    let kept = (mmio::read64(page + block - 8), mmio::read64(page + 2 * block));
    memory::fill(page, page + PAGE, 0);
    ensure!(block < 64 || zeroed.is_none(), "not zero within the block of {} bytes", block);
    ensure!(kept == (!0, !0), "zeroed beyond the block of {} bytes", block);
    Ok(())
}

fn maintenance() -> Outcome {
    let page = scratch()?;
    mmio::write64(page, 0x5a);
    // SAFETY: cleaning keeps the data of free RAM.
    unsafe {
        asm!("dc cvac, {0}", "dc cvau, {0}", "dc civac, {0}", "dsb sy", "ic ivau, {0}", "ic iallu",
            "ic ialluis", "dsb sy", "isb", in(reg) page)
    };
    ensure_equal!(mmio::read64(page), 0x5a, "after clean and invalidate");
    mmio::write64(page, 0);
    Ok(())
}

fn executable() -> Outcome {
    let page = scratch()?;
    // MOV x0, #42; RET
    mmio::write32(page, 0xd280_0540);
    mmio::write32(page + 4, code::RET);
    // SAFETY: makes the code visible.
    unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) page) };
    let result = exception::guarded(page, 0, 0);
    mmio::write64(page, 0);
    ensure!(result == Ok(42), "the code in fresh RAM does not run");
    Ok(())
}
