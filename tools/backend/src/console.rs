//! A console: what a file, a terminal for instance, gives and takes. (Virtual I/O Device 1.2 §5.3)

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virtio_queue::{DescriptorChain, Reader, Writer};

use crate::server::{Broken, Device, Memory};

/// The driver receives by this queue, and sends by the other.
const RECEIVE: usize = 0;
/// The bytes that are moved at once.
const CHUNK: usize = 4096;

/// A console.
pub struct Console {
    input: File,
    output: File,
}

impl Console {
    /// Makes a console of two files.
    #[must_use]
    pub const fn new(input: File, output: File) -> Self {
        Self { input, output }
    }
}

/// Tells whether a read would not wait.
pub(crate) fn is_readable(file: BorrowedFd<'_>) -> bool {
    let mut files = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut files, Some(&now)).is_ok_and(|ready| ready != 0)
}

impl Device for Console {
    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn queues(&self) -> usize {
        2
    }

    fn handle(
        &mut self,
        queue: usize,
        chain: &DescriptorChain<&Memory>,
        memory: &Memory,
    ) -> Result<Option<u32>, Broken> {
        let mut buffer = [0; CHUNK];
        if queue == RECEIVE {
            let mut to = Writer::new(memory, chain.clone())?;
            let room = to.available_bytes().min(CHUNK);
            if !is_readable(self.input.as_fd()) {
                return Ok(None);
            }
            let length = self.input.read(&mut buffer[..room]).unwrap_or(0);
            to.write_all(&buffer[..length])?;
            return Ok(Some(u32::try_from(length)?));
        }
        let mut from = Reader::new(memory, chain.clone())?;
        while from.available_bytes() != 0 {
            let part = from.available_bytes().min(CHUNK);
            from.read_exact(&mut buffer[..part])?;
            // What the terminal does not take is lost.
            let _ = self.output.write_all(&buffer[..part]);
        }
        let _ = self.output.flush();
        Ok(Some(0))
    }

    fn input(&self) -> Option<BorrowedFd<'_>> {
        Some(self.input.as_fd())
    }
}
