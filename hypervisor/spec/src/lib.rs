//! What Arm's documents say: addresses, registers, descriptors, syndromes, SMCCC and PSCI numbers; and what the manuals of
//! UARTs say.
//!
//! Values and encodings only: nothing here has state, touches hardware or makes a decision.
//! Both sides of the hypervisor speak this vocabulary: `model`, which decides, and `el2`, which acts.
#![no_std]
#![cfg_attr(not(test), deny(unused_results))]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod branch_history;
pub mod cpu_id;
pub mod esr;
pub mod exit;
pub mod frame;
pub mod gic;
pub mod hcr;
pub mod idmap;
pub mod intid;
pub mod look;
pub mod lr;
pub mod psci;
pub mod smccc;
pub mod smmu;
pub mod sort;
pub mod stage2_desc;
pub mod sve;
pub mod sysreg;
pub mod traps;
pub mod uart;
