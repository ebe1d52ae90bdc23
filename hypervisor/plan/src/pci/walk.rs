//! Which functions there are: each bus that firmware has given a number, from the host bridge's first.

use alloc::vec::Vec;

use super::{ConfigSpace, Function};
use assay_model::pci::header::{BUSES, HEADER_TYPE, ID, Layout};

/// A function that answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) function: Function,
    pub(super) layout: Layout,
    /// The bridge that leads to its bus; `None` on the first bus.
    pub(super) behind: Option<Function>,
}

/// Finds all functions on buses `buses.0` to `buses.1`.
///
/// A bus is looked at once, whatever bridges say, so that a loop of them ends.
pub(super) fn all(config: &mut dyn ConfigSpace, buses: (u8, u8)) -> Vec<Found> {
    let mut seen = [false; 256];
    let mut waiting = [(buses.0, None)].to_vec();
    let mut found = Vec::new();
    while let Some((bus, behind)) = waiting.pop() {
        let Some(seen) = seen.get_mut(usize::from(bus)).filter(|seen| !**seen) else {
            continue;
        };
        *seen = true;
        for device in 0..32 {
            on_device(config, bus, device, |config, function, layout| {
                found.push(Found { function, layout, behind });
                if layout == Layout::Bridge {
                    let below = (config.read(function, BUSES) >> 8 & 0xff) as u8;
                    // 0 is what an unconfigured bridge has.
                    if below > buses.0 && below <= buses.1 {
                        waiting.push((below, Some(function)));
                    }
                }
            });
        }
    }
    found
}

/// Returns the device of the first bus that leads to a function, or is its own.
pub(super) fn root(config: &mut dyn ConfigSpace, buses: (u8, u8), function: Function) -> u8 {
    let found = all(config, buses);
    let mut at = function;
    // As many steps as there are functions: a circle ends.
    for _ in &found {
        match found.iter().find(|other| other.function == at).and_then(|other| other.behind) {
            Some(bridge) => at = bridge,
            None => break,
        }
    }
    at.device()
}

fn on_device(
    config: &mut dyn ConfigSpace,
    bus: u8,
    device: u8,
    mut each: impl FnMut(&mut dyn ConfigSpace, Function, Layout),
) {
    let mut count = 1;
    let mut number = 0;
    while number < count {
        let function = Function::new(bus, device, number);
        // No vendor has the number 0xffff (PCI 3.0 §6.2.1).
        let is_there = config.read(function, ID) & 0xffff != 0xffff;
        if is_there {
            let header_type = config.read(function, HEADER_TYPE);
            if number == 0 && header_type >> 23 & 1 == 1 {
                count = 8;
            }
            each(config, function, Layout::of(header_type));
        }
        number += 1;
    }
}
