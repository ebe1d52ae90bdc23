//! Whether code runs in the region: bootarg `exec=yes` or `exec=no`.

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::{Outcome, code, ensure, ensure_equal, mmio};

use crate::region::pages;
use crate::tags;

/// MOV x0, #42; RET, as one word.
const CODE: u64 = 0xd280_0540 | (code::RET as u64) << 32;

pub fn as_promised() -> Outcome {
    look(mmio::write64)
}

/// [`as_promised`] with stores that are not checked.
pub fn as_promised_unchecked() -> Outcome {
    look(tags::write_unchecked)
}

fn look(write: fn(u64, u64)) -> Outcome {
    let promised = machine().bootarg("exec") == Some("yes");
    for page in pages()? {
        write(page, CODE);
        // SAFETY: makes the code visible to instruction fetch (DDI0487 B2.4.4).
        unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) page) };
        let result = exception::guarded(page, 0, 0);
        write(page, 0);
        match result {
            Ok(value) => {
                ensure!(promised, "code at {:#x} runs", page);
                ensure_equal!(value, 42, "the code returned");
            }
            Err(caught) => {
                ensure!(!promised, "code at {:#x}: esr={:#x}", page, caught.esr);
                ensure_equal!(caught.class(), Caught::INSTRUCTION_ABORT, "exception class");
                ensure_equal!(caught.status(), Caught::EXTERNAL, "fault status");
                ensure_equal!(caught.elr, page, "ELR_EL1");
            }
        }
    }
    Ok(())
}
