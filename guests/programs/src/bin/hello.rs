//! Says what it sees of its machine, and powers off.
#![no_std]
#![no_main]

use guest_kit::gic::Version;
use guest_kit::{Machine, ensure, ktap, println, psci, sysreg, timer};

guest_kit::entry!(main);

fn main(machine: &'static Machine) {
    println!("Hello from EL{}, under PSCI {:#x}.", level(), psci::call(psci::VERSION, 0, 0, 0));
    for (start, size) in machine.ram() {
        println!("RAM: {} MiB at {:#x}.", size >> 20, start);
    }
    println!("CPUs: {}, this one is {:#x}.", machine.cpus().len(), sysreg::read!("mpidr_el1") & 0xff_00ff_ffff);
    let version = if machine.gic.version == Version::V3 { 3 } else { 2 };
    println!("GICv{} at {:#x}, {} interrupts.", version, machine.gic.distributor, machine.gic.lines());
    println!("Counter: {} Hz. Command line: \"{}\".", timer::frequency(), machine.bootargs);
    ktap::run(&[("a_guest_runs_at_el1_with_its_tree", || {
        ensure!(level() == 1, "at EL{}", level());
        ensure!(!guest_kit::machine::machine().ram().is_empty(), "no RAM in the tree");
        ensure!(!guest_kit::machine::machine().cpus().is_empty(), "no CPU in the tree");
        Ok(())
    })]);
}

fn level() -> u64 {
    sysreg::read!("currentel") >> 2
}
