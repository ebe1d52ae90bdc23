//! What the machine does: system registers, TLB, caches, GIC, timer, UART and the world switch.
//!
//! Nearly all of the hypervisor's `unsafe` is here, behind functions that safe code cannot use to break
//! the one invariant that everything rests on: no page is both EL2's and a guest's. Nothing here decides
//! what a guest gets; that is `model`'s. `monitor` is the only caller.
#![no_std]
#![cfg_attr(not(test), deny(unused_results))]
#![cfg_attr(not(target_os = "none"), allow(unused))]
// AArch64 only: `usize` is 64 bits wide, and registers are cut to the width of their fields on purpose.
#![allow(clippy::cast_possible_truncation)]

extern crate alloc;

pub mod boot;
pub mod cache;
mod claim;
pub mod coherent;
pub mod context;
pub mod cpu;
pub mod cpus;
pub mod device_memory;
mod fill;
pub mod firmware;
pub mod float;
pub mod frames;
pub mod gic;
pub mod guest_ram;
pub mod guest_regs;
pub mod heap;
pub mod image;
pub mod lock;
mod mmio;
pub mod mmu;
pub mod pci;
pub mod percpu;
pub mod pmu;
mod probe;
pub mod rtc;
pub mod secondary;
pub mod serror;
pub mod shared;
pub mod smmu;
pub mod stage2;
pub mod switch;
mod sysreg;
pub mod tags;
pub mod timer;
pub mod tlb;
pub mod traps;
pub mod uart;

pub use fill::crc32;
