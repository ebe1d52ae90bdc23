//! Does what a guest must not, and expects to be contained: an abort, a refusal, or nothing at all.
//!
//! Random choices come from a fixed seed, or from the bootarg `seed=N`. With `siege=SECONDS` it does nothing but a
//! random sequence of all that, for so long.
#![no_std]
#![no_main]

mod siege;
mod storms;

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::mmio::{probe_read, probe_read_pair, probe_write};
use guest_kit::mmu::{self, Ram};
use guest_kit::random::Random;
use guest_kit::timer::Timer;
use guest_kit::{Case, Machine, Outcome, Stop, code, cpu, ensure, ensure_equal, gic, irq, ktap, println, psci, uart};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("wild_accesses_abort_or_answer", wild_accesses),
    ("accesses_without_a_syndrome_do_no_harm", no_syndrome),
    ("random_writes_to_the_interrupt_controller", random_gic),
    ("random_writes_to_the_uart", random_uart),
    ("random_calls_are_refused", random_calls),
    ("random_power_calls_are_refused", random_power),
    ("jumps_into_devices_and_beyond_ram_abort", jumps),
    ("tables_in_devices_and_beyond_ram_abort", tables),
    ("a_storm_of_aborts_passes", storms::aborts),
    ("a_storm_of_calls_passes", storms::calls),
    ("a_storm_of_tlb_and_cache_maintenance_passes", storms::maintenance),
    ("a_storm_of_self_interrupts_passes", storms::interrupts),
    ("wfi_with_something_pending_returns", storms::pending_wait),
    ("a_long_wfi_ends_with_its_timer", storms::long_wait),
    ("wfe_returns_after_an_event", storms::event),
    ("the_machine_is_whole_after_all_that", whole),
];

fn main(_: &'static Machine) {
    println!("# seed {}", Random::of_bootargs().seed());
    if !siege::asked() {
        ktap::run(CASES);
    }
}

/// What is there to aim at: the frames of the tree's devices.
fn targets() -> ([(u64, u64); 16], usize) {
    let (mut frames, mut count) = ([(0, 0); 16], 0);
    machine().devices(&mut |start, size| {
        // The watchdog would bite. The console is left alone here, or no result could be read.
        let dog = machine().watchdog.is_some_and(|dog| start == dog.control || start == dog.refresh);
        if !dog && start != machine().uart && count < frames.len() {
            frames[count] = (start, size);
            count += 1;
        }
    });
    (frames, count)
}

fn wild_accesses() -> Outcome {
    ktap::needs_hypervisor()?;
    let mut random = Random::of_bootargs();
    let mut aborts = 0;
    for _ in 0..20_000 {
        // Up to 2^37, most of them below the RAM where the devices are.
        let bits = if random.below(4) == 0 { 37 } else { 30 };
        let address = random.draw() & ((1 << bits) - 1);
        let watchdog = machine().watchdog.is_some_and(|dog| [dog.control, dog.refresh].contains(&(address & !0xffff)));
        if machine().is_ram(address) || address & !0xfff == machine().uart || watchdog {
            continue;
        }
        let bytes = 1 << random.below(4);
        let result = if random.below(2) == 0 {
            probe_read(address, bytes).map(|_| ())
        } else {
            probe_write(address, random.draw(), bytes)
        };
        if let Err(caught) = result {
            // Unaligned with the MMU off is an alignment fault of stage 1.
            let contained =
                caught.class() == Caught::DATA_ABORT && matches!(caught.status(), Caught::EXTERNAL | Caught::ALIGNMENT);
            ensure!(contained, "{} bytes at {:#x}: esr={:#x}", bytes, address, caught.esr);
            aborts += 1;
        }
    }
    println!("# {} aborts", aborts);
    Ok(())
}

/// Pairs, write-back, exclusives and DC ZVA: the syndrome does not say what they would transfer.
fn no_syndrome() -> Outcome {
    ktap::needs_hypervisor()?;
    extern "C" fn post_index(address: u64) {
        // SAFETY: aborts or reads a device register, guarded.
        unsafe { asm!("ldr {v:w}, [{a}], #4", a = inout(reg) address => _, v = out(reg) _) };
    }
    extern "C" fn store_pair(address: u64) {
        // SAFETY: as above.
        unsafe { asm!("stp xzr, xzr, [{a}]", "dsb sy", a = in(reg) address) };
    }
    extern "C" fn exclusive(address: u64) {
        // SAFETY: as above.
        unsafe { asm!("ldxr {v:w}, [{a}]", "clrex", a = in(reg) address, v = out(reg) _) };
    }
    extern "C" fn zva(address: u64) {
        // SAFETY: as above.
        unsafe { asm!("dc zva, {a}", "dsb sy", a = in(reg) address) };
    }
    let (frames, count) = targets();
    let functions = [post_index as extern "C" fn(u64), store_pair, exclusive, zva];
    for &(start, _) in &frames[..count] {
        let _ = probe_read_pair(start);
        for function in functions {
            if let Err(caught) = exception::guarded(function as *const () as u64, start, 0) {
                ensure!(caught.class() == Caught::DATA_ABORT, "at {:#x}: esr={:#x}", start, caught.esr);
            }
        }
    }
    Ok(())
}

fn random_gic() -> Outcome {
    ktap::needs_hypervisor()?;
    let mut random = Random::of_bootargs();
    let (frames, count) = targets();
    for _ in 0..50_000 {
        let (start, size) = frames[random.below(count as u64) as usize];
        let bytes = 1u32 << random.below(4);
        let address = start + random.below(size) / u64::from(bytes) * u64::from(bytes);
        let result = match random.below(3) {
            0 => probe_read(address, bytes).map(|_| ()),
            // Sparse, dense and whole values.
            1 => probe_write(address, 1 << random.below(64), bytes),
            _ => probe_write(address, random.draw(), bytes),
        };
        ensure!(result.is_ok(), "{} bytes at {:#x} abort", bytes, address);
    }
    sane()
}

fn random_uart() -> Outcome {
    let mut random = Random::of_bootargs();
    for _ in 0..5_000 {
        // Not the data register, and not the upper half, which natively aborts or not as it likes.
        let address = machine().uart + 4 + random.below(0x3fc) * 4 % 0xffc;
        let result = if random.below(2) == 0 {
            probe_read(address, 4).map(|_| ())
        } else {
            probe_write(address, random.draw(), 4)
        };
        ensure!(result.is_ok(), "at {:#x} aborts", address);
    }
    uart::restore();
    sane()
}

/// A function id that turns nothing off: not CPU_OFF, CPU_SUSPEND, CPU_DEFAULT_SUSPEND,
/// SYSTEM_SUSPEND, SYSTEM_OFF, SYSTEM_RESET, CPU_FREEZE or SYSTEM_RESET2.
fn is_harmless(id: u64) -> bool {
    let standard = (id >> 24) as u32 & 0x3f == 4 && id as u32 >> 31 == 1;
    !(standard && matches!(id & 0xffff, 1 | 2 | 8 | 9 | 0xb | 0xc | 0xe | 0x12))
}

fn random_calls() -> Outcome {
    let mut random = Random::of_bootargs();
    for _ in 0..50_000 {
        siege::call(&mut random)?;
    }
    sane()
}

fn random_power() -> Outcome {
    // QEMU's own PSCI ignores the bits that an affinity does not have.
    ktap::needs_hypervisor()?;
    let mut random = Random::of_bootargs();
    for _ in 0..20_000 {
        // Affinities of no CPU: bits that an affinity does not have, or beyond the last.
        let mpidr = random.draw() | 1 << 63;
        let id = [psci::CPU_ON, psci::AFFINITY_INFO][random.below(2) as usize];
        let answer = psci::call(id, mpidr, random.draw(), random.draw());
        ensure!(answer < 0, "function {:#x} of CPU {:#x}: {}", id, mpidr, answer);
    }
    for index in 1..cpu::count() {
        let state = psci::affinity_info(machine().cpus()[index], 0);
        ensure_equal!(state, psci::AFFINITY_OFF, "AFFINITY_INFO of another CPU");
    }
    Ok(())
}

fn jumps() -> Outcome {
    ktap::needs_hypervisor()?;
    let (frames, count) = targets();
    let beyond = [0, machine().ram_end(), 1 << 38, machine().uart];
    for address in frames[..count].iter().map(|&(start, _)| start).chain(beyond) {
        match exception::guarded(address, 0, 0) {
            Ok(_) => ensure!(false, "code at {:#x} returns", address),
            Err(caught) => {
                ensure!(caught.class() == Caught::INSTRUCTION_ABORT, "at {:#x}: esr={:#x}", address, caught.esr);
            }
        }
    }
    Ok(())
}

/// Stage-1 tables where there is no memory: every walk is an abort of the walk.
fn tables() -> Outcome {
    ktap::needs_hypervisor()?;
    const GIB: usize = 400;
    let (frames, count) = targets();
    mmu::enable(Ram::WriteBack);
    let mut outcome = Ok(());
    for place in frames[..count].iter().map(|&(start, _)| start).chain([machine().ram_end(), 0]) {
        mmu::set_descriptor(GIB, place & !0xfff | 0b11);
        let result = probe_read((GIB as u64) << 30, 4);
        if !result.is_err_and(|caught| caught.class() == Caught::DATA_ABORT) {
            outcome = Err(Stop::Fail(guest_kit::text::Text::new(format_args!("a table at {:#x} is walked", place))));
        }
    }
    mmu::disable();
    outcome
}

/// The machine still works: interrupts come, calls answer, code runs.
fn sane() -> Outcome {
    let gic = gic::gic();
    cpu::mask_irq();
    irq::clear_handler();
    gic.enable();
    irq::forget(0);
    for intid in [5, Timer::Virtual.intid()] {
        gic.set_priority(intid, 0x80);
        gic.enable_intid(intid);
    }
    irq::set_handler(|_| Timer::Virtual.stop());
    cpu::unmask_irq();
    gic.send_sgi(5, 0);
    let sgi = irq::wait_for_count(0, 1, 1_000_000);
    Timer::Virtual.arm(100);
    let timer = irq::wait_for_count(0, 2, 1_000_000);
    cpu::mask_irq();
    Timer::Virtual.stop();
    irq::clear_handler();
    ensure!(sgi, "an SGI does not arrive any more");
    ensure!(timer, "the timer does not interrupt any more");
    ensure!(psci::call(psci::VERSION, 0, 0, 0) >= 0x1_0001, "PSCI_VERSION differs");
    ensure!(code::run(0xd280_0540, 0) == Ok(42), "code does not run any more");
    Ok(())
}

fn whole() -> Outcome {
    sane()?;
    for index in 1..cpu::count() {
        ensure_equal!(cpu::start(index, |_| {}, 0), psci::SUCCESS, "CPU_ON");
        ensure!(cpu::wait_off(index), "CPU {} does not turn off", index);
    }
    Ok(())
}
