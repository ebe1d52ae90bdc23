//! A network card: frames of a tap, each behind a header. (Virtual I/O Device 1.2 §5.1)

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};

use virtio_queue::{DescriptorChain, Reader, Writer};

use crate::console::is_readable;
use crate::server::{Broken, Device, Memory};

const MAC: u64 = 1 << 5;
/// What a macvtap gives and takes from the start: checksums that are not there yet, and frames that are still to be
/// segmented. CSUM, GUEST_CSUM; GUEST_TSO4, TSO6, ECN; HOST_TSO4, TSO6, ECN.
const OFFLOADS: u64 = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12 | 1 << 13;
/// Those of them that a driver must take: what is received has them.
const RECEIVED: u64 = 1 << 1 | 1 << 7 | 1 << 8;
/// The driver receives by this queue, and sends by the other.
const RECEIVE: usize = 0;
/// The header of virtio 1, and that of a tap, which lacks the last field.
const HEADER: usize = 12;
const TAP_HEADER: usize = 10;
/// The longest frame, with a header.
const FRAME: usize = 65_562;

/// A network card.
pub struct Net {
    tap: File,
    address: [u8; 6],
    buffer: Vec<u8>,
}

impl Net {
    /// Makes a card with this address of a tap, whose frames have a `virtio_net_hdr` of 10 bytes (`IFF_VNET_HDR`): what a
    /// macvtap has from the start.
    #[must_use]
    pub fn new(tap: File, address: [u8; 6]) -> Self {
        Self { tap, address, buffer: vec![0; FRAME] }
    }

    /// Gives the driver a frame, if there is one. One that it has no room for is lost.
    fn receive(&mut self, to: &mut Writer<'_>) -> Result<Option<u32>, Broken> {
        if !is_readable(self.tap.as_fd()) {
            return Ok(None);
        }
        let Ok(length) = self.tap.read(&mut self.buffer) else { return Ok(None) };
        let frame = self.buffer.get(TAP_HEADER..length).unwrap_or_default();
        if to.available_bytes() < HEADER + frame.len() {
            return Ok(Some(0));
        }
        to.write_all(&self.buffer[..TAP_HEADER])?;
        // `num_buffers`.
        to.write_all(&1u16.to_le_bytes())?;
        to.write_all(frame)?;
        Ok(Some(u32::try_from(HEADER + frame.len())?))
    }

    fn send(&mut self, from: &mut Reader<'_>) -> Result<Option<u32>, Broken> {
        let length = from.available_bytes();
        if !(HEADER..=FRAME).contains(&length) {
            return Err(Broken(format!("a frame of {length} bytes")));
        }
        from.read_exact(&mut self.buffer[..length])?;
        // Over the field that a tap does not have. What else is wrong with the header the tap's kernel finds out.
        self.buffer.copy_within(..TAP_HEADER, HEADER - TAP_HEADER);
        // What the network does not take is lost, as on a wire.
        let _ = self.tap.write(&self.buffer[HEADER - TAP_HEADER..length]);
        Ok(Some(0))
    }
}

impl Device for Net {
    fn features(&self) -> u64 {
        MAC | OFFLOADS
    }

    fn required(&self) -> u64 {
        RECEIVED
    }

    fn config(&self) -> Vec<u8> {
        self.address.to_vec()
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
        if queue == RECEIVE {
            self.receive(&mut Writer::new(memory, chain.clone())?)
        } else {
            self.send(&mut Reader::new(memory, chain.clone())?)
        }
    }

    fn input(&self) -> Option<BorrowedFd<'_>> {
        Some(self.tap.as_fd())
    }
}
