//! Inflation of a gzip file in pieces: the decompressor's state and its 32 KiB window, boxed once.
//!
//! It writes to a window of its own and hands the pieces on, since a guest's RAM need not be contiguous
//! in physical memory; the copy out of the window takes the sum on its way, so nothing is read twice.
//!
//! Where a member ends is what inflating finds, not what the file's last bytes say: another member may follow, whose
//! bytes go on where the first one's end, or padding and other bytes that mean nothing, which are passed over.

use super::{KernelError, gzip};
use alloc::boxed::Box;
use alloc::vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress};

/// Where in a file the next byte to read is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Stream,
    Trailer,
    /// Behind the last member.
    End,
}

/// A gzip file being inflated.
pub(crate) struct Inflater {
    state: Box<DecompressorOxide>,
    window: Box<[u8]>,
    at: At,
    /// Bytes of the file that were consumed.
    consumed: usize,
    /// Bytes that came out, and how many of them before this member.
    produced: u64,
    before: u64,
}

impl Inflater {
    /// Makes the state; this is what allocates (about 43 KiB).
    pub(crate) fn new() -> Self {
        Self {
            state: Box::default(),
            window: vec![0; TINFL_LZ_DICT_SIZE].into_boxed_slice(),
            at: At::Header,
            consumed: 0,
            produced: 0,
            before: 0,
        }
    }

    /// Goes back to a file's beginning.
    pub(crate) fn restart(&mut self) {
        (self.at, self.consumed, self.produced, self.before) = (At::Header, 0, 0, 0);
    }

    /// Tells whether all members are inflated.
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// Tells whether a member's stream has ended: [`Self::end_member`] is next.
    pub(crate) fn is_member_done(&self) -> bool {
        self.at == At::Trailer
    }

    /// Tells how many bytes came out so far.
    pub(crate) const fn produced(&self) -> u64 {
        self.produced
    }

    /// Inflates the next piece, at most 32 KiB of it; an empty one only at a member's end.
    pub(crate) fn next(&mut self, file: &[u8]) -> Result<&[u8], KernelError> {
        let mut input = file.get(self.consumed..).ok_or(KernelError::Gzip)?;
        if self.at == At::Header {
            let header = gzip::header(input).ok_or(KernelError::Gzip)?;
            input = input.get(header..).ok_or(KernelError::Gzip)?;
            self.consumed = self.consumed.saturating_add(header);
            self.state.init();
            self.at = At::Stream;
        }
        let size = self.window.len();
        // The window's size is a power of two, so that the remainder fits every usize.
        let from = usize::try_from(self.produced % size as u64).unwrap_or(0);
        let (status, read, written) = decompress(&mut self.state, input, &mut self.window, from, 0);
        self.consumed = self.consumed.saturating_add(read);
        self.produced = self.produced.saturating_add(written as u64);
        match status {
            TINFLStatus::Done => self.at = At::Trailer,
            TINFLStatus::HasMoreOutput if written != 0 => {}
            _ => return Err(KernelError::Gzip),
        }
        let piece = self.window.get(from..from.saturating_add(written));
        piece.ok_or(KernelError::Gzip)
    }

    /// Checks a member against its trailer, by its CRC-32 if that was taken, and goes to the next.
    pub(crate) fn end_member(&mut self, file: &[u8], crc: Option<u32>) -> Result<(), KernelError> {
        let rest = file.get(self.consumed..).ok_or(KernelError::Gzip)?;
        let (expected, size) = gzip::trailer(rest).ok_or(KernelError::Gzip)?;
        let length = self.produced - self.before;
        if crc.is_some_and(|crc| crc != expected) || length & 0xffff_ffff != u64::from(size) {
            return Err(KernelError::GzipSum);
        }
        self.consumed = self.consumed.saturating_add(gzip::TRAILER);
        self.before = self.produced;
        let is_another = rest.get(gzip::TRAILER..).is_some_and(|rest| rest.starts_with(&gzip::MAGIC));
        self.at = if is_another { At::Header } else { At::End };
        Ok(())
    }
}

/// Inflates as many bytes as `head` holds from the beginning of a file.
pub fn head(file: &[u8], head: &mut [u8]) -> Result<(), KernelError> {
    let mut inflater = Inflater::new();
    let mut rest = head;
    while !rest.is_empty() {
        if inflater.is_done() {
            return Err(KernelError::GzipOfOther);
        }
        let bytes = inflater.next(file)?;
        let (filled, left) = rest.split_at_mut(bytes.len().min(rest.len()));
        filled.copy_from_slice(&bytes[..filled.len()]);
        rest = left;
        if inflater.is_member_done() {
            inflater.end_member(file, None)?;
        }
    }
    Ok(())
}

/// Finds out how many bytes a file inflates to.
pub fn length(file: &[u8]) -> Result<u64, KernelError> {
    let mut inflater = Inflater::new();
    while !inflater.is_done() {
        let _ = inflater.next(file)?;
        if inflater.is_member_done() {
            inflater.end_member(file, None)?;
        }
    }
    Ok(inflater.produced())
}
