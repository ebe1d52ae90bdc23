//! What Device memory does not do: unaligned accesses (DDI0487 B2.12.2, Alignment fault).
//!
//! QEMU lets them pass on a machine with one CPU, so the machine must have two. Stage 2 alone makes this
//! memory Device: the fault is EL2's when the address was not in the TLB, and comes to the guest as an
//! external abort; else it is the guest's own Alignment fault.

use guest_kit::exception::Caught;
use guest_kit::mmio::{probe_read, probe_write};
use guest_kit::{Outcome, ensure};

use crate::region::{self, pages};

fn expect_abort<T>(result: Result<T, Caught>, is_write: bool, address: u64) -> Outcome {
    match result {
        Ok(_) => ensure!(false, "an access to {:#x} works", address),
        Err(caught) => ensure!(
            caught.class() == Caught::DATA_ABORT
                && matches!(caught.status(), Caught::ALIGNMENT | Caught::EXTERNAL)
                && caught.is_write() == is_write,
            "{:#x}: esr={:#x}",
            address,
            caught.esr
        ),
    }
    Ok(())
}

pub fn first_touch() -> Outcome {
    for page in pages()? {
        // Mapping it again empties the TLB.
        region::map(region::Type::best());
        expect_abort(probe_read(page + 1, 8), false, page + 1)?;
        region::map(region::Type::best());
        expect_abort(probe_write(page + 1, 0, 8), true, page + 1)?;
    }
    Ok(())
}

/// Nothing answers.
pub fn dead() -> Outcome {
    for page in pages()? {
        for result in [probe_read(page, 8).map(|_| ()), probe_write(page, 0, 8)] {
            match result {
                Ok(()) => ensure!(false, "an access to {:#x} works", page),
                Err(caught) => ensure!(
                    caught.class() == Caught::DATA_ABORT && caught.status() == Caught::EXTERNAL,
                    "{:#x}: esr={:#x}",
                    page,
                    caught.esr
                ),
            }
        }
    }
    Ok(())
}

pub fn unaligned() -> Outcome {
    for page in pages()? {
        for offset in [1, 2, 4, 7, 0xff1] {
            ensure!(probe_read(page, 8).is_ok(), "an aligned load aborts");
            expect_abort(probe_read(page + offset, 8), false, page + offset)?;
            expect_abort(probe_write(page + offset, 0, 8), true, page + offset)?;
        }
    }
    Ok(())
}
