//! Memory of accelerators by the `_DSD` properties of their devices.
//!
//! No AML is run: DSDT and SSDTs are searched for the properties' names, and what follows a name in its package must be an
//! integer constant (ACPI 6.5 §20.2.3). That is what firmware writes, as the numbers are known when it makes the table. An
//! interpreter would have to get through all of a server's AML to tell the same.

use std::fmt::Write as _;

use super::memory::Range;
use super::tables::Tables;

const BASE: &str = "nvidia,gpu-mem-base-pa";
const SIZE: &str = "nvidia,gpu-mem-size";
/// The first of the domains that the device's memory may be split into.
const DOMAIN: &str = "nvidia,gpu-mem-pxm-start";
const NAMES: [&str; 3] = [BASE, SIZE, DOMAIN];
/// AML's StringPrefix.
const STRING: u8 = 0x0d;

/// The memory of devices that say where it is and how long.
pub(super) fn accelerators(tables: &Tables, notes: &mut Vec<String>) -> Vec<Range> {
    let mut found = Vec::new();
    for aml in tables.all("DSDT").chain(tables.all("SSDT")) {
        for device in devices(properties(aml)) {
            match device {
                [Some(Some(start)), Some(Some(size @ 1..)), domain] if start > 0 => {
                    let domain = domain.flatten().and_then(|domain| u32::try_from(domain).ok());
                    found.push(Range { start, size, domain });
                }
                _ => notes.push(unknown(device)),
            }
        }
    }
    found.sort_unstable_by_key(|range| range.start);
    found
}

/// What a device says: for each name nothing, or its value if that is a constant.
type Device = [Option<Option<u64>>; NAMES.len()];

/// Each use of one of the names, in order.
fn properties(aml: &[u8]) -> Vec<(usize, Option<u64>)> {
    let mut properties = Vec::new();
    for at in 0..aml.len() {
        for (index, name) in NAMES.iter().enumerate() {
            let text = aml[at..].strip_prefix(&[STRING]).and_then(|rest| rest.strip_prefix(name.as_bytes()));
            if let Some(after) = text.and_then(|rest| rest.strip_prefix(&[0])) {
                properties.push((index, constant(after)));
            }
        }
    }
    properties
}

/// Groups properties by device: one that comes again begins the next.
fn devices(properties: Vec<(usize, Option<u64>)>) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for (index, value) in properties {
        match devices.last_mut() {
            Some(device) if device[index].is_none() => device[index] = Some(value),
            _ => {
                let mut device = Device::default();
                device[index] = Some(value);
                devices.push(device);
            }
        }
    }
    devices
}

/// An integer constant: ZeroOp, OneOp, or a prefix with so many bytes.
fn constant(aml: &[u8]) -> Option<u64> {
    let (&op, rest) = aml.split_first()?;
    let bytes = match op {
        0x00 => return Some(0),
        0x01 => return Some(1),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    let digits = rest.get(..bytes)?;
    Some(digits.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn unknown(device: Device) -> String {
    let mut said = String::new();
    for (name, value) in NAMES.iter().zip(device) {
        let value = match value {
            None => "missing".to_owned(),
            Some(None) => "not a constant".to_owned(),
            Some(Some(value)) => format!("{value:#x}"),
        };
        // Writing to a String cannot fail.
        let _ = write!(said, " {name} is {value},");
    }
    format!("a device's _DSD does not say where its memory is:{said} so an overlay must tell")
}
