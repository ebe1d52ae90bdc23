//! The QEMU driver: starts VMs under Assay in QEMU, talks to their consoles and reads their results.
//!
//! Assay's own tests are written with it, and so can be tests of anybody's guest:
//!
//! ```no_run
//! use std::time::Duration;
//! use assay_harness::Machine;
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut machine = Machine::builder()
//!     .manifest_text(
//!         r#"
//!         [[vm]]
//!         name = "linux"
//!         cpus = 2
//!         memory = "512M"
//!         kernel = "debian"
//!         initrd = "busybox"
//!         "#,
//!     )
//!     .start()?;
//! machine.expect("linux", "debian:/# ", Duration::from_secs(120))?;
//! assert_eq!(machine.shell("linux", "nproc", "debian:/# ", Duration::from_secs(10))?, "2");
//! machine.send("linux", "poweroff -f\n")?;
//! machine.finish(Duration::from_secs(30))
//! # }
//! ```
//!
//! What it doesn't do: set up or build. `cargo xtask setup` and `cargo xtask build` in a checkout do that first, and
//! an error here says so. Which checkout it is from a crate elsewhere: [`home`]. Kernels and ramdisks may be files of
//! your own.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod cache;
pub mod console;
pub mod dom0less;
pub mod events;
pub mod home;
pub mod image;
pub mod ktap;
mod machine;
pub mod manifest;
pub mod overlay;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod qmp;
pub mod vm_tree;

pub use events::Event;
pub use ktap::{Counts, Report};
pub use machine::{Builder, Machine, Output};
