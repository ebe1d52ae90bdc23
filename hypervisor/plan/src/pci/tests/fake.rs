//! A configuration space with functions as they are built: which bits of a BAR can be set says how large it is.

use std::collections::BTreeMap;

use super::super::{ConfigSpace, Function};
use assay_model::pci::header::{BAR0, BUSES, COMMAND, HEADER_TYPE, ID, MEMORY_SPACE, MEMORY_WINDOW, ROM};

#[derive(Default)]
pub(super) struct Fake {
    functions: BTreeMap<Function, One>,
    /// BARs can be sized and forget what else is written.
    pub(super) keeps_nothing: bool,
}

/// One function: values of its words, and which bits of them can be set.
#[derive(Clone, Default)]
pub(super) struct One {
    words: BTreeMap<u16, (u32, u32)>,
}

impl One {
    pub(super) fn endpoint() -> Self {
        let mut one = Self::default();
        one.words.insert(ID, (0x1110_1af4, 0));
        one.words.insert(COMMAND, (0x0010_0000, 0x0407));
        one.words.insert(HEADER_TYPE, (0, 0));
        one.words.insert(ROM, (0, 0));
        one
    }

    /// A bridge to `below` that passes on the memory from `base` to `limit`, in MiB.
    pub(super) fn bridge(below: u8, base: u32, limit: u32) -> Self {
        let mut one = Self::endpoint();
        one.words.insert(HEADER_TYPE, (0x0001_0000, 0));
        one.words.insert(BUSES, (u32::from(below) << 8, 0));
        one.words.insert(MEMORY_WINDOW, (limit << 20 | base << 4, 0));
        one.with_command(MEMORY_SPACE)
    }

    pub(super) fn with(mut self, offset: u16, value: u32, settable: u32) -> Self {
        self.words.insert(offset, (value, settable));
        self
    }

    pub(super) fn with_command(mut self, bits: u32) -> Self {
        self.words.insert(COMMAND, (bits, 0x0407));
        self
    }

    /// A 32-bit BAR of memory.
    pub(super) fn narrow(self, index: u16, size: u32, address: u32) -> Self {
        self.with(BAR0 + 4 * index, address, !(size - 1))
    }

    /// A 64-bit prefetchable BAR of memory.
    pub(super) fn wide(self, index: u16, size: u64, address: u64) -> Self {
        let (low, high) = (address & 0xffff_ffff, address >> 32);
        let mask = !(size - 1);
        self.with(BAR0 + 4 * index, u32::try_from(low).unwrap() | 0xc, u32::try_from(mask & 0xffff_fff0).unwrap()).with(
            BAR0 + 4 * index + 4,
            u32::try_from(high).unwrap(),
            u32::try_from(mask >> 32).unwrap(),
        )
    }

    /// A BAR of I/O space.
    pub(super) fn io(self, index: u16, size: u32) -> Self {
        self.with(BAR0 + 4 * index, 1, 0xffff & !(size - 1))
    }
}

impl Fake {
    pub(super) fn with(mut self, function: Function, one: One) -> Self {
        self.functions.insert(function, one);
        self
    }

    pub(super) fn word(&self, function: Function, offset: u16) -> u32 {
        self.functions[&function].words[&offset].0
    }
}

impl ConfigSpace for Fake {
    fn read(&mut self, function: Function, offset: u16) -> u32 {
        let one = self.functions.get(&function);
        one.map_or(u32::MAX, |one| one.words.get(&offset).map_or(0, |word| word.0))
    }

    fn write(&mut self, function: Function, offset: u16, value: u32) {
        let Some(one) = self.functions.get_mut(&function) else {
            return;
        };
        if (BAR0..BAR0 + 24).contains(&offset) {
            let decodes = one.words[&COMMAND].0 & 3 != 0;
            assert!(!decodes, "{function}: a BAR is written while it answers");
            if self.keeps_nothing && value != u32::MAX && value & !0xf != 0 {
                return;
            }
        }
        if let Some((now, settable)) = one.words.get_mut(&offset) {
            *now = *now & !*settable | value & *settable;
        }
    }
}
