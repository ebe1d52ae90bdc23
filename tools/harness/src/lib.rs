//! The QEMU driver: starts VMs under Assay in QEMU, talks to their consoles and reads their results.
//!
//! Assay's own tests are written with it, and so can be tests of anybody's guest:
//!
//! ```no_run
//! use std::time::Duration;
//! use assay_harness::Machine;
//!
//! # fn main() -> assay_harness::Result<()> {
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

mod error;
pub mod home;
pub mod ktap;
mod machine;
pub mod qmp;

// What the commands of a checkout (`tools/xtask`) share with the driver: no part of the library's interface, and not kept
// stable.
#[doc(hidden)]
pub mod bundle;
#[doc(hidden)]
pub mod cache;
#[doc(hidden)]
pub mod console;
#[doc(hidden)]
pub mod dom0less;
#[doc(hidden)]
pub mod events;
#[doc(hidden)]
pub mod image;
#[doc(hidden)]
pub mod manifest;
#[doc(hidden)]
pub mod overlay;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod programs;
#[doc(hidden)]
pub mod qemu;
#[doc(hidden)]
pub mod vm_tree;

pub use error::{Error, Kind, Result};
pub use events::Event;
pub use ktap::{Counts, Report};
pub use machine::{Builder, Machine, Output};
pub use qemu::Gic;
