//! A device of the platform tree that a VM has: what the tree says of it, and that its registers and interrupts work.
//!
//! It is the PL061 of QEMU's `virt`, its GPIO controller. With the bootarg `again` the program leaves the interrupt asserted
//! and resets the VM, until a `q` comes.
#![no_std]
#![no_main]

mod pl061;

use guest_kit::{Case, Machine, ktap, println, timer, uart};

guest_kit::entry!(main);

const PL061: &[Case] = &[
    ("the_tree_has_the_device", pl061::described),
    ("the_device_is_the_one_promised", pl061::identified),
    ("its_registers_work", pl061::works),
    ("what_is_beside_it_is_not_there", pl061::alone),
    ("no_interrupt_comes_by_itself", pl061::calm),
    ("each_interrupt_comes_once", pl061::interrupts),
    ("an_interrupt_that_is_not_cleared_comes_again", pl061::level),
    ("a_disabled_interrupt_waits", pl061::disabled),
];

fn main(machine: &'static Machine) {
    if machine.has_bootarg("again") {
        println!("platform: enabled {:#x}", pl061::enabled());
    }
    ktap::run(PL061);
    if machine.has_bootarg("again") {
        println!("platform: again");
        // Nobody can note across a reset that it has been: the one who reads the console sends a `q` at the end.
        if !timer::wait_for(2_000_000, || uart::get() == Some(b'q')) {
            pl061::leave_asserted();
            guest_kit::psci::system_reset();
        }
    }
    uart::drain();
}
