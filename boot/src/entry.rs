//! Where assembly hands over to Rust.

use core::arch::global_asm;

global_asm!(include_str!("entry.S"));

/// First Rust of the boot CPU. `tree` is x0 as firmware gave it, `base` where the image runs, `level` the
/// exception level (bit 8: EL2 with E2H stuck at 1). Runs on the early map of `entry.S`.
#[unsafe(no_mangle)]
extern "C" fn boot_main(tree: u64, base: u64, level: u64) -> ! {
    // SAFETY: `entry.S` calls this once, with the MMU on, the BSS cleared and the image relocated, and
    // `base` is the address of `_start`.
    let boot = unsafe { assay_el2::boot::Boot::new(tree, base, level) };
    assay_monitor::start(boot)
}

/// First Rust of every other CPU, `index` as given to CPU_ON. Runs on the final map.
#[unsafe(no_mangle)]
extern "C" fn boot_secondary_main(index: u64) -> ! {
    assay_monitor::start_secondary(index)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::uefi::stop_if_firmwares();
    assay_monitor::panic::panic(info)
}
