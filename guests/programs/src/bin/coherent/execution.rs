//! Whether code runs in the region: bootarg `exec=yes` or `exec=no`.

use core::arch::asm;

use guest_kit::exception::{self, Caught};
use guest_kit::machine::machine;
use guest_kit::{Outcome, code, ensure, ensure_equal, mmio};

use crate::region::pages;

pub fn as_promised() -> Outcome {
    let promised = machine().bootarg("exec") == Some("yes");
    for page in pages()? {
        // MOV x0, #42; RET
        mmio::write32(page, 0xd280_0540);
        mmio::write32(page + 4, code::RET);
        // SAFETY: makes the code visible to instruction fetch (DDI0487 B2.4.4).
        unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) page) };
        let result = exception::guarded(page, 0, 0);
        mmio::write64(page, 0);
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
