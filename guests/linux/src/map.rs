//! Mappings: anonymous memory of one NUMA node, files and devices.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `PROT_MTE` of arm64's `mman.h`.
pub const PROT_MTE: i32 = 0x20;
const MPOL_BIND: usize = 2;
const MPOL_F_NODE: usize = 1;
const MPOL_F_ADDR: usize = 2;

/// Memory that is mapped as long as this lives.
pub struct Map {
    start: *mut u8,
    length: usize,
}

impl Map {
    /// Maps `length` bytes of nobody's, with `protection` beside reading and writing.
    ///
    /// # Errors
    /// `mmap`'s.
    pub fn anonymous(length: usize, protection: i32) -> io::Result<Self> {
        Self::new(length, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// As [`Map::anonymous`], of one NUMA node.
    ///
    /// # Errors
    /// `mmap`'s or `mbind`'s.
    pub fn on_node(length: usize, protection: i32, node: usize) -> io::Result<Self> {
        let map = Self::anonymous(length, protection)?;
        let mask = 1usize << node;
        // SAFETY: the kernel reads one word of mask.
        let result = unsafe {
            libc::syscall(libc::SYS_mbind, map.start, length, MPOL_BIND, &raw const mask, usize::BITS as usize, 0usize)
        };
        if result == 0 { Ok(map) } else { Err(io::Error::last_os_error()) }
    }

    /// Maps a file or device from `offset` on, shared.
    ///
    /// # Errors
    /// `mmap`'s.
    pub fn file(file: &File, offset: u64, length: usize, protection: i32) -> io::Result<Self> {
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        Self::new(length, protection, libc::MAP_SHARED, file.as_raw_fd(), offset)
    }

    fn new(length: usize, protection: i32, flags: i32, file: i32, offset: i64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE | protection;
        // SAFETY: a new mapping where the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// The first byte's address.
    #[must_use]
    pub fn address(&self) -> usize {
        self.start as usize
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Reads the word at `offset`, which must be inside and may be unaligned.
    #[must_use]
    pub fn read(&self, offset: usize) -> u64 {
        read(self.inside(offset))
    }

    /// Writes the word at `offset`, which must be inside and may be unaligned.
    pub fn write(&self, offset: usize, value: u64) {
        write(self.inside(offset), value);
    }

    /// Reads the 32 bits at `offset`, which must be inside: a device's register.
    #[must_use]
    pub fn read32(&self, offset: usize) -> u32 {
        let value;
        // SAFETY: inside of the mapping.
        unsafe { std::arch::asm!("ldr {v:w}, [{a}]", v = out(reg) value, a = in(reg) self.inside(offset)) };
        value
    }

    /// Writes the 32 bits at `offset`, which must be inside: a device's register.
    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: inside of the mapping.
        unsafe { std::arch::asm!("str {v:w}, [{a}]", v = in(reg) value, a = in(reg) self.inside(offset)) };
    }

    fn inside(&self, offset: usize) -> usize {
        assert!(offset + 8 <= self.length, "offset {offset:#x} is outside of the mapping");
        self.address() + offset
    }

    /// Which NUMA node the page at `offset` is on; it is touched first.
    ///
    /// # Errors
    /// `get_mempolicy`'s.
    pub fn node_of(&self, offset: usize) -> io::Result<i32> {
        let address = self.inside(offset);
        write(address, read(address));
        let mut node = -1i32;
        // SAFETY: the kernel writes one word.
        let result = unsafe {
            libc::syscall(libc::SYS_get_mempolicy, &raw mut node, 0usize, 0usize, address, MPOL_F_NODE | MPOL_F_ADDR)
        };
        if result == 0 { Ok(node) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// Has all new pages of this process come from one NUMA node, also after it has become another program.
///
/// # Errors
/// `set_mempolicy`'s.
pub fn bind(node: usize) -> io::Result<()> {
    let mask = 1usize << node;
    // SAFETY: the kernel reads one word of mask.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_BIND, &raw const mask, usize::BITS as usize) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One load of 64 bits; a fault is the caller's to expect.
#[must_use]
pub fn read(address: usize) -> u64 {
    let value;
    // SAFETY: callers give addresses of mappings; an unaligned one is what some want to see.
    unsafe { std::arch::asm!("ldr {v}, [{a}]", v = out(reg) value, a = in(reg) address) };
    value
}

/// One store of 64 bits; a fault is the caller's to expect.
pub fn write(address: usize, value: u64) {
    // SAFETY: as `read`.
    unsafe { std::arch::asm!("str {v}, [{a}]", v = in(reg) value, a = in(reg) address) };
}
