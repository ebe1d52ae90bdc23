//! Looks whether the pages that its tree reserves are absent, and whether all other memory is there and clear; soils that, and
//! waits for a `q` or for its end.
//!
//! After each look it prints how many pages are reserved.
#![no_std]
#![no_main]

use guest_kit::code;
use guest_kit::exception::Caught;
use guest_kit::machine::machine;
use guest_kit::mmio::{probe_read, probe_write};
use guest_kit::mmu::{self, Ram};
use guest_kit::{
    Case, Machine, Outcome, ensure, ensure_equal, exception, ktap, memory, println, sysreg, tags, timer, uart,
};

guest_kit::entry!(main);

const PAGE: u64 = 0x1000;
const CASES: &[Case] = &[
    ("reserved_pages_are_absent", absent),
    ("pages_beside_them_are_there", neighbours),
    ("all_other_memory_is_clear", clear),
];

fn main(machine: &'static Machine) {
    mmu::enable(if has_tags() { Ram::Tagged } else { Ram::WriteBack });
    ktap::run(CASES);
    machine.free_ram(&mut |start, end| {
        memory::fill(start, end, !0);
        if has_tags() {
            tags::fill(start, end, !0);
        }
    });
    println!("offline: reserved={}", machine.tree.reservations().count());
    while !timer::wait_for(1_000_000, || uart::get() == Some(b'q')) {}
}

fn has_tags() -> bool {
    sysreg::read!("id_aa64pfr1_el1") >> 8 & 0xf >= 2
}

fn absent() -> Outcome {
    for (page, size) in machine().tree.reservations() {
        ensure_equal!(size, PAGE, "bytes reserved");
        ensure!(machine().is_ram(page), "{:#x} is reserved and no memory", page);
        for address in [page, page + 8, page + PAGE - 8] {
            let external = |result: Result<(), Caught>, class: u64| {
                let caught = result.err();
                caught.is_some_and(|caught| caught.class() == class && caught.status() == Caught::EXTERNAL)
            };
            let read = probe_read(address, 8).map(|_| ());
            ensure!(external(read, Caught::DATA_ABORT), "a load at {:#x} does not abort", address);
            let written = probe_write(address, 1, 8);
            ensure!(external(written, Caught::DATA_ABORT), "a store at {:#x} does not abort", address);
            let fetched = exception::guarded(address, 0, 0).map(|_| ());
            ensure!(external(fetched, Caught::INSTRUCTION_ABORT), "a fetch at {:#x} does not abort", address);
        }
    }
    Ok(())
}

fn neighbours() -> Outcome {
    let is_reserved =
        |address: u64| machine().tree.reservations().any(|(page, size)| address.wrapping_sub(page) < size);
    let is_free = |address: u64| {
        let mut is_free = false;
        machine().free_ram(&mut |start, end| is_free |= (start..end).contains(&address));
        is_free
    };
    for (page, _) in machine().tree.reservations() {
        let places = [PAGE, 16 * PAGE, 512 * PAGE, 8192 * PAGE].into_iter();
        for address in places.flat_map(|step| [page.wrapping_sub(step), page + step]) {
            if !machine().is_ram(address) || is_reserved(address) || !is_free(address) {
                continue;
            }
            ensure!(probe_read(address, 8) == Ok(0), "a load at {:#x} aborts or is not 0", address);
            ensure!(probe_write(address, u64::from(code::RET), 8).is_ok(), "a store at {:#x} aborts", address);
            code::publish_range(address, address + 8);
            // Other memory than the first may be without execution.
            let is_first = machine().ram().first().is_some_and(|(start, size)| address.wrapping_sub(*start) < *size);
            ensure!(!is_first || exception::guarded(address, 0, 0).is_ok(), "a fetch at {:#x} aborts", address);
            ensure!(probe_write(address, 0, 8).is_ok(), "a second store at {:#x} aborts", address);
        }
    }
    Ok(())
}

fn clear() -> Outcome {
    let (mut found, mut bytes) = (None, 0);
    let mut tagged = None;
    machine().free_ram(&mut |start, end| {
        found = found.or(memory::first_nonzero(start, end));
        if has_tags() {
            tagged = tagged.or(tags::first_nonzero(start, end));
        }
        bytes += end - start;
    });
    println!("# {} KiB looked at", bytes / 1024);
    ensure!(found.is_none(), "not clear at {:#x}", found.unwrap_or(0));
    ensure!(tagged.is_none(), "tags at {:#x}", tagged.unwrap_or(0));
    Ok(())
}
