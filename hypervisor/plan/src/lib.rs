//! From trees to what each VM gets: device trees, the bundle, claims, the memory policy, PCI placing, kernel placing,
//! ID registers and traps, the guest's tree.
//!
//! Pure and for the boot only: nothing here outlives the making of the VMs but the values that it returns. `model` is
//! what runs afterwards; this crate may use its types, and it knows nothing of this one.
#![no_std]
#![cfg_attr(not(test), deny(unused_results))]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bundle;
mod causes;
pub mod claims;
pub mod fields;
pub mod gate;
pub mod guest_tree;
pub mod heap;
pub mod idregs;
pub mod kernel;
pub mod modules;
pub mod offers;
pub mod pci;
pub mod platform;
pub mod policy;
pub mod ranges;
pub mod refusal;
pub mod space;
pub mod traps;
pub mod uefi;
pub mod vm_plan;
pub mod vm_tree;
