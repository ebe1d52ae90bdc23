//! Memory that is given away for good: the one check that no page is both EL2's and somebody else's.

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use crate::frames::{self, Use};
use crate::heap;
use crate::mmu::{self, Kind};

/// Notes that `region` is used for `purpose`, for good. False: some of it is the image's, is memory that frames come
/// from, is in EL2's map as what it must not be, or has another use or owner.
pub(crate) fn claim(region: Region<Pa>, purpose: Use) -> bool {
    let is_against = |kind: Kind| match purpose {
        Use::Lent | Use::Interrupts => false,
        Use::Configuration => kind != Kind::Configuration,
        Use::Clock | Use::Master => kind != Kind::Device,
        Use::Granted | Use::Coherent | Use::Registers => matches!(kind, Kind::Device | Kind::Configuration),
    };
    let fits = matches!(purpose, Use::Lent | Use::Granted) || region.is_aligned(PAGE_SIZE);
    fits && !heap::is_own(region)
        && !frames::manages(region)
        && !mmu::is_mapped(region, is_against)
        && frames::keep(region, purpose)
}
