//! PCI functions behind host bridges with ECAM: found, sized and placed.
//!
//! Pure code over a [`ConfigSpace`], for the boot only. What a function's memory may be used for is `policy`'s matter.
//! (PCI Local Bus Specification 3.0 chapter 6; PCI-to-PCI Bridge Architecture Specification 1.2 §3.2.)

mod bar;
mod bridge;
mod capability;
mod device;
mod fault;
mod host;
mod idmap;
mod messages;
mod place;
mod prepare;
mod reset;
#[cfg(test)]
mod tests;
mod virtio;
mod walk;

pub use device::{Address, DeviceFault, Found, look, needs_dma};
pub use fault::BarFault;
pub(crate) use host::BUS_BYTES;
pub use host::{EcamHost, PciWindow, Rival};
pub use idmap::{DeviceId, IdMap, IdRange, Stream};
pub use messages::stop_messages;
pub use prepare::{Placed, Prepared, prepare, stop_dma};
pub use reset::{Progress, Reset};

use assay_model::pci::{Bar, ConfigSpace, Function};
