//! Where there is no memory: every access comes back as an external abort, with the right syndrome.

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::mmio::{probe_read, probe_read_pair, probe_write};
use guest_kit::mmu::{self, Ram};
use guest_kit::{Outcome, Stop, ensure, ensure_equal, ktap, println, psci};

use crate::{PAGE, has_atomics};

/// Addresses that are nobody's, within the 39 bits that the kit maps.
fn nowhere() -> impl Iterator<Item = u64> {
    let end = machine().ram_end();
    [end, end + 8, end + 0x12_3450, end + (5 << 30), (1 << 39) - 16].into_iter()
}

fn expect_external(caught: Caught, class: u64, address: u64) -> Outcome {
    ensure_equal!(caught.class(), class, "exception class");
    ensure_equal!(caught.status(), Caught::EXTERNAL, "fault status");
    ensure_equal!(caught.esr >> 25 & 1, 1, "ESR_EL1.IL");
    ensure_equal!(caught.esr & 1 << 10, 0, "FAR not valid");
    ensure_equal!(caught.far, address, "FAR_EL1");
    ensure_equal!(caught.spsr & 0xf, 5, "SPSR_EL1.M");
    Ok(())
}

pub fn loads() -> Outcome {
    for address in nowhere() {
        for bytes in [1, 2, 4, 8] {
            match probe_read(address, bytes) {
                Ok(value) => ensure!(false, "{} bytes at {:#x} read {:#x}", bytes, address, value),
                Err(caught) => expect_external(caught, Caught::DATA_ABORT, address)?,
            }
        }
    }
    Ok(())
}

pub fn stores() -> Outcome {
    for address in nowhere() {
        for bytes in [1, 2, 4, 8] {
            match probe_write(address, 0x55, bytes) {
                Ok(()) => ensure!(false, "{} bytes at {:#x} could be written", bytes, address),
                Err(caught) => expect_external(caught, Caught::DATA_ABORT, address)?,
            }
        }
    }
    Ok(())
}

pub fn store_syndrome() -> Outcome {
    let address = machine().ram_end();
    let (read, written) = (probe_read(address, 4), probe_write(address, 0, 4));
    ensure!(read.is_err_and(|caught| !caught.is_write()), "the syndrome of a load says write");
    ensure!(written.is_err_and(|caught| caught.is_write()), "the syndrome of a store says read");
    Ok(())
}

pub fn fetches() -> Outcome {
    // The kit maps what is not RAM as never executable: stage 1 off, so that stage 2 is asked.
    mmu::disable();
    let outcome =
        nowhere().map(|address| address & !3).try_for_each(|address| match exception::guarded(address, 0, 0) {
            Ok(_) => Err(Stop::Fail(guest_kit::text::Text::new(format_args!("code at {:#x}", address)))),
            Err(caught) => {
                expect_external(caught, Caught::INSTRUCTION_ABORT, address)?;
                ensure_equal!(caught.elr, address, "ELR_EL1");
                Ok(())
            }
        });
    mmu::enable(Ram::WriteBack);
    outcome
}

pub fn others() -> Outcome {
    extern "C" fn exclusive(address: u64) {
        // SAFETY: aborts, guarded.
        unsafe { asm!("ldxr {v}, [{a}]", a = in(reg) address, v = out(reg) _) };
    }
    extern "C" fn zva(address: u64) {
        // SAFETY: aborts, guarded.
        unsafe { asm!("dc zva, {a}", "dsb sy", a = in(reg) address) };
    }
    extern "C" fn atomic(address: u64) {
        // SAFETY: aborts, guarded.
        unsafe { asm!(".arch_extension lse", "ldadd {v}, {v}, [{a}]", a = in(reg) address, v = inout(reg) 1u64 => _) };
    }
    let address = machine().ram_end();
    ensure!(probe_read_pair(address).is_err_and(|caught| caught.class() == Caught::DATA_ABORT), "LDP");
    for (name, function) in [("LDXR", exclusive as extern "C" fn(u64)), ("DC ZVA", zva), ("LDADD", atomic)] {
        if name == "LDADD" && !has_atomics() {
            continue;
        }
        match exception::guarded(function as *const () as u64, address, 0) {
            Ok(_) => ensure!(false, "{} beyond RAM does not abort", name),
            Err(caught) => ensure!(caught.class() == Caught::DATA_ABORT, "{}: esr={:#x}", name, caught.esr),
        }
    }
    Ok(())
}

/// A level-1 entry that points to a table which is not there: an external abort on the walk.
pub fn walks() -> Outcome {
    const GIB: usize = 300;
    mmu::set_descriptor(GIB, machine().ram_end() | 0b11);
    let result = probe_read((GIB as u64) << 30, 4);
    mmu::enable(Ram::WriteBack);
    match result {
        Ok(_) => ensure!(false, "the walk finds something"),
        Err(caught) => {
            ensure_equal!(caught.class(), Caught::DATA_ABORT, "exception class");
            // 0x14 + level. A hypervisor whose stage 2 stops the walk does not learn the level.
            let exact = !machine().is_native() || caught.status() == 0x16;
            ensure!(exact && caught.status() >> 2 == 5, "fault status {:#x}", caught.status());
        }
    }
    Ok(())
}

pub fn mmu_off() -> Outcome {
    mmu::disable();
    let result = probe_read(machine().ram_end(), 4);
    mmu::enable(Ram::WriteBack);
    match result {
        Ok(_) => ensure!(false, "there is something beyond RAM"),
        Err(caught) => expect_external(caught, Caught::DATA_ABORT, machine().ram_end())?,
    }
    Ok(())
}

/// `PV_TIME_ST` (DEN0057): the address of this vCPU's stolen time, which no tree names.
const PV_TIME_ST: u64 = 0xc500_0021;

/// Probes from `start` to `end` in steps. What is neither RAM nor a device of the tree must abort, nor the page
/// that the hypervisor itself names.
fn sweep(start: u64, end: u64, step: u64) -> Outcome {
    let mut probed = 0u64;
    let mut devices = [(0, 0); 16];
    let mut count = 0;
    machine().devices(&mut |start, size| {
        if let Some(slot) = devices.get_mut(count) {
            *slot = (start, size);
            count += 1;
        }
    });
    let stolen_time = psci::hvc(PV_TIME_ST, 0, 0, 0);
    for address in (start..end).step_by(step as usize) {
        let is_device = devices[..count].iter().any(|&(start, size)| address.wrapping_sub(start) < size);
        let is_stolen_time = address & !0xfff == stolen_time & !0xfff;
        if is_device || is_stolen_time || machine().is_ram(address) {
            continue;
        }
        match probe_read(address, 4) {
            Ok(value) => ensure!(false, "{:#x} reads {:#x}", address, value),
            Err(caught) => expect_external(caught, Caught::DATA_ABORT, address)?,
        }
        probed += 1;
    }
    println!("# {} places aborted", probed);
    Ok(())
}

pub fn first_gib() -> Outcome {
    ktap::needs_hypervisor()?;
    sweep(0, 1 << 30, PAGE)
}

pub fn above() -> Outcome {
    ktap::needs_hypervisor()?;
    let end = machine().ram_end();
    sweep(end, end.next_multiple_of(1 << 30) + (8 << 30), 2 << 20)?;
    sweep(end.next_multiple_of(1 << 30), 1 << 39, 1 << 30)
}

pub fn many() -> Outcome {
    let address = machine().ram_end();
    for round in 0..10_000 {
        ensure!(probe_read(address, 4).is_err(), "round {} reads", round);
    }
    Ok(())
}
