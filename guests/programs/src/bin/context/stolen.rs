//! Stolen time (DEN0057): how long this vCPU could have run and did not.

use guest_kit::exception::Caught;
use guest_kit::machine::machine;
use guest_kit::{Outcome, Stop, ensure, ensure_equal, mmio, psci, timer};

const PV_TIME_FEATURES: u64 = 0xc500_0020;
const PV_TIME_ST: u64 = 0xc500_0021;

/// Returns where this vCPU's structure is.
fn place() -> Option<u64> {
    let address = psci::hvc(PV_TIME_ST, 0, 0, 0);
    (address as i64 != psci::NOT_SUPPORTED).then_some(address)
}

/// Only under Assay does the bootarg say anything.
pub fn told() -> Outcome {
    guest_kit::ktap::needs_hypervisor()?;
    let shared = machine().has_bootarg("shared");
    let expected = if shared { psci::SUCCESS } else { psci::NOT_SUPPORTED } as u64;
    let announced = psci::hvc(psci::SMCCC_ARCH_FEATURES, PV_TIME_FEATURES, 0, 0);
    ensure_equal!(announced, expected, "SMCCC_ARCH_FEATURES");
    for query in [PV_TIME_FEATURES, PV_TIME_ST] {
        let offered = psci::hvc(PV_TIME_FEATURES, query, 0, 0);
        ensure_equal!(offered, expected, "PV_TIME_FEATURES");
    }
    let Some(place) = place() else {
        ensure!(!shared, "PV_TIME_ST is not supported");
        return Ok(());
    };
    ensure!(shared, "there is stolen time without sharing");
    ensure_equal!(mmio::read32(place), 0, "revision");
    ensure_equal!(mmio::read32(place + 4), 0, "attributes");
    let (first, stolen) = (mmio::read64(place + 8), mmio::read64(place + 8));
    ensure!(stolen >= first, "it goes back");
    let lived = timer::nanoseconds(timer::now());
    ensure!(stolen <= lived, "{} ns stolen of {}", stolen, lived);
    if machine().has_bootarg("crowded") {
        ensure!(stolen > lived / 8, "{} ns stolen of {}", stolen, lived);
    }
    Ok(())
}

pub fn read_only() -> Outcome {
    let Some(place) = place() else {
        return Err(Stop::Skip("no stolen time"));
    };
    match mmio::probe_write(place + 8, 0, 8) {
        Ok(()) => ensure!(false, "it can be written"),
        Err(caught) => {
            ensure_equal!(caught.class(), Caught::DATA_ABORT, "exception class");
        }
    }
    Ok(())
}
