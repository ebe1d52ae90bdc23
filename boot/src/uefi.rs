//! The way in from UEFI: finds tree and bundle, says in the tree what only firmware knows of memory, and goes on to
//! the ordinary entry as a boot loader would. What is decided on the way is `plan`'s (`assay_plan::uefi`).

mod firmware;

use core::convert::Infallible;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_el2::{cache, image};
use assay_plan::platform::early;
use assay_plan::uefi::{Arguments, Handover, HandoverError};
use assay_spec::addr::{Pa, Region};
use uefi_raw::table::system::SystemTable;
use uefi_raw::{Handle, Status};

use firmware::Firmware;

core::arch::global_asm!(include_str!("uefi.S"));

/// The files that are looked for beside the image.
const BUNDLE: &str = "bundle.cpio";
const TREE: &str = "platform.dtb";
/// How often firmware may say that its map has changed: once is what the specification expects.
const TRIES: usize = 8;
/// What the boot protocol asks of the image's place, and allows the tree.
const BLOCK: usize = 0x20_0000;

unsafe extern "C" {
    /// `uefi.S`: turns firmware's map off and branches to the image.
    fn uefi_leave(image: u64, tree: u64) -> !;
}

/// Why the image goes back to firmware.
enum Fault {
    Level(u64),
    NoTree,
    NoMemory(usize),
    Handover(HandoverError),
    Firmware(&'static str, Status),
}

impl Fault {
    fn status(&self) -> Status {
        match self {
            Self::Level(_) => Status::UNSUPPORTED,
            Self::NoTree => Status::NOT_FOUND,
            Self::NoMemory(_) => Status::OUT_OF_RESOURCES,
            Self::Handover(_) => Status::LOAD_ERROR,
            Self::Firmware(_, status) => *status,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => write!(
                f,
                "started at EL{level}, and Assay needs EL2 (QEMU: -M virt,virtualization=on; boards: firmware that runs at EL2)"
            ),
            Self::NoTree => write!(
                f,
                "firmware has no device tree; let it give one (QEMU: -M virt,acpi=off), or put the board's as {TREE} beside the image"
            ),
            Self::NoMemory(bytes) => write!(f, "firmware has no {bytes:#x} bytes of memory left"),
            Self::Handover(error) => write!(f, "{error}"),
            Self::Firmware(what, status) => write!(f, "{what}: {status}"),
        }
    }
}

/// The machine is firmware's still, and so is the memory by which Assay's panics know their CPU.
static IS_FIRMWARES: AtomicBool = AtomicBool::new(false);

/// Stops for good, if the machine is firmware's still: for panics.
pub(crate) fn stop_if_firmwares() {
    while IS_FIRMWARES.load(Ordering::Relaxed) {
        core::hint::spin_loop();
    }
}

/// First Rust of a start by UEFI. Comes back only if the machine is still firmware's.
#[unsafe(no_mangle)]
extern "C" fn uefi_main(handle: Handle, table: *mut SystemTable, level: u64) -> Status {
    IS_FIRMWARES.store(true, Ordering::Relaxed);
    // SAFETY: `uefi.S` calls this once with what firmware gave it, on firmware's map and with boot services there.
    let firmware = unsafe { Firmware::new(handle, table) };
    let Err(fault) = start(&firmware, level);
    firmware.say(&fault);
    fault.status()
}

fn start(firmware: &Firmware, level: u64) -> Result<Infallible, Fault> {
    if level != 2 {
        return Err(Fault::Level(level));
    }
    let tree = match firmware.tree() {
        Some(tree) => tree,
        None => firmware.file(TREE)?.ok_or(Fault::NoTree)?,
    };
    let bundle = find_bundle(firmware, tree)?;
    let image = copy_image(firmware)?;
    // The early map has the block behind the tree's too.
    let (copy, _) = firmware.allocate(2 * BLOCK, BLOCK)?.split_at_mut(BLOCK);
    let all = [bundle, Some(region(image)), Some(region(copy)), Some(loaded())];
    let arguments = Arguments::of(firmware.load_options());
    let buffer = firmware.map_buffer()?;
    firmware.say(&"leaving firmware; a reset now means that its boot services did not end");
    let mut has_tried = false;
    for _ in 0..TRIES {
        let ready = firmware.map(buffer).and_then(|(map, key)| {
            let _ = Handover { tree, map, bundle, arguments }.write(copy).map_err(Fault::Handover)?;
            Ok(key)
        });
        match ready {
            Ok(key) if firmware.exit(key) => {
                let initrd = early::initrd(copy);
                all.iter().chain([&initrd]).flatten().for_each(|range| cache::clean_and_invalidate(*range));
                // SAFETY: boot services have ended and the machine is ours; image, tree and this code are clean, and
                // what is at `image` is a copy of this image at a multiple of 2 MiB, which relocates itself.
                unsafe { uefi_leave(image.as_ptr() as u64, copy.as_ptr() as u64) }
            }
            Ok(_) => has_tried = true,
            Err(fault) if !has_tried => return Err(fault),
            Err(_) => break,
        }
    }
    // Firmware has shut down in part, and its console and timers with it perhaps (UEFI 2.10 §7.4.6).
    firmware.reset()
}

/// Finds the bundle where the tree does not say where it is: from whoever serves an initrd, or beside the image.
fn find_bundle(firmware: &Firmware, tree: &[u8]) -> Result<Option<Region<Pa>>, Fault> {
    if image::appended().is_some() {
        return Ok(None);
    }
    if let Some(served) = firmware.served_initrd()? {
        return Ok(Some(region(served)));
    }
    if early::initrd(tree).is_some() {
        return Ok(None);
    }
    let found = firmware.file(BUNDLE)?;
    if found.is_none() {
        firmware.say(&format_args!("no bundle: nobody serves an initrd, and there is no {BUNDLE} beside the image"));
    }
    Ok(found.map(region))
}

/// All that was loaded: the image, and what is appended to it.
fn loaded() -> Region<Pa> {
    let own = image::region();
    let end = image::appended().map_or(own.end(), |appended| appended.end());
    Region { start: own.start, size: end.0 - own.start.0 }
}

/// Copies the image to where the ordinary entry may be.
fn copy_image(firmware: &Firmware) -> Result<&'static [u8], Fault> {
    let loaded = loaded();
    let size = usize::try_from(loaded.size).unwrap_or(0);
    // The early map has whole blocks.
    let (copy, _) = firmware.allocate(size.next_multiple_of(BLOCK), BLOCK)?.split_at_mut(size);
    // SAFETY: firmware loaded all of it, as the PE header asks, and nothing of it is written from here on.
    let from = unsafe { core::slice::from_raw_parts(loaded.start.0 as *const u8, copy.len()) };
    copy.copy_from_slice(from);
    Ok(copy)
}

fn region(bytes: &[u8]) -> Region<Pa> {
    Region { start: Pa(bytes.as_ptr() as u64), size: bytes.len() as u64 }
}
