//! A random sequence over every interface that traps, for as long as the bootarg `siege=SECONDS` says.
//!
//! Seconds are of virtual time. Whether the guest is still whole is looked at now and then; what the sequence
//! does to other VMs is for those to say.

use guest_kit::code::{self, Encoding};
use guest_kit::exception::Caught;
use guest_kit::machine::machine;
use guest_kit::mmio::{probe_read, probe_write};
use guest_kit::random::Random;
use guest_kit::timer;
use guest_kit::{Case, Outcome, ensure, gic, ktap, println, psci, uart};

use crate::{is_harmless, sane, storms, targets};

const SIEGE: &[Case] = &[("everything_that_traps_at_random_is_contained", siege)];

/// Runs the siege if the bootargs ask for one.
pub fn asked() -> bool {
    if seconds() == 0 {
        return false;
    }
    ktap::run(SIEGE);
    true
}

fn seconds() -> u64 {
    let number = machine().bootarg("siege");
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How many steps there are between two looks at whether the guest still works.
const BETWEEN: u64 = 4096;

fn siege() -> Outcome {
    ktap::needs_hypervisor()?;
    let mut random = Random::of_bootargs();
    let end = timer::now().wrapping_add(timer::ticks(seconds() * 1_000_000));
    let mut steps = 0u64;
    while timer::now() < end {
        for _ in 0..BETWEEN {
            step(&mut random)?;
        }
        steps += BETWEEN;
        uart::restore();
        sane()?;
    }
    println!("# {} steps", steps);
    Ok(())
}

fn step(random: &mut Random) -> Outcome {
    match random.below(64) {
        0..16 => device(random),
        16..28 => wild(random),
        28..40 => call(random),
        40..48 => register(random),
        48..54 => interrupt(random),
        54..60 => console(random),
        60..62 => {
            storms::maintain();
            Ok(())
        }
        _ => power(random),
    }
}

fn access(random: &mut Random, address: u64, bytes: u32) -> Result<(), Caught> {
    match random.below(3) {
        0 => probe_read(address, bytes).map(|_| ()),
        1 => probe_write(address, 1 << random.below(64), bytes),
        _ => probe_write(address, random.draw(), bytes),
    }
}

/// The frames of the tree's devices answer whatever is written to them.
fn device(random: &mut Random) -> Outcome {
    let (frames, count) = targets();
    let (start, size) = frames[random.below(count as u64) as usize];
    let bytes = 1u32 << random.below(4);
    let address = start + random.below(size) / u64::from(bytes) * u64::from(bytes);
    let result = access(random, address, bytes);
    ensure!(result.is_ok(), "{} bytes at {:#x} abort", bytes, address);
    Ok(())
}

/// The UART's registers but for the data register, whose bytes would be results.
fn console(random: &mut Random) -> Outcome {
    let address = machine().uart + 4 + random.below(0x3fe) * 4;
    let value = random.draw();
    let result = probe_write(address, value, 4);
    ensure!(result.is_ok(), "{:#x} aborts", address);
    Ok(())
}

/// Anywhere that is neither RAM nor a device of the tree: an abort, and nothing else.
fn wild(random: &mut Random) -> Outcome {
    let bits = 30 + random.below(18);
    let address = random.draw() & ((1 << bits) - 1);
    let bytes = 1u32 << random.below(4);
    let mut taken = machine().is_ram(address) || machine().is_ram(address + 8);
    machine().devices(&mut |start, size| {
        taken |= address + 8 >= start && address < start + size;
    });
    if taken {
        return Ok(());
    }
    // What QEMU's virt has here and the tree may not name is somebody's registers at most.
    if let Err(caught) = access(random, address, bytes) {
        ensure!(caught.class() == Caught::DATA_ABORT, "{} bytes at {:#x}: esr={:#x}", bytes, address, caught.esr);
    }
    Ok(())
}

/// Calls of any kind that do not end the guest.
pub fn call(random: &mut Random) -> Outcome {
    let id = match random.below(3) {
        0 => random.draw(),
        1 => 0x8000_0000 | random.below(64) << 24 | random.below(0x100) | random.below(2) << 30,
        _ => random.draw() & 0xffff_ffff,
    };
    // A CPU that is turned on at a random place is another program's business.
    let is_cpu_on = (id >> 24) & 0x3f == 4 && id & 0xffff == 3;
    if is_harmless(id) && !is_cpu_on {
        psci::call(id, random.draw(), random.draw(), random.draw());
    }
    Ok(())
}

/// Power calls about CPUs that do not exist are refused.
fn power(random: &mut Random) -> Outcome {
    let mpidr = random.draw() | 1 << 63;
    let id = [psci::CPU_ON, psci::AFFINITY_INFO][random.below(2) as usize];
    let answer = psci::call(id, mpidr, random.draw(), random.draw());
    ensure!(answer < 0, "{:#x} of CPU {:#x}: {}", id, mpidr, answer);
    Ok(())
}

/// A read of any system register, or the value that was read back into it.
fn register(random: &mut Random) -> Outcome {
    let op0 = 2 + random.below(2) as u32;
    let n = random.below(1 << 14) as u32;
    let name = Encoding(op0, n >> 11 & 7, n >> 7 & 15, n >> 3 & 15, n & 7);
    // ICC_IAR0_EL1 and ICC_IAR1_EL1 acknowledge: what nobody ends would keep later interrupts out.
    let acknowledges = matches!((name.0, name.2, name.3, name.4), (3, 12, 8 | 12, 0));
    if !acknowledges
        && let Ok(value) = code::read(name)
        && random.below(4) == 0
    {
        let _ = code::run(name.write(), value);
    }
    Ok(())
}

/// Software-generated interrupts to anybody.
fn interrupt(random: &mut Random) -> Outcome {
    gic::gic().send_sgi(random.below(16) as u32, 0);
    Ok(())
}
