//! Inflation in pieces: the decompressor's state and its 32 KiB window, boxed once.
//!
//! It writes to a window of its own and hands the pieces on, since a guest's RAM need not be contiguous
//! in physical memory; the copy out of the window takes the sum on its way, so nothing is read twice.

use super::{KernelError, gzip};
use alloc::boxed::Box;
use alloc::vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress, inflate_flags};

/// A stream being inflated.
pub(crate) struct Inflater {
    state: Box<DecompressorOxide>,
    window: Box<[u8]>,
    /// Bytes of the stream that were consumed.
    consumed: usize,
    /// Bytes that came out.
    produced: u64,
    done: bool,
}

impl Inflater {
    /// Makes the state; this is what allocates (about 43 KiB).
    pub(crate) fn new() -> Self {
        Self {
            state: Box::default(),
            window: vec![0; TINFL_LZ_DICT_SIZE].into_boxed_slice(),
            consumed: 0,
            produced: 0,
            done: false,
        }
    }

    /// Goes back to a stream's beginning.
    pub(crate) fn restart(&mut self) {
        self.state.init();
        (self.consumed, self.produced, self.done) = (0, 0, false);
    }

    /// Tells whether the stream's end was reached.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Tells how many bytes came out so far.
    pub(crate) const fn produced(&self) -> u64 {
        self.produced
    }

    /// Inflates the next piece, at most 32 KiB of it; an empty one only at the stream's end.
    pub(crate) fn next(&mut self, deflate: &[u8]) -> Result<&[u8], KernelError> {
        let stream = gzip::stream(deflate).ok_or(KernelError::Gzip)?;
        let input = stream.get(self.consumed..).ok_or(KernelError::Gzip)?;
        let size = self.window.len();
        // The window's size is a power of two, so that the remainder fits every usize.
        let from = usize::try_from(self.produced % size as u64).unwrap_or(0);
        let (status, read, written) = decompress(&mut self.state, input, &mut self.window, from, 0);
        self.consumed = self.consumed.saturating_add(read);
        self.produced = self.produced.saturating_add(written as u64);
        match status {
            TINFLStatus::Done if self.consumed == stream.len() => self.done = true,
            TINFLStatus::HasMoreOutput if written != 0 => {}
            _ => return Err(KernelError::Gzip),
        }
        let piece = self.window.get(from..from.saturating_add(written));
        piece.ok_or(KernelError::Gzip)
    }
}

/// Inflates as many bytes as `head` holds from the beginning of a stream.
pub fn head(deflate: Option<&[u8]>, head: &mut [u8]) -> Result<(), KernelError> {
    let stream = deflate.and_then(gzip::stream).ok_or(KernelError::Gzip)?;
    let mut state = Box::<DecompressorOxide>::default();
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) = decompress(&mut state, stream, head, 0, flags);
    match status {
        TINFLStatus::Done | TINFLStatus::HasMoreOutput if written == head.len() => Ok(()),
        TINFLStatus::Done => Err(KernelError::GzipOfOther),
        _ => Err(KernelError::Gzip),
    }
}
