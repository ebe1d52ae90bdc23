//! The binary: Image and PE headers, EL2 entry, early map and relocation (`entry.S`), then `monitor`.
#![no_std]
#![cfg_attr(target_os = "none", no_main)]
#![cfg_attr(not(target_os = "none"), allow(unused))]

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod uefi;

/// The hypervisor runs on bare metal only; this lets host tools type-check the workspace.
#[cfg(not(target_os = "none"))]
fn main() {}
