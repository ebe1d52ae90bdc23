//! MSI and MSI-X of a function between two lives of its VM. (PCI 3.0 §6.8)

use super::{ConfigSpace, Function, capability};

/// The IDs of the two capabilities, whose Message Control is in the upper half of the first word.
const IDS: [u32; 2] = [0x05, 0x11];

/// Has a function send no messages: both are off, as after a reset.
pub fn stop_messages(config: &mut dyn ConfigSpace, function: Function) {
    for id in IDS {
        if let Some(at) = capability::find(config, function, |word| word & 0xff == id) {
            config.write(function, at, 0);
        }
    }
}
