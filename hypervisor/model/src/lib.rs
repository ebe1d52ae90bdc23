//! What a VM is: memory policy, stage 2, device trees, interrupt controller, PSCI, devices and exits.
//!
//! State, but no hardware: everything here is safe code that runs under `cargo test` on any host, and
//! the few things it needs of the machine are traits that it owns and `monitor` adapts to `el2`.
#![no_std]
#![cfg_attr(not(test), deny(unused_results))]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod console;
pub mod counters;
pub mod digest;
pub mod doorbell;
pub mod exit_trace;
pub mod exits;
pub mod flash;
pub mod holes;
pub mod idregs;
pub mod inject;
pub mod layout;
pub mod life;
pub mod line_editor;
pub mod loader;
pub mod lock;
pub mod monitor_command;
pub mod monitor_table;
pub mod pci;
pub mod poison;
pub mod proof;
pub mod psci;
pub mod ptimer;
pub mod rate;
pub mod rtc;
pub mod schedule;
pub mod seeds;
pub mod smccc;
mod speculation;
pub mod stage;
pub mod stage2;
pub mod sysregs;
pub mod terminal;
pub mod v2m;
pub mod vcpus;
pub mod vgic;
pub mod virtio;
pub mod vm;
pub mod vpl011;
pub mod watchdog;
