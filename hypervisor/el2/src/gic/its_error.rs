//! What keeps messages of devices from becoming interrupts.

use core::fmt;

use assay_spec::addr::{Pa, Region};

/// Why messages become no interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItsError {
    /// The registers are too short, or in memory that is in use.
    BadFrame(Region<Pa>),
    /// The GIC has no LPIs, or a CPU's cannot be turned on.
    NoLpis,
    /// It has not answered within a tenth of a second, or gave up.
    NoAnswer(&'static str),
    /// A DeviceID or EventID has more bits than it knows, or its table were too large.
    TooLarge(u32),
    /// The DeviceID has an owner already: functions share it.
    Taken(u32),
    /// It, or a Redistributor, reads its tables past the CPUs' caches (Shareability of what it was given reads as 0).
    NotCoherent,
    /// A device that writes a number that nobody maps could raise an SError, which ends the machine.
    Serrors,
    /// There is no memory for its tables.
    NoMemory,
}

impl fmt::Display for ItsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadFrame(region) => write!(f, "its registers {region:?} are too short, or in memory that is in use"),
            Self::NoLpis => f.write_str("the GIC has no LPIs, or firmware left them on"),
            Self::NoAnswer(what) => write!(f, "it does not answer: {what}"),
            Self::TooLarge(id) => write!(f, "it has no place for device {id:#x}"),
            Self::Taken(device) => write!(f, "its device {device:#x} is another function's too"),
            Self::NotCoherent => f.write_str("it, or a Redistributor, reads its tables past the CPUs' caches"),
            Self::Serrors => f.write_str("it may answer wrong messages with SErrors (GITS_TYPER.SEIS = 1)"),
            Self::NoMemory => f.write_str("no memory for its tables"),
        }
    }
}
