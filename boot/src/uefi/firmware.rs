//! Firmware's services, one thin function each.

use core::ffi::c_void;
use core::fmt::{self, Write as _};
use core::ptr;
use core::slice;

use assay_plan::gate::MAX_BYTES;
use assay_plan::uefi::{MemoryMap, beside};
use uefi_raw::protocol::device_path::DevicePathProtocol;
use uefi_raw::protocol::file_system::{FileAttribute, FileMode, FileProtocolV1, SimpleFileSystemProtocol};
use uefi_raw::protocol::loaded_image::LoadedImageProtocol;
use uefi_raw::protocol::media::LoadFile2Protocol;
use uefi_raw::table::boot::{AllocateType, BootServices, MemoryType};
use uefi_raw::table::runtime::ResetType;
use uefi_raw::table::system::SystemTable;
use uefi_raw::{Boolean, Guid, Handle, Status, guid};

use super::Fault;

const PAGE: usize = 0x1000;
/// The device tree in the configuration table (Embedded Base Boot Requirements 2.1 §2.4).
const TREE: Guid = guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");
/// The device path of whoever serves an initrd by LoadFile2, as Linux has it: vendor media, GUID, end.
const INITRD: [u8; 24] = [
    4, 3, 20, 0, 0x27, 0xe4, 0x68, 0x55, 0xfc, 0x68, 0x3d, 0x4f, 0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc,
    0x68, //
    0x7f, 0xff, 4, 0,
];

/// The firmware that started this image, until [`Firmware::exit`].
pub(super) struct Firmware {
    image: Handle,
    table: &'static SystemTable,
    services: &'static BootServices,
}

impl Firmware {
    /// # Safety
    /// `image` and `table` are what firmware called the entry with.
    pub(super) unsafe fn new(image: Handle, table: *mut SystemTable) -> Self {
        // SAFETY: our caller's promise; the table is there as long as the image is.
        let table = unsafe { &*table };
        // SAFETY: boot services are there while the image runs, and nobody asks for them after they have ended.
        let services = unsafe { &*table.boot_services };
        Self { image, table, services }
    }

    /// Prints a line where firmware prints.
    pub(super) fn say(&self, line: &dyn fmt::Display) {
        // Who has no console is told nothing.
        let _ = write!(Console(self.table), "assay: {line}\r\n");
    }

    /// Returns memory that is free when boot services have ended, as long as nobody takes it.
    /// `align` is whole pages.
    pub(super) fn allocate(&self, bytes: usize, align: usize) -> Result<&'static mut [u8], Fault> {
        let pages = bytes.div_ceil(PAGE) + (align - PAGE) / PAGE;
        let mut address = 0;
        // SAFETY: firmware writes the address only.
        let status = unsafe {
            (self.services.allocate_pages)(AllocateType::ANY_PAGES, MemoryType::LOADER_DATA, pages, &raw mut address)
        };
        if status != Status::SUCCESS {
            return Err(Fault::NoMemory(bytes));
        }
        let start = address.next_multiple_of(align as u64);
        // SAFETY: firmware gave these pages to us alone, mapped and readable, and they are never given back.
        Ok(unsafe { slice::from_raw_parts_mut(start as *mut u8, bytes) })
    }

    /// Returns firmware's device tree, as long as its header says, but no longer than one may be.
    pub(super) fn tree(&self) -> Option<&'static [u8]> {
        let (first, count) = (self.table.configuration_table, self.table.number_of_configuration_table_entries);
        if first.is_null() {
            return None;
        }
        // SAFETY: the system table says that so many entries are there.
        let entries = unsafe { slice::from_raw_parts(first, count) };
        let found = entries.iter().find(|entry| entry.vendor_guid == TREE)?.vendor_table.cast::<[u32; 2]>();
        // SAFETY: the entry points to a tree, which has a header and is aligned.
        let header = unsafe { found.read_unaligned() };
        let size = (u32::from_be(header[1]) as usize).min(MAX_BYTES);
        // SAFETY: the tree is as long as it says.
        Some(unsafe { slice::from_raw_parts(found.cast(), size) })
    }

    /// Returns the initrd that a boot loader serves by LoadFile2, if one does.
    pub(super) fn served_initrd(&self) -> Result<Option<&'static [u8]>, Fault> {
        let mut path = INITRD.as_ptr().cast::<DevicePathProtocol>();
        let mut handle = ptr::null_mut();
        // SAFETY: `INITRD` is a whole device path; firmware writes the pointer and the handle.
        let status =
            unsafe { (self.services.locate_device_path)(&LoadFile2Protocol::GUID, &raw mut path, &raw mut handle) };
        if status != Status::SUCCESS {
            return Ok(None);
        }
        let Some(server) = self.protocol::<LoadFile2Protocol>(handle, &LoadFile2Protocol::GUID) else {
            return Ok(None);
        };
        let load = |size: &mut usize, buffer: *mut c_void| {
            // SAFETY: `path` is what is left of the path, and at most `size` bytes are written to `buffer`.
            unsafe { (server.load_file)(ptr::from_ref(server).cast_mut(), path, Boolean::FALSE, size, buffer) }
        };
        let mut size = 0;
        if load(&mut size, ptr::null_mut()) != Status::BUFFER_TOO_SMALL || size == 0 {
            return Ok(None);
        }
        let file = self.allocate(size, PAGE)?;
        match load(&mut size, file.as_mut_ptr().cast()) {
            Status::SUCCESS => Ok(file.get(..size)),
            status => Err(Fault::Firmware("the initrd cannot be loaded", status)),
        }
    }

    /// Returns what whoever started the image gave it to say; any bytes.
    pub(super) fn load_options(&self) -> &'static [u8] {
        let image = self.protocol::<LoadedImageProtocol>(self.image, &LoadedImageProtocol::GUID);
        let Some(image) = image.filter(|image| !image.load_options.is_null()) else { return &[] };
        let size = (image.load_options_size as usize).min(PAGE);
        // SAFETY: so many bytes are there, as long as the image is (UEFI 2.10 §9.1); any bytes are such.
        unsafe { slice::from_raw_parts(image.load_options.cast(), size) }
    }

    /// Returns a file that lies beside the image, if firmware loaded that from a file system, and there is one.
    pub(super) fn file(&self, name: &str) -> Result<Option<&'static [u8]>, Fault> {
        let Some(mut file) = self.open(name) else { return Ok(None) };
        file.seek(u64::MAX);
        let size = file.position();
        file.seek(0);
        if size == 0 {
            return Ok(None);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX >> 1);
        let to = self.allocate(size, PAGE)?;
        match file.read(to) {
            Status::SUCCESS => Ok(Some(to)),
            status => Err(Fault::Firmware("a file beside the image cannot be read", status)),
        }
    }

    fn open(&self, name: &str) -> Option<File> {
        let image = self.protocol::<LoadedImageProtocol>(self.image, &LoadedImageProtocol::GUID)?;
        let volume = self.protocol::<SimpleFileSystemProtocol>(image.device_handle, &SimpleFileSystemProtocol::GUID)?;
        let mut units = [0; 256];
        let path = beside(device_path(image.file_path), name, &mut units)?;
        let mut root = ptr::null_mut();
        // SAFETY: the volume is firmware's; it writes the pointer to its root.
        let status = unsafe { (volume.open_volume)(ptr::from_ref(volume).cast_mut(), &raw mut root) };
        let root = (status == Status::SUCCESS).then_some(File(root))?;
        root.open(path)
    }

    fn protocol<P>(&self, handle: Handle, guid: &Guid) -> Option<&'static P> {
        let mut found = ptr::null_mut();
        // SAFETY: firmware checks the handle, and writes the pointer.
        let status = unsafe { (self.services.handle_protocol)(handle, guid, &raw mut found) };
        let found = found.cast::<P>().cast_const();
        if status != Status::SUCCESS {
            return None;
        }
        // SAFETY: firmware found the interface, and it is there while its handle is; nobody here takes that away.
        unsafe { found.as_ref() }
    }

    /// Returns memory for the map, with room for what is allocated until it is read.
    pub(super) fn map_buffer(&self) -> Result<&'static mut [u8], Fault> {
        let (_, size, stride, _) = self.read_map(&mut []);
        self.allocate(size + 32 * stride, PAGE)
    }

    /// Reads the map; returns it and its key.
    pub(super) fn map<'b>(&self, buffer: &'b mut [u8]) -> Result<(MemoryMap<'b>, usize), Fault> {
        let (status, size, stride, key) = self.read_map(buffer);
        let bytes = buffer.get(..size).filter(|_| status == Status::SUCCESS);
        let bytes = bytes.ok_or(Fault::Firmware("there is no memory map", status))?;
        Ok((MemoryMap { bytes, stride }, key))
    }

    fn read_map(&self, buffer: &mut [u8]) -> (Status, usize, usize, usize) {
        let (mut size, mut key, mut stride, mut version) = (buffer.len(), 0, 0, 0);
        let to = buffer.as_mut_ptr().cast();
        // SAFETY: firmware writes at most `size` bytes to the buffer, which the first use has none of.
        let status = unsafe {
            (self.services.get_memory_map)(&raw mut size, to, &raw mut key, &raw mut stride, &raw mut version)
        };
        (status, size, stride, key)
    }

    /// Ends boot services. False if the map has changed since it was read: then only the map may be read again.
    pub(super) fn exit(&self, key: usize) -> bool {
        // SAFETY: whoever calls this asks nothing more of firmware once it is true.
        let status = unsafe { (self.services.exit_boot_services)(self.image, key) };
        status == Status::SUCCESS
    }
}

impl Firmware {
    /// Resets the machine, by the one service that is there in any case.
    pub(super) fn reset(&self) -> ! {
        // SAFETY: runtime services are there as long as the machine is.
        if let Some(services) = unsafe { self.table.runtime_services.as_ref() } {
            // SAFETY: no data goes with it.
            unsafe { (services.reset_system)(ResetType::COLD, Status::ABORTED, 0, ptr::null()) }
        }
        loop {
            core::hint::spin_loop();
        }
    }
}

/// The bytes of a device path, whose end is a node of its own.
fn device_path(path: *const DevicePathProtocol) -> &'static [u8] {
    let (start, mut length) = (path.cast::<u8>(), 0usize);
    while !path.is_null() {
        let at = start.wrapping_add(length).cast::<[u8; 4]>();
        // SAFETY: firmware's paths have a node here: no end has come yet.
        let [kind, _, low, high] = unsafe { at.read_unaligned() };
        length += usize::from(u16::from_le_bytes([low, high])).max(4);
        if kind == 0x7f {
            // SAFETY: just walked.
            return unsafe { slice::from_raw_parts(start, length) };
        }
    }
    &[]
}

/// An open file. It is not closed: firmware's handles end with boot services.
struct File(*mut FileProtocolV1);

impl File {
    fn open(&self, path: &[u16]) -> Option<Self> {
        let mut file = ptr::null_mut();
        let (mode, attributes) = (FileMode::READ, FileAttribute::empty());
        // SAFETY: this one is open, the path ends with a NUL, and firmware writes the pointer.
        let status = unsafe { (self.calls().open)(self.0, &raw mut file, path.as_ptr(), mode, attributes) };
        (status == Status::SUCCESS).then_some(Self(file))
    }

    fn calls(&self) -> &FileProtocolV1 {
        // SAFETY: firmware opened it, and nobody closes it.
        unsafe { &*self.0 }
    }

    fn seek(&mut self, to: u64) {
        // SAFETY: the file is open.
        let _ = unsafe { (self.calls().set_position)(self.0, to) };
    }

    fn position(&self) -> u64 {
        let mut at = 0;
        // SAFETY: the file is open; firmware writes the number.
        let _ = unsafe { (self.calls().get_position)(self.0, &raw mut at) };
        at
    }

    fn read(&mut self, to: &mut [u8]) -> Status {
        let mut size = to.len();
        // SAFETY: the file is open; firmware writes at most `size` bytes.
        let status = unsafe { (self.calls().read)(self.0, &raw mut size, to.as_mut_ptr().cast()) };
        if size == to.len() { status } else { Status::END_OF_FILE }
    }
}

/// Writes by ConOut, a little at a time.
struct Console(&'static SystemTable);

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let console = self.0.stdout;
        // SAFETY: ConOut is there or null while boot services are.
        let output = unsafe { console.as_ref() }.ok_or(fmt::Error)?.output_string;
        for character in text.encode_utf16() {
            let text = [character, 0];
            // SAFETY: the text ends with a NUL.
            let _ = unsafe { output(console, text.as_ptr()) };
        }
        Ok(())
    }
}
