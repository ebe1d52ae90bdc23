//! Flashes that guests write by commands: `model` knows these, and the array is a part of the VM's memory.

use assay_model::flash::{Array, BLOCK, Flash};
use assay_model::loader::GuestMemory as _;
use assay_spec::addr::{Ipa, Region};
use assay_spec::exit::Width;

use crate::adapter::Ram;

/// One flash of a VM.
pub(crate) struct Chip {
    place: Region<Ipa>,
    state: Flash,
}

impl Chip {
    pub(crate) fn new(place: Region<Ipa>) -> Self {
        Self { place, state: Flash::default() }
    }

    pub(crate) fn place(&self) -> Region<Ipa> {
        self.place
    }

    /// Goes back to power-on: what the memory shows is of no matter, it is filled anew.
    pub(crate) fn reset(&mut self) {
        self.state = Flash::default();
    }

    /// Takes a store of the guest's, if it is to this flash.
    pub(crate) fn write(&mut self, ipa: Ipa, width: Width, value: u64, ram: &mut Ram, fwb: bool) {
        if self.place.contains(ipa) {
            let start = self.place.start.0;
            self.state.write(ipa.0 - start, width, value, &mut Words { ram, start, fwb });
        }
    }
}

/// A flash's memory.
struct Words<'a> {
    ram: &'a mut Ram,
    start: u64,
    /// The guest's accesses cannot bypass the caches.
    fwb: bool,
}

impl Words<'_> {
    fn clean(&mut self, at: u64, size: u64) {
        if !self.fwb {
            self.ram.clean(Region { start: Ipa(self.start + at), size });
        }
    }
}

impl Array for Words<'_> {
    fn load(&self, at: u64) -> u32 {
        let pair = self.ram.load(Ipa(self.start + (at & !7)));
        (pair >> ((at & 4) * 8) & 0xffff_ffff) as u32
    }

    fn store(&mut self, at: u64, word: u32) {
        let (pair, shift) = (Ipa(self.start + (at & !7)), (at & 4) * 8);
        let old = self.ram.load(pair) & !(0xffff_ffff << shift);
        self.ram.store(pair, old | u64::from(word) << shift);
        self.clean(at & !7, 8);
    }

    fn erase(&mut self, block: u64) {
        const ONES: [u8; 0x1000] = [0xff; 0x1000];
        for at in (block..block + BLOCK).step_by(ONES.len()) {
            self.ram.copy(Ipa(self.start + at), &ONES);
        }
        self.clean(block, BLOCK);
    }
}
