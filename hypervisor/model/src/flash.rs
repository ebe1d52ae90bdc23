//! A flash that the guest writes by commands: two of Intel's chips of 16 bits side by side, as QEMU's `virt` has them (the
//! StrataFlash's command set, which CFI calls 0x0001), blocks of 256 KiB, without the query.
//!
//! The guest reads the array from memory that stage 2 lets it only read, so each of its stores comes here. Where it reads
//! the status, the status is put into that memory, in place of two words: the first of the flash, and the one that
//! the command was written to. What was there comes back with the next command.

use assay_spec::exit::Width;

/// Bytes of a block, which is erased as one.
pub const BLOCK: u64 = 0x4_0000;

/// The array, by offsets that are multiples of 4 inside of the flash.
pub trait Array {
    /// Reads a word.
    fn load(&self, at: u64) -> u32;
    /// Writes a word.
    fn store(&mut self, at: u64, word: u32);
    /// Fills a block with ones.
    fn erase(&mut self, block: u64);
}

/// What the next store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Next {
    #[default]
    Command,
    Word,
    Count,
    /// So many words, then the confirmation.
    Words(u32),
    Erasure,
    Lock,
}

/// What is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Array,
    Status,
}

/// The state of one flash.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flash {
    next: Next,
    /// Words of the array in whose place the status is, the last replaced first.
    hidden: [Option<(u64, u32)>; 2],
}

/// Both chips are ready, and nothing went wrong.
const READY: u32 = 0x0080_0080;
/// Both chips' confirmation.
const CONFIRM: u32 = 0x00d0_00d0;
/// The most words that a buffer has.
const WORDS_MAX: u32 = 512;

impl Flash {
    /// Takes a store of the guest's at offset `at`. One that is no command, or not of both chips, ends what was begun.
    pub fn write(&mut self, at: u64, width: Width, value: u64, array: &mut dyn Array) {
        for (at, word) in self.hidden.iter_mut().filter_map(Option::take) {
            array.store(at, word);
        }
        let word = (value & 0xffff_ffff) as u32;
        let view = if width == Width::W4 && at.is_multiple_of(4) {
            self.step(at, word, array)
        } else {
            self.next = Next::Command;
            View::Array
        };
        if view == View::Status {
            let shown = [Some(at), Some(0).filter(|base| *base != at)];
            self.hidden = shown.map(|at| at.map(|at| (at, array.load(at))));
            shown.into_iter().flatten().for_each(|at| array.store(at, READY));
        }
    }

    /// Takes a word, with the array as it is.
    fn step(&mut self, at: u64, word: u32, array: &mut dyn Array) -> View {
        let (next, view) = match (self.next, word) {
            (Next::Command, _) => command(word),
            (Next::Word, _) => {
                program(at, word, array);
                (Next::Command, View::Status)
            }
            (Next::Count, _) if word & 0xffff < WORDS_MAX => (Next::Words((word & 0xffff) + 1), View::Status),
            (Next::Words(left @ 1..), _) => {
                program(at, word, array);
                (Next::Words(left - 1), View::Status)
            }
            (Next::Erasure, CONFIRM) => {
                array.erase(at - at % BLOCK);
                (Next::Command, View::Status)
            }
            // To set a lock bit, or to take it back, has no effect: there are none.
            (Next::Words(0), CONFIRM) | (Next::Lock, CONFIRM | 0x0001_0001) => (Next::Command, View::Status),
            _ => (Next::Command, View::Array),
        };
        self.next = next;
        view
    }
}

/// The first word of a command. One that only one of the chips gets is none.
fn command(word: u32) -> (Next, View) {
    match word {
        0x0010_0010 | 0x0040_0040 => (Next::Word, View::Status),
        0x0020_0020 => (Next::Erasure, View::Status),
        0x0060_0060 => (Next::Lock, View::Status),
        0x0070_0070 => (Next::Command, View::Status),
        0x00e8_00e8 => (Next::Count, View::Status),
        // Read the array (0xff), clear the status (0x50), and what there is not: the query, the identification.
        _ => (Next::Command, View::Array),
    }
}

/// Programming only ever clears bits.
fn program(at: u64, word: u32, array: &mut dyn Array) {
    let old = array.load(at);
    array.store(at, old & word);
}

#[cfg(test)]
mod tests;
