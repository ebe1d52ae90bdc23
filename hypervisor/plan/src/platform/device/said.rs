//! What trees say of devices in Assay's own words: `assay,write-combine`, `assay,no-dma`, `assay,clock-rates`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::gate::{Flag, Node};

/// What overlays have said, by the nodes' paths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::platform) struct Said(Vec<(String, Words)>);

/// The words about one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Words {
    /// Its registers may be write-combined.
    pub(super) write_combine: bool,
    /// It makes no accesses of its own.
    pub(super) no_dma: bool,
    /// The rates of its clocks in Hz, in their order.
    pub(super) clock_rates: Vec<u32>,
}

impl Said {
    /// Notes what an overlay says of the node at `path`.
    pub(in crate::platform) fn add(&mut self, path: &str, node: Node<'_, '_>) {
        let mut words = Words::default();
        words.read(node);
        if words != Words::default() {
            self.0.push((path.into(), words));
        }
    }

    /// Returns all that is said of `node` at `path` of the firmware's tree.
    pub(super) fn of(&self, path: &str, node: Node<'_, '_>) -> Words {
        let mut all = Words::default();
        all.read(node);
        for (_, words) in self.0.iter().filter(|(known, _)| known == path) {
            all.write_combine |= words.write_combine;
            all.no_dma |= words.no_dma;
            if !words.clock_rates.is_empty() {
                all.clock_rates.clone_from(&words.clock_rates);
            }
        }
        all
    }
}

impl Words {
    /// A flag with a value is not believed: what is meant nobody knows.
    fn read(&mut self, node: Node<'_, '_>) {
        self.write_combine = node.flag("assay,write-combine") == Some(Flag::Set);
        self.no_dma = node.flag("assay,no-dma") == Some(Flag::Set);
        self.clock_rates = node.cells("assay,clock-rates").into_iter().flatten().take(super::MAX_CLOCKS).collect();
    }
}
