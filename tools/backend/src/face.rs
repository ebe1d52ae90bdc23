//! The registers of a device's backend, as `docs/virtio.md` has them, and the PCI function whose BAR 0 they are.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use vm_memory::{
    Bytes as _, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion, VolatileMemory as _,
};

/// Registers.
pub const MAGIC: u64 = 0x00;
/// The virtio number of what the device is.
pub const KIND: u64 = 0x08;
/// What has happened; a load takes it.
pub const EVENTS: u64 = 0x0c;
/// What the backend tells.
pub const CONTROL: u64 = 0x14;
/// Interrupts the driver.
pub const INTERRUPT: u64 = 0x18;
/// The driver's RAM: address, and length.
pub const RAM: u64 = 0x20;
/// What the device offers, and what the driver has taken.
pub const DEVICE_FEATURES: u64 = 0x30;
/// See [`DEVICE_FEATURES`].
pub const DRIVER_FEATURES: u64 = 0x38;
/// Configuration space.
pub const CONFIG: u64 = 0x100;
/// The queues, 64 bytes each.
pub const QUEUES: u64 = 0x200;

/// "asyv".
pub const MAGIC_VALUE: u32 = 0x7679_7361;

/// Bits of [`EVENTS`] above those of the queues: the driver has set the device up; it has reset it.
pub const READY: u32 = 1 << 8;
/// See [`READY`].
pub const RESET: u32 = 1 << 9;

/// Values of [`CONTROL`]: a backend is there; it has left all queues; the driver has broken the rules.
pub const SERVE: u32 = 1;
/// See [`SERVE`].
pub const LET_GO: u32 = 2;
/// See [`SERVE`].
pub const BREAK: u32 = 3;

/// Registers of 32 bits.
pub trait Registers {
    /// Loads one.
    fn load(&self, offset: u64) -> u32;
    /// Stores to one.
    fn store(&self, offset: u64, value: u32);

    /// Loads two that are a number of 64 bits.
    fn load_wide(&self, offset: u64) -> u64 {
        u64::from(self.load(offset)) | u64::from(self.load(offset + 4)) << 32
    }
}

/// A PCI function that `uio_pci_generic` has.
pub struct Function {
    bar: MmapRegion,
    config: File,
    uio: File,
}

impl Registers for Function {
    fn load(&self, offset: u64) -> u32 {
        let slice = self.bar.as_volatile_slice();
        slice.load(usize::try_from(offset).unwrap_or(usize::MAX), std::sync::atomic::Ordering::SeqCst).unwrap_or(0)
    }

    fn store(&self, offset: u64, value: u32) {
        let slice = self.bar.as_volatile_slice();
        // Every offset is a constant below 4 KiB, or a queue's.
        let _ = slice.store(value, usize::try_from(offset).unwrap_or(usize::MAX), std::sync::atomic::Ordering::SeqCst);
    }
}

impl Function {
    /// Opens the function at this PCI address.
    ///
    /// # Errors
    /// It is not there, is no device's backend, or `uio_pci_generic` does not have it.
    pub fn open(address: &str) -> Result<Self> {
        let folder = PathBuf::from("/sys/bus/pci/devices").join(address);
        let open = |path: PathBuf| {
            let file = OpenOptions::new().read(true).write(true).open(&path);
            file.with_context(|| format!("can't open {}", path.display()))
        };
        let bar = MmapRegion::from_file(FileOffset::new(open(folder.join("resource0"))?, 0), 0x1000)?;
        let uio = fs::read_dir(folder.join("uio")).context("uio_pci_generic does not have the function")?;
        let uio = uio.flatten().next().context("no UIO device")?.file_name();
        let function = Self { bar, config: open(folder.join("config"))?, uio: open(PathBuf::from("/dev").join(uio))? };
        // Two would take each other's events. The lock ends with the process.
        function.config.try_lock().ok().with_context(|| format!("{address} has a backend already"))?;
        ensure!(function.load(MAGIC) == MAGIC_VALUE, "{address} is no backend of a virtio device");
        Ok(function)
    }

    /// Lets the function interrupt, once. (PCI Local Bus Specification 3.0 §6.2.2: Interrupt Disable)
    ///
    /// # Errors
    /// Configuration space can't be written.
    pub fn unmask(&self) -> Result<()> {
        const COMMAND: u64 = 4;
        const INTX_DISABLE: u16 = 1 << 10;
        let mut command = [0; 2];
        self.config.read_exact_at(&mut command, COMMAND)?;
        let command = u16::from_le_bytes(command) & !INTX_DISABLE;
        Ok(self.config.write_all_at(&command.to_le_bytes(), COMMAND)?)
    }

    /// What becomes readable at an interrupt.
    #[must_use]
    pub fn interrupt(&self) -> BorrowedFd<'_> {
        self.uio.as_fd()
    }

    /// Takes the interrupt that made [`Self::interrupt`] readable.
    ///
    /// # Errors
    /// The function is gone.
    pub fn take_interrupt(&mut self) -> Result<()> {
        Ok(self.uio.read_exact(&mut [0; 4])?)
    }

    /// Maps the driver's RAM, which the device file `dax` has.
    ///
    /// # Errors
    /// It can't be mapped.
    pub fn memory(&self, dax: &str) -> Result<GuestMemoryMmap> {
        let (start, size) = (self.load_wide(RAM), usize::try_from(self.load_wide(RAM + 8))?);
        let file = OpenOptions::new().read(true).write(true).open(dax);
        let file = file.with_context(|| format!("can't open {dax}"))?;
        let region = MmapRegion::from_file(FileOffset::new(file, 0), size);
        let region = region.with_context(|| format!("can't map {size:#x} bytes of {dax}"))?;
        let region = GuestRegionMmap::new(region, GuestAddress(start)).context("the RAM has no end")?;
        Ok(GuestMemoryMmap::from_regions(vec![region])?)
    }
}
