//! The operator wants a page out of a VM.

use core::fmt;

use assay_model::poison::{Event, FailedPage, Noted};
use assay_plan::space::Stays;
use assay_spec::addr::Ipa;

use crate::console::say;
use crate::report::Failed;
use crate::vm::Vm;

/// Why a page is not taken from a VM.
pub(super) enum Problem {
    /// It is none of the VM's.
    Nothing,
    /// It cannot leave.
    Stays(Stays),
    /// Too many have been noted.
    Full,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("the VM has no memory there: memory lists what it has"),
            Self::Stays(why) => why.fmt(f),
            Self::Full => f.write_str("as many pages of the VM are noted as can be: restart the machine"),
        }
    }
}

/// Notes that the page at `ipa` is to leave the VM, and says what will become of it.
pub(super) fn page(vm: &Vm, ipa: Ipa) -> Result<(), Problem> {
    let place = vm.place(ipa).ok_or(Problem::Nothing)?;
    if let Some(why) = place.stays {
        return Err(Problem::Stays(why));
    }
    let noted = vm.poison.lock().note(ipa, Event::Offline);
    let (Noted::New(page) | Noted::Known(page)) = noted else { return Err(Problem::Full) };
    let FailedPage { ipa, event, has_left } = page;
    let fate = if has_left { Fate::Left } else { Fate::of(vm, ipa) };
    say!("memory {} event={event} does=\"{fate}\"", Failed { vm, ipa });
    Ok(())
}

/// What becomes of a page.
enum Fate {
    Left,
    Leaves,
    /// And others keep it.
    LeavesAlone,
    /// And the VM cannot be started.
    Refused(&'static str),
}

impl Fate {
    fn of(vm: &Vm, ipa: Ipa) -> Self {
        match vm.contents.lock().loads_at(ipa) {
            Some(what) => Self::Refused(what),
            None if vm.machine.virtio.is_empty() => Self::Leaves,
            None => Self::LeavesAlone,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("has left the VM"),
            Self::Leaves => f.write_str("leaves the VM at its next start"),
            Self::LeavesAlone => {
                f.write_str("leaves the VM at its next start, and stays with the backends of its devices")
            }
            Self::Refused(what) => {
                write!(f, "leaves the VM at its next start, which is refused: {what} is loaded there")
            }
        }
    }
}
