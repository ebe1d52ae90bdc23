//! Looks for what another life, or another VM, left in memory: data and Allocation Tags.
//!
//! Two bootargs, for two VMs with tags side by side:
//! - `leak=soil`: finds all of its memory clear, fills it with a secret and tags, and ends as `end=reset` or
//!   `end=crash` says, for the next life to look
//! - `leak=look`: looks again and again for the secret and for any tag at all, in all of its memory and beyond
//!
//! A line `leak: found ...` is a failure; `leak: soiled` and `leak: clean` are each time's success.
#![no_std]
#![no_main]

use core::arch::asm;

use guest_kit::mmu::{self, Ram};
use guest_kit::{Machine, exception, memory, mmio, println, psci, sysreg, tags};

guest_kit::entry!(main);

/// The secret is this in all bits turned: so the looking program does not find its own code.
const TURNED: u64 = 0x5ac0_ffee_1eaf_ba5e;
/// Tag 13 for every granule, as STGM takes it.
const TAGS: u64 = 0xdddd_dddd_dddd_dddd;
const MIB: u64 = 1 << 20;
/// How far beyond RAM the looking VM reaches for what is not its own.
const BEYOND: u64 = 4 << 30;

fn main(machine: &'static Machine) {
    mmu::enable(Ram::Tagged);
    match machine.bootarg("leak") {
        Some("soil") => soil(machine),
        Some("look") => look(machine),
        _ => println!("leak: found no bootarg leak="),
    }
}

fn soil(machine: &Machine) {
    // Tags first: a load of what has one faults.
    let (mut bytes, mut clean) = (0, untagged(machine));
    machine.free_ram(&mut |start, end| {
        bytes += end - start;
        clean &= nothing("data", memory::first_nonzero(start, end));
    });
    machine.free_ram(&mut |start, end| {
        memory::fill(start, end, TURNED ^ !0);
        tags::fill(start, end, TAGS);
        flush(start, end);
    });
    if clean {
        println!("leak: soiled {} KiB", bytes / 1024);
    }
    if machine.bootarg("end") == Some("crash") {
        // An exception, and its vector is where nothing is: for Assay that is a crash.
        sysreg::write!("vbar_el1", machine.ram_end());
        let _ = exception::guarded(machine.ram_end(), 0, 0);
    }
    psci::system_reset();
}

fn look(machine: &Machine) {
    let end = machine.ram_end();
    let other = (end.next_multiple_of(MIB)..end + BEYOND)
        .step_by(MIB as usize)
        .find(|&address| mmio::probe_read(address, 8).is_ok());
    nothing("memory beyond its own", other);
    for count in 1u64.. {
        let mut clean = untagged(machine) && secretless(machine);
        // Once more without what caches hold: what memory itself has.
        for &(start, size) in machine.ram() {
            flush(start, start + size);
        }
        clean = clean && untagged(machine) && secretless(machine);
        if !clean {
            return;
        }
        println!("leak: clean {}", count);
    }
}

fn nothing(what: &str, found: Option<u64>) -> bool {
    if let Some(address) = found {
        println!("leak: found {} at {:#x}", what, address);
    }
    found.is_none()
}

/// Nothing of either kind of VM has tags but what `soil` tagged, so all memory is looked at, the program too.
fn untagged(machine: &Machine) -> bool {
    machine.ram().iter().all(|&(start, size)| nothing("a tag", tags::first_nonzero(start, start + size)))
}

/// Looks at every word, the program's own and the stack's too.
fn secretless(machine: &Machine) -> bool {
    let mut ram = machine.ram().iter();
    ram.all(|&(start, size)| nothing("the secret", first(TURNED, start, start + size)))
}

/// The first word in `start..end`, multiples of 16, that is `turned` with all bits turned.
fn first(turned: u64, start: u64, end: u64) -> Option<u64> {
    let mut at = start;
    // SAFETY: reads RAM of the guest.
    unsafe {
        asm!(
            "2: cmp {at}, {end}",
            "b.hs 3f",
            "ldp {a}, {b}, [{at}]",
            "mvn {a}, {a}",
            "mvn {b}, {b}",
            "cmp {a}, {turned}",
            "ccmp {b}, {turned}, #4, ne",
            "b.eq 3f",
            "add {at}, {at}, #16",
            "b 2b",
            "3:",
            at = inout(reg) at, end = in(reg) end, turned = in(reg) turned, a = out(reg) _, b = out(reg) _,
        )
    };
    (at < end).then_some(at)
}

/// DC CIGDVAC: data and tags of `start..end` to memory, and none left in the caches.
fn flush(start: u64, end: u64) {
    // CTR_EL0.DminLine: log2 of the words in the smallest line. Tags of a line go with it.
    let line = 4u64 << (sysreg::read!("ctr_el0") >> 16 & 0xf);
    for address in (start & !(line - 1)..end).step_by(line as usize) {
        // SAFETY: changes no memory. S1_3_C7_C14_5.
        unsafe { asm!("sys #3, c7, c14, #5, {}", in(reg) address) };
    }
    guest_kit::cpu::dsb();
}
