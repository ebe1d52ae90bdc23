//! Where the linker put things (`linker/assay.ld`): the one place that names linker symbols.

use assay_spec::addr::{Pa, Region};

macro_rules! symbols {
    ($($(#[$doc:meta])* $function:ident = $symbol:ident;)*) => {
        mod linker {
            unsafe extern "C" { $(pub(super) static $symbol: u8;)* }
        }
        $($(#[$doc])*
        pub fn $function() -> u64 {
            &raw const linker::$symbol as u64
        })*
    };
}

symbols! {
    /// The first byte of the image: its header.
    start = __image_start;
    /// End of the code, start of the read-only data.
    rodata_start = __rodata_start;
    /// End of the read-only data, start of what is writable.
    data_start = __data_start;
    /// End of what the file holds.
    load_end = __load_end;
    /// Start of the EL2 heap.
    heap_start = __heap_start;
    /// End of the EL2 heap.
    heap_end = __heap_end;
    /// The boot CPU's block (`percpu`).
    boot_cpu_block = __boot_cpu_block;
    /// End of the image in memory, BSS included.
    end = __image_end;
}

/// Returns all of the image, code to BSS.
pub fn region() -> Region<Pa> {
    Region { start: Pa(start()), size: end() - start() }
}

/// Returns what was appended to the image for one-file boot, if anything: the header's `image_size`, which
/// whoever appended it has raised, tells (DESIGN: a 4 KiB boundary beyond the BSS).
pub fn appended() -> Option<Region<Pa>> {
    // SAFETY: the header is the first 64 bytes of the image, mapped and never written.
    let size = unsafe { core::ptr::read_volatile((start() + 16) as *const u64) };
    let size = u64::from_le(size);
    let bundle = (end() - start() + 0xfff) & !0xfff;
    Region::new(Pa(start() + bundle), size.checked_sub(bundle)?)
}
