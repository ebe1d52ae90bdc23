//! The frame to which devices write their messages, and guests may: a GICv2m (Arm's "Server Base System Architecture" 3.1,
//! appendix I). A device's write does not come here: an ITS makes an LPI of it, which EL2 takes.

use assay_spec::exit::Width;
use assay_spec::intid::IntId;

use crate::layout::{MSI_BASE, MSI_COUNT};

/// `MSI_TYPER`: the first SPI, and how many.
const TYPER: u64 = 0x008;
/// `MSI_SETSPI_NS`: the SPI that is written becomes pending.
const SETSPI: u64 = 0x040;

/// Reads a register; what is not there is 0, `MSI_IIDR` too.
pub fn read(offset: u64, width: Width) -> u64 {
    match (offset, width) {
        (TYPER, Width::W4) => u64::from(MSI_BASE.0 << 16 | MSI_COUNT),
        _ => 0,
    }
}

/// Writes a register. Returns the interrupt that becomes pending.
pub fn write(offset: u64, width: Width, value: u64) -> Option<IntId> {
    let intid = u32::try_from(value).ok().filter(|_| offset == SETSPI && matches!(width, Width::W2 | Width::W4))?;
    (MSI_BASE.0..MSI_BASE.0 + MSI_COUNT).contains(&intid).then_some(IntId(intid))
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use assay_spec::exit::Width;
    use assay_spec::intid::IntId;

    #[test]
    fn the_frame_says_which_interrupts_it_has_and_makes_no_others_pending() {
        assert_eq!((read(8, Width::W4), read(8, Width::W8), read(0xfcc, Width::W4)), (0x40_0020, 0, 0));
        assert_eq!(write(0x40, Width::W4, 64), Some(IntId(64)));
        assert_eq!(write(0x40, Width::W4, 95), Some(IntId(95)));
        for (offset, value) in [(0x40, 63), (0x40, 96), (0x40, 1 << 32 | 64), (0x48, 64)] {
            assert_eq!(write(offset, Width::W4, value), None, "{value:#x} at {offset:#x}");
        }
    }
}
