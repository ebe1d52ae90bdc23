//! Ends badly, in the way that the bootarg `crash=` names; without it, powers off.
//!
//! - `jump`: jumps to where nothing is, with no vectors to come back to
//! - `vectors`: points VBAR_EL1 to where nothing is and takes an UNDEFINED instruction
//! - `storm`: starts the second CPU where there is no code; if it is let, goes on itself and powers off
//! - `spin`: spins for ever with everything masked
//! - `watchdog`: arms the watchdog of the tree and spins
#![no_std]
#![no_main]

use guest_kit::{Machine, cpu, exception, ktap, mmio, println, psci, sysreg, timer};

guest_kit::entry!(main);

fn main(machine: &'static Machine) {
    ktap::run(&[("it_runs", || Ok(()))]);
    let nothing = machine.ram_end();
    let how = machine.bootarg("crash").unwrap_or("off");
    println!("crash: {}", how);
    match how {
        "jump" => {
            sysreg::write!("vbar_el1", nothing);
            // No handler: the exception's own vector is not there either.
            let _ = exception::guarded(nothing, 0, 0);
        }
        "vectors" => {
            sysreg::write!("vbar_el1", nothing);
            let _ = guest_kit::code::run(0, 0);
        }
        "storm" => {
            let Some(&second) = machine.cpus().get(1) else {
                return;
            };
            // Zero words are UDF, and VBAR_EL1 is whatever reset leaves.
            println!("crash: CPU_ON says {}", psci::cpu_on(second, nothing - 0x1000, 0));
            timer::delay(100_000);
            println!("crash: the first CPU goes on");
        }
        "watchdog" => {
            let Some(dog) = machine.watchdog else { return };
            mmio::write32(dog.control + 8, timer::ticks(20_000) as u32);
            mmio::write32(dog.control, 1);
            spin();
        }
        "spin" => spin(),
        _ => {}
    }
}

fn spin() -> ! {
    cpu::mask_irq();
    loop {
        core::hint::spin_loop();
    }
}
