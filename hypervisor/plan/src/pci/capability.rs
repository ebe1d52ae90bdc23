//! The list of a function's capabilities. (PCI 3.0 §6.7)

use super::{ConfigSpace, Function};
use assay_model::pci::header::COMMAND;

/// Status, in the upper half of [`COMMAND`]: there is a list.
const LIST: u32 = 1 << 20;
/// Where it begins.
const FIRST: u16 = 0x34;

/// Finds the first capability whose first word is one that is looked for.
pub(super) fn find(config: &mut dyn ConfigSpace, function: Function, is_it: impl Fn(u32) -> bool) -> Option<u16> {
    if config.read(function, COMMAND) & LIST == 0 {
        return None;
    }
    let mut at = config.read(function, FIRST) & 0xfc;
    // At most one capability for each word: a circle ends.
    for _ in 0..48 {
        let offset = u16::try_from(at).ok().filter(|at| (0x40..=0xf0).contains(at))?;
        let word = config.read(function, offset);
        if is_it(word) {
            return Some(offset);
        }
        at = word >> 8 & 0xfc;
    }
    None
}
