//! The tree that the ordinary entry gets: firmware's, with what only UEFI tells written into it.
//!
//! Devicetree Specification 0.4 §5. The copy is made token by token, since there is no heap.

use assay_spec::addr::{Pa, Region};

use super::arguments::Arguments;
use super::map::MemoryMap;
use crate::gate::shape::{self, FDT_BEGIN_NODE, FDT_END, FDT_END_NODE, FDT_NOP, FDT_PROP, Shape};
use crate::gate::{Cells, TreeError, without_heap};
use crate::platform::early::memory_of;

/// The names that properties of ours have, and where each begins.
const NAMES: &[u8] = b"linux,initrd-start\0linux,initrd-end\0device_type\0reg\0bootargs\0";
const INITRD_START: usize = 0;
const INITRD_END: usize = 19;
const DEVICE_TYPE: usize = 36;
const REG: usize = 48;
const BOOTARGS: usize = 52;

/// Why there is no tree for the ordinary entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandoverError {
    /// The tree cannot be read.
    #[error("{0}")]
    Tree(#[from] TreeError),
    /// The copy does not fit.
    #[error("device tree: larger than 2 MiB with what UEFI adds to it; make it smaller")]
    NoRoom,
    /// It has no memory node, and an address of the memory map does not fit into the root's cells.
    #[error(
        "device tree: no memory node, and cells of its root that cannot hold the memory's addresses; set them to 2"
    )]
    Cells,
}

/// What the copy is made of.
#[derive(Clone, Copy, Debug)]
pub struct Handover<'a> {
    /// The tree as firmware or a file has it.
    pub tree: &'a [u8],
    /// What firmware says of memory.
    pub map: MemoryMap<'a>,
    /// Where the bundle is, unless the tree says.
    pub bundle: Option<Region<Pa>>,
    /// What takes the place of `bootargs`.
    pub arguments: Option<Arguments<'a>>,
}

impl Handover<'_> {
    /// Writes the copy: all memory that is not free is in the reservation block, the bundle's place and the arguments
    /// in `/chosen`, and memory in a node if there was none. Returns its length.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize, HandoverError> {
        let shape = shape::check(self.tree)?;
        let mut copy = Copy { out, at: shape::HEADER_BYTES, names: shape.strings.len() };
        copy.put(shape.reservations)?;
        let mut is_memory_missing = true;
        let mut result = Ok(());
        let _ = without_heap(self.tree, |root, _| {
            for memory in memory_of(&root) {
                is_memory_missing = false;
                let mut kept = self.map.kept_in(memory);
                result = result.and(kept.try_for_each(|kept| copy.pair(kept.start.0, kept.size)));
            }
            Some(())
        });
        result?;
        copy.pair(0, 0)?;
        let structs = copy.at;
        self.nodes(&shape, &mut copy, is_memory_missing)?;
        let strings = copy.at;
        copy.put(shape.strings)?;
        copy.put(NAMES)?;
        let total = copy.at;
        let boot_cpu = shape::word(self.tree, 28).unwrap_or(0) as usize;
        let header = [
            shape::MAGIC as usize,
            total,
            structs,
            strings,
            shape::HEADER_BYTES,
            shape::VERSION as usize,
            16,
            boot_cpu,
            total - strings,
            strings - structs,
        ];
        copy.at = 0;
        header.into_iter().try_for_each(|field| copy.cell(field))?;
        Ok(total)
    }

    /// Copies the structure block.
    fn nodes(&self, shape: &Shape<'_>, copy: &mut Copy<'_>, is_memory_missing: bool) -> Result<(), HandoverError> {
        let (mut at, mut depth) = (0usize, 0usize);
        let (mut in_chosen, mut is_chosen_missing) = (false, true);
        let word = |at: usize| shape::word(shape.structs, at).ok_or(TreeError::Structure(at));
        loop {
            let (token, start) = (word(at)?, at);
            at += 4;
            match token {
                FDT_BEGIN_NODE => {
                    let name = shape.structs.get(at..).and_then(shape::name_at).ok_or(TreeError::Structure(at))?;
                    depth += 1;
                    in_chosen = depth == 2 && name == "chosen";
                    at = shape::padded(at, name.len() + 1);
                }
                FDT_PROP => {
                    let (size, name) = (word(at)? as usize, word(at + 4)? as usize);
                    at = shape::padded(at + 8, size);
                    let name = shape.strings.get(name..).and_then(shape::name_at);
                    if in_chosen && name.is_some_and(|name| self.replaces(name)) {
                        continue;
                    }
                }
                FDT_END_NODE => {
                    if depth == 1 && is_chosen_missing {
                        copy.begin(b"chosen\0\0")?;
                        self.chosen(copy)?;
                        copy.cell(FDT_END_NODE as usize)?;
                    }
                    if depth == 1 && is_memory_missing {
                        self.memory(copy)?;
                    }
                    (depth, in_chosen) = (depth.saturating_sub(1), false);
                }
                FDT_NOP => continue,
                _ => {}
            }
            copy.put(shape.structs.get(start..at).ok_or(TreeError::Structure(start))?)?;
            if token == FDT_BEGIN_NODE && in_chosen {
                self.chosen(copy)?;
                is_chosen_missing = false;
            }
            if token == FDT_END {
                return Ok(());
            }
        }
    }

    fn chosen(&self, copy: &mut Copy<'_>) -> Result<(), HandoverError> {
        if let Some(bundle) = self.bundle {
            for (name, value) in [(INITRD_START, bundle.start.0), (INITRD_END, bundle.end().0)] {
                copy.property(name, 8)?;
                copy.put(&value.to_be_bytes())?;
            }
        }
        if let Some(arguments) = self.arguments {
            let size = arguments.len() + 1;
            copy.property(BOOTARGS, size)?;
            for character in arguments.characters() {
                copy.put(character.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
            // The end, and what makes it whole cells.
            copy.put([0; 4].get(..shape::padded(size, 0) - arguments.len()).unwrap_or(&[0; 4]))?;
        }
        Ok(())
    }

    /// Tells whether a property of `/chosen` is written anew.
    fn replaces(&self, name: &str) -> bool {
        match name {
            "linux,initrd-start" | "linux,initrd-end" => self.bundle.is_some(),
            "bootargs" => self.arguments.is_some(),
            _ => false,
        }
    }

    /// Writes a node for each range of memory.
    fn memory(&self, copy: &mut Copy<'_>) -> Result<(), HandoverError> {
        let cells = without_heap(self.tree, |root, _| root.cells()).unwrap_or(Cells::DEFAULT);
        let mut at = 0;
        while let Some(range) = self.map.free_from(at) {
            at = range.end().0;
            copy.begin(b"memory@")?;
            copy.unit(range.start.0)?;
            copy.property(DEVICE_TYPE, 7)?;
            copy.put(b"memory\0\0")?;
            copy.property(REG, (cells.address + cells.size) as usize * 4)?;
            copy.number(range.start.0, cells.address)?;
            copy.number(range.size, cells.size)?;
            copy.cell(FDT_END_NODE as usize)?;
        }
        Ok(())
    }
}

/// What has been written so far.
struct Copy<'o> {
    out: &'o mut [u8],
    at: usize,
    /// Where [`NAMES`] will be in the strings block.
    names: usize,
}

impl Copy<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), HandoverError> {
        let end = self.at + bytes.len();
        self.out.get_mut(self.at..end).ok_or(HandoverError::NoRoom)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    fn cell(&mut self, value: usize) -> Result<(), HandoverError> {
        self.put(&u32::try_from(value).map_err(|_| HandoverError::NoRoom)?.to_be_bytes())
    }

    fn pair(&mut self, first: u64, second: u64) -> Result<(), HandoverError> {
        self.put(&first.to_be_bytes())?;
        self.put(&second.to_be_bytes())
    }

    /// A number of one or two cells.
    fn number(&mut self, value: u64, cells: u32) -> Result<(), HandoverError> {
        match (cells, u32::try_from(value)) {
            (2, _) => self.put(&value.to_be_bytes()),
            (1, Ok(value)) => self.put(&value.to_be_bytes()),
            _ => Err(HandoverError::Cells),
        }
    }

    fn begin(&mut self, name: &[u8]) -> Result<(), HandoverError> {
        self.cell(FDT_BEGIN_NODE as usize)?;
        self.put(name)
    }

    /// The rest of the name `memory@`: 16 digits, and what makes it whole cells.
    fn unit(&mut self, address: u64) -> Result<(), HandoverError> {
        for digit in (0..16).rev() {
            let digit = (address >> (4 * digit) & 0xf) as usize;
            self.put(&b"0123456789abcdef"[digit..=digit])?;
        }
        self.put(&[0])
    }

    /// Its value comes next.
    fn property(&mut self, name: usize, size: usize) -> Result<(), HandoverError> {
        self.cell(FDT_PROP as usize)?;
        self.cell(size)?;
        self.cell(self.names + name)
    }
}
