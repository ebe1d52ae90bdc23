//! The story: boot order, the per-CPU loop, applying decisions, console, panic.
//!
//! Nothing is decided here that `model` can decide, and nothing touches the machine but through `el2`.
//! [`start`] is where the boot CPU comes in, [`start_secondary`] the others.
#![no_std]
#![cfg_attr(not(test), deny(unused_results))]
#![forbid(unsafe_code)]

extern crate alloc;

mod adapter;
mod at_start;
mod boot;
mod bundle;
mod coherent;
mod console;
mod cpus;
mod create;
mod deferred;
mod device;
mod early;
mod flash;
mod hardware;
mod heap;
mod interrupts;
mod load;
mod memory;
mod msi;
mod operator;
pub mod panic;
mod pci;
mod pool;
mod proof;
mod ram;
mod report;
mod runner;
mod seeds;
mod shared;
mod smmu;
mod vm;

use assay_el2::boot::Boot;

/// The boot CPU, from the first Rust on.
pub fn start(boot: Boot) -> ! {
    match boot::boot(boot) {
        Ok(()) => runner::cpu_loop(assay_el2::percpu::index()),
        Err(error) => {
            console::say!("error reason={}", assay_plan::policy::line::Quoted(&error));
            power_off()
        }
    }
}

/// Every other CPU, `index` in the order of the tree: sets itself up, says what it is, and goes to work.
pub fn start_secondary(index: u64) -> ! {
    cpus::join(index, interrupts::private());
    runner::cpu_loop(assay_el2::percpu::index())
}

/// Ends the machine: nothing runs any more.
fn power_off() -> ! {
    assay_el2::firmware::system_off();
    console::say!("warning reason=\"firmware cannot power the machine off: switch it off or reset it by hand\"");
    console::flush();
    assay_el2::cpu::park()
}
