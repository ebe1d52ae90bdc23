//! Every system register and every call has an answer: a value, or UNDEFINED, and never a hang.
#![no_std]
#![no_main]

mod exchange;
mod identification;

use guest_kit::code::{self, Encoding};
use guest_kit::exception::Caught;
use guest_kit::{Case, Machine, Outcome, cpu, ensure, gic, irq, ktap, println, psci};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("every_register_of_op0_3_reads_or_is_undefined", || sweep_reads(3)),
    ("every_register_of_op0_2_reads_or_is_undefined", || sweep_reads(2)),
    ("what_reads_takes_its_value_back", write_back),
    ("what_does_not_read_takes_zero_or_is_undefined", write_only),
    ("every_system_instruction_ends", system_instructions),
    ("every_hvc_immediate_ends", || immediates(0xd400_0002)),
    ("every_smc_immediate_ends", || immediates(0xd400_0003)),
    ("every_function_id_of_the_convention_ends", function_ids),
    ("exceptions_of_our_own_come_to_us", own_exceptions),
    ("every_general_register_is_exchanged_and_no_other", exchange::every_register),
    ("id_registers_are_stable_and_say_el1", identification::id_registers),
    ("what_is_not_offered_is_not_reported", identification::not_offered),
    ("what_is_not_reported_is_undefined", identification::not_reported),
    ("memory_is_set_by_its_instructions_or_they_are_undefined", identification::memory_sets),
    ("interrupts_work_after_all_that", interrupts),
];

fn main(_: &'static Machine) {
    ktap::run(CASES);
}

/// All encodings of one op0.
fn encodings(op0: u32) -> impl Iterator<Item = Encoding> {
    (0..1 << 14u32).map(move |n| Encoding(op0, n >> 11 & 7, n >> 7 & 15, n >> 3 & 15, n & 7))
}

/// UNDEFINED, or a trap of EL1's own for FP, SVE or SME, which the kit leaves off (CPACR_EL1).
/// With FEAT_IDST an unallocated register of the identification space may come as a trapped MRS.
fn is_answer(caught: Caught) -> bool {
    // ISS of EC 0x18: op0 in bits 21:20, CRn in 13:10, the read in bit 0.
    let identification = caught.class() == 0x18 && caught.esr & 0x30_3c01 == 0x30_0001;
    (matches!(caught.class(), 0x00 | 0x07 | 0x19 | 0x1d) || identification) && !caught.is_serror()
}

/// Fills the code buffer with pairs of an instruction and RET, and calls `visit` with each result.
fn batches(
    instructions: impl Iterator<Item = (Encoding, u32)>,
    argument: u64,
    mut visit: impl FnMut(Encoding, Result<u64, Caught>) -> Outcome,
) -> Outcome {
    let mut names = [Encoding(0, 0, 0, 0, 0); BATCH];
    let mut flush = |names: &[Encoding]| -> Outcome {
        code::publish(names.len() * 2);
        for (index, &name) in names.iter().enumerate() {
            visit(name, code::call(index * 2, argument, 0))?;
        }
        Ok(())
    };
    let mut filled = 0;
    for (name, instruction) in instructions {
        names[filled] = name;
        code::put(filled * 2, instruction);
        code::put(filled * 2 + 1, code::RET);
        filled += 1;
        if filled == BATCH {
            flush(&names)?;
            filled = 0;
        }
    }
    flush(&names[..filled])
}

const BATCH: usize = 256;

fn sweep_reads(op0: u32) -> Outcome {
    let mut values = 0;
    batches(encodings(op0).map(|name| (name, name.read())), 0, |name, result| {
        match result {
            Ok(_) => values += 1,
            Err(caught) => ensure!(is_answer(caught), "{:?}: esr={:#x} far={:#x}", name, caught.esr, caught.far),
        }
        Ok(())
    })?;
    println!("# {} registers read", values);
    Ok(())
}

fn write_back() -> Outcome {
    let mut taken = 0;
    for name in encodings(3).chain(encodings(2)) {
        let Ok(value) = code::read(name) else {
            continue;
        };
        match code::run(name.write(), value) {
            Ok(_) => taken += 1,
            Err(caught) => ensure!(is_answer(caught), "{:?}: esr={:#x} far={:#x}", name, caught.esr, caught.far),
        }
    }
    println!("# {} registers take their value back", taken);
    Ok(())
}

fn write_only() -> Outcome {
    let mut taken = 0;
    for op0 in [3, 2] {
        // Which they are, is found batch by batch: a read first, then the write in place of it.
        for name in encodings(op0) {
            if code::read(name).is_ok() {
                continue;
            }
            match code::run(name.write(), 0) {
                Ok(_) => taken += 1,
                Err(caught) => ensure!(is_answer(caught), "{:?}: esr={:#x} far={:#x}", name, caught.esr, caught.far),
            }
        }
    }
    println!("# {} registers are for writing only", taken);
    Ok(())
}

/// Somewhere for DC and AT to work on.
#[repr(C, align(4096))]
struct Page(core::cell::UnsafeCell<[u64; 512]>);
// SAFETY: only instructions made here touch it.
unsafe impl Sync for Page {}
static PAGE: Page = Page(core::cell::UnsafeCell::new([0; 512]));

fn system_instructions() -> Outcome {
    let mut done = 0;
    let address = PAGE.0.get() as u64;
    // By set and way (DDI0487 C5.3, DC ISW and the like): an address is no set and way, zero is one.
    let by_set =
        |name: &Encoding| name.1 == 0 && name.2 == 7 && matches!(name.3, 6 | 10 | 14) && matches!(name.4, 2 | 4 | 6);
    for (sets, argument) in [(false, address), (true, 0)] {
        let chosen = encodings(1).filter(|name| by_set(name) == sets).map(|name| (name, name.write()));
        batches(chosen, argument, |name, result| {
            match result {
                Ok(_) => done += 1,
                Err(caught) => {
                    // Translation and permission faults are the instruction's own business.
                    let own = is_answer(caught) || caught.class() == Caught::DATA_ABORT;
                    ensure!(own, "{:?}: esr={:#x} far={:#x}", name, caught.esr, caught.far);
                }
            }
            Ok(())
        })?;
    }
    println!("# {} instructions executed", done);
    Ok(())
}

fn immediates(instruction: u32) -> Outcome {
    let all = (0..=0xffffu32).map(|imm| (Encoding(0, 0, 0, 0, 0), instruction | imm << 5));
    let mut imm = 0u32;
    // A function that nobody serves.
    batches(all, 0x8600_fa50, |_, result| {
        match result {
            Ok(value) => ensure!(value as i32 == -1, "immediate {:#x}: {:#x}", imm, value),
            Err(caught) => ensure!(is_answer(caught), "immediate {:#x}: esr={:#x}", imm, caught.esr),
        }
        imm += 1;
        Ok(())
    })
}

fn function_ids() -> Outcome {
    let mut answered = 0;
    for owner in 0..64u64 {
        for number in 0..0x100u64 {
            // PSCI's own numbers: `psci` calls those, with arguments.
            if owner == 4 && number < 0x20 {
                continue;
            }
            for kind in [0, 0x4000_0000, 0x8000_0000, 0xc000_0000u64] {
                let id = kind | owner << 24 | number;
                let answer = psci::call(id, 0, 0, 0);
                // Arm architecture, standard, standard hypervisor and vendor hypervisor services.
                if answer as i32 != -1 {
                    ensure!(matches!(owner, 0 | 4 | 5 | 6) && kind >> 31 == 1, "function {:#x}: {:#x}", id, answer);
                    answered += 1;
                }
            }
        }
    }
    println!("# {} functions answered", answered);
    Ok(())
}

fn own_exceptions() -> Outcome {
    // UDF, BRK, SVC, HLT (UNDEFINED without a halting debugger).
    for (name, instruction, class) in
        [("UDF", 0, 0), ("BRK", 0xd420_0020, 0x3c), ("SVC", 0xd400_0021, 0x15), ("HLT", 0xd440_0020, 0)]
    {
        match code::run(instruction, 0) {
            Ok(_) => ensure!(false, "{} does nothing", name),
            Err(caught) => ensure!(caught.class() == class, "{}: esr={:#x}", name, caught.esr),
        }
    }
    Ok(())
}

fn interrupts() -> Outcome {
    let gic = gic::gic();
    gic.enable();
    irq::forget(0);
    gic.enable_intid(1);
    cpu::unmask_irq();
    gic.send_sgi(1, 0);
    let came = irq::wait_for_count(0, 1, 1_000_000);
    cpu::mask_irq();
    ensure!(came, "an SGI does not arrive");
    Ok(())
}
