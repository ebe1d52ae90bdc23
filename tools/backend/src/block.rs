//! A disk: a file or block device. (Virtual I/O Device 1.2 §5.2)

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use virtio_queue::DescriptorChain;
use virtio_queue::Reader;
use virtio_queue::Writer;

use crate::server::{Broken, Device, Memory};

/// Features: the most segments of a request are told; the disk can't be written; it can be flushed.
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;
/// Requests.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_REQUEST: u32 = 4;
const GET_ID: u32 = 8;
/// Answers.
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
/// How many segments a request may have: what a queue of 256 has room for, with header and answer.
const SEGMENTS: u32 = 254;
const SECTOR: u64 = 512;
/// The bytes that are moved at once.
const CHUNK: usize = 1 << 16;
const ID: &[u8; 20] = b"assay\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A disk.
pub struct Block {
    file: File,
    sectors: u64,
    is_read_only: bool,
    buffer: Vec<u8>,
}

impl Block {
    /// Makes a disk of a file.
    ///
    /// # Errors
    /// Its length can't be told.
    pub fn new(mut file: File, is_read_only: bool) -> std::io::Result<Self> {
        let sectors = file.seek(SeekFrom::End(0))? / SECTOR;
        Ok(Self { file, sectors, is_read_only, buffer: vec![0; CHUNK] })
    }

    /// Returns where a request's bytes are in the file, if they are all on the disk.
    fn place(&self, sector: u64, bytes: usize) -> Option<u64> {
        let bytes = bytes as u64;
        let end = sector.checked_add(bytes / SECTOR)?;
        (bytes.is_multiple_of(SECTOR) && end <= self.sectors).then_some(sector * SECTOR)
    }

    fn read(&mut self, sector: u64, data: &mut Writer<'_>) -> std::io::Result<u8> {
        let Some(mut at) = self.place(sector, data.available_bytes()) else { return Ok(IO_ERROR) };
        while data.available_bytes() != 0 {
            let part = data.available_bytes().min(CHUNK);
            if self.file.read_exact_at(&mut self.buffer[..part], at).is_err() {
                return Ok(IO_ERROR);
            }
            data.write_all(&self.buffer[..part])?;
            at += part as u64;
        }
        Ok(OK)
    }

    fn write(&mut self, sector: u64, data: &mut Reader<'_>) -> std::io::Result<u8> {
        let place = self.place(sector, data.available_bytes()).filter(|_| !self.is_read_only);
        let Some(mut at) = place else { return Ok(IO_ERROR) };
        while data.available_bytes() != 0 {
            let part = data.available_bytes().min(CHUNK);
            data.read_exact(&mut self.buffer[..part])?;
            if self.file.write_all_at(&self.buffer[..part], at).is_err() {
                return Ok(IO_ERROR);
            }
            at += part as u64;
        }
        Ok(OK)
    }
}

impl Device for Block {
    fn features(&self) -> u64 {
        SEG_MAX | FLUSH | if self.is_read_only { READ_ONLY } else { 0 }
    }

    fn config(&self) -> Vec<u8> {
        let capacity = self.sectors.to_le_bytes();
        capacity.into_iter().chain([0; 4]).chain(SEGMENTS.to_le_bytes()).collect()
    }

    fn queues(&self) -> usize {
        1
    }

    fn handle(
        &mut self,
        _queue: usize,
        chain: &DescriptorChain<&Memory>,
        memory: &Memory,
    ) -> Result<Option<u32>, Broken> {
        let mut from = Reader::new(memory, chain.clone())?;
        let mut data = Writer::new(memory, chain.clone())?;
        let mut header = [0; 16];
        from.read_exact(&mut header).map_err(|_| Broken("a request has no header".into()))?;
        let last = data
            .available_bytes()
            .checked_sub(1)
            .ok_or_else(|| Broken("a request has no room for its answer".into()))?;
        let mut answer = data.split_at(last)?;
        let [kind, sector] = [0, 8]
            .map(|at: usize| header.iter().skip(at).take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
        let status = match (kind & 0xffff_ffff) as u32 {
            IN => self.read(sector, &mut data)?,
            OUT => self.write(sector, &mut from)?,
            FLUSH_REQUEST => self.file.sync_data().map_or(IO_ERROR, |()| OK),
            GET_ID if data.available_bytes() >= ID.len() => data.write_all(ID).map(|()| OK)?,
            _ => UNSUPPORTED,
        };
        answer.write_all(&[status])?;
        Ok(Some(u32::try_from(data.bytes_written() + 1)?))
    }
}
