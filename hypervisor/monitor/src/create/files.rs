//! The kernel and ramdisk of one VM, and why one cannot be had.

use alloc::format;
use alloc::string::String;

use assay_model::loader::Sums;
use assay_plan::vm_tree::{Module, VmConfig};
use assay_spec::addr::{Pa, Region};

use super::{Refused, refuse};
use crate::bundle::{Guests, Missing};

/// The files of one VM.
pub(super) struct Files {
    pub(super) kernel: &'static [u8],
    pub(super) ramdisk: &'static [u8],
    pub(super) sums: Sums,
}

impl Files {
    pub(super) fn of(guests: &Guests, config: &VmConfig) -> Result<Self, Option<Refused>> {
        let file = |module: &Module| guests.file(&module.source).map_err(|missing| not_there(&missing));
        let ramdisk = config.ramdisk.as_ref();
        Ok(Self {
            kernel: file(&config.kernel)?,
            ramdisk: ramdisk.map(file).transpose()?.unwrap_or_default(),
            sums: Sums {
                kernel: guests.digest(&config.kernel.source),
                ramdisk: ramdisk.and_then(|module| guests.digest(&module.source)),
            },
        })
    }
}

fn not_there(missing: &Missing) -> Option<Refused> {
    match missing {
        Missing::Member(name) => {
            refuse("V3", format!("{name} is not in the bundle"), "build the bundle again from its manifest")
        }
        Missing::Misplaced(place, why) => refuse("V3", format!("{} {why}", module_at(place)), why.remedy()),
        Missing::Address(place) => refuse(
            "V3",
            format!("{} lies in memory that is in use", module_at(place)),
            "load it elsewhere, and give its real address and size in `reg`",
        ),
        Missing::Blank(place) => refuse(
            "V3",
            format!("{} is not there: its memory begins with zeros", module_at(place)),
            "have the boot loader load it to this address, or correct `reg`",
        ),
    }
}

fn module_at(place: &Region<Pa>) -> String {
    format!("the module at {}, {:#x} bytes,", place.start, place.size)
}
