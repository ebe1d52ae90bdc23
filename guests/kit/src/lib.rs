//! What a small EL1 guest needs, and no more: entry, vectors, console, KTAP, GIC, timer, PSCI.
//!
//! It is not a runtime for applications. A guest here owns its whole machine and its job is to do
//! what a guest should not, so the kit offers raw access (any address, any system register, any
//! instruction) as safe functions on purpose; [`exception::guarded`] catches what comes of it.
//! Guests keep `unsafe` of their own for single instructions that no one else needs.
//!
//! Its modules name each other in one direction, from the ground up: `sysreg`, `fdt`, `text`, `memory`, `tags`;
//! `this_cpu`, `machine`; `random`, `exception`, `code`, `mmio`, `mmu`, `timer`, `uart`; `psci`, `gic`, `ktap`; `cpu`, `irq`;
//! `vectors`, `entry`.
//!
//! Memory-mapped registers are reached by single `ldr`/`str` instructions only: a hypervisor that
//! emulates a device needs the syndrome of exactly those (DDI0487, ESR_EL2 ISS.ISV).
#![no_std]

pub mod code;
pub mod cpu;
pub mod entry;
pub mod exception;
pub mod fdt;
pub mod gic;
pub mod irq;
pub mod ktap;
pub mod machine;
pub mod memory;
pub mod mmio;
pub mod mmu;
pub mod psci;
pub mod random;
pub mod sysreg;
pub mod tags;
pub mod text;
mod this_cpu;
pub mod timer;
pub mod uart;
mod vectors;

pub use ktap::{Case, Outcome, Stop};
pub use machine::Machine;

/// Names the function that the entry code calls: `fn(&'static Machine)`.
///
/// When it returns, the guest powers off.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// What the kit's entry code calls.
        #[unsafe(no_mangle)]
        pub extern "Rust" fn guest_main(machine: &'static $crate::Machine) {
            let main: fn(&'static $crate::Machine) = $main;
            main(machine);
        }
    };
}
