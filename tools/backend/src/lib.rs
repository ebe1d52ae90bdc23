//! The backend of a virtio device between VMs: what the VM with the real disk, network or console runs.
//!
//! The driver is in another VM, and nothing that it writes is trusted: queues and descriptors are `virtio-queue`'s to
//! check, and addresses `vm-memory`'s. What breaks the rules breaks its own device, until its driver resets it.
#![forbid(unsafe_code)]

pub mod block;
pub mod console;
pub mod face;
pub mod net;
mod server;
#[cfg(test)]
mod tests;

pub use server::{Broken, Device, Memory, Server};
