//! What the terminal has not taken yet. Whoever writes goes on at once; the UART takes bytes as it can.

use crate::terminal::Terminal;

/// Bytes that wait at most: several of Assay's own lines.
pub const QUEUE_BYTES: usize = 2048;

/// Bytes on their way to a UART that may be slow, or stuck.
pub struct Queue {
    bytes: [u8; QUEUE_BYTES],
    first: usize,
    length: usize,
    /// Bytes that found no room.
    lost: u64,
    /// When the UART took the last byte, or there was none for it, in ticks.
    moved: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// Makes an empty queue.
    pub const fn new() -> Self {
        Self { bytes: [0; QUEUE_BYTES], first: 0, length: 0, lost: 0, moved: 0 }
    }

    /// Tells whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Hands bytes to `send`, which returns how many it took, until nothing is left or it takes less. Returns whether
    /// nothing is left.
    pub fn drain(&mut self, now: u64, mut send: impl FnMut(&[u8]) -> usize) -> bool {
        while self.length != 0 {
            let end = (self.first + self.length).min(QUEUE_BYTES);
            let part = &self.bytes[self.first..end];
            let (wanted, took) = (part.len(), send(part).min(part.len()));
            self.first = (self.first + took) % QUEUE_BYTES;
            self.length -= took;
            if took != 0 {
                self.moved = now;
            }
            if took < wanted {
                return false;
            }
        }
        self.moved = now;
        true
    }

    /// Tells whether the UART has taken nothing for so many ticks although something waits.
    pub fn is_stuck(&self, now: u64, patience: u64) -> bool {
        self.length != 0 && now.wrapping_sub(self.moved) >= patience
    }

    /// Returns how many bytes found no room since the last call.
    pub fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }
}

impl Terminal for Queue {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.length == QUEUE_BYTES {
                self.lost = self.lost.saturating_add(1);
                continue;
            }
            self.bytes[(self.first + self.length) % QUEUE_BYTES] = *byte;
            self.length += 1;
        }
    }

    fn room(&self) -> usize {
        QUEUE_BYTES - self.length
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{QUEUE_BYTES, Queue};
    use crate::terminal::Terminal;

    #[test]
    fn bytes_leave_in_order_as_fast_as_they_are_taken() {
        let mut queue = Queue::new();
        let mut got: Vec<u8> = Vec::new();
        let mut sent = Vec::new();
        for round in 0..500_usize {
            let line: Vec<u8> = (0..37).map(|at| ((round * 37 + at) % 251).try_into().unwrap()).collect();
            queue.write(&line);
            sent.extend(&line);
            let mut room = if round % 3 == 0 { 200 } else { 7 };
            let is_empty = queue.drain(0, |bytes| {
                let took = bytes.len().min(room);
                got.extend_from_slice(&bytes[..took]);
                room -= took;
                took
            });
            assert_eq!(is_empty, queue.is_empty());
            assert_eq!(queue.room(), QUEUE_BYTES - (sent.len() - got.len()));
        }
        assert!(queue.drain(0, |bytes| {
            got.extend_from_slice(bytes);
            bytes.len()
        }));
        assert_eq!((got, queue.take_lost()), (sent, 0));
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let mut queue = Queue::new();
        queue.write(&[b'x'; QUEUE_BYTES]);
        queue.write(b"abc");
        assert_eq!((queue.room(), queue.take_lost(), queue.take_lost()), (0, 3, 0));
    }

    #[test]
    fn a_uart_is_stuck_once_it_has_taken_nothing_for_long() {
        let mut queue = Queue::new();
        assert!(!queue.is_stuck(1000, 20));
        assert!(queue.drain(1000, |_| 0));
        queue.write(b"ab");
        assert!(!queue.drain(1010, |_| 0));
        assert!(!queue.is_stuck(1019, 20));
        assert!(queue.is_stuck(1020, 20));
        assert!(!queue.drain(1030, |_| 1) && !queue.is_stuck(1030, 20));
        assert!(queue.drain(1040, <[u8]>::len));
        assert!(queue.is_empty() && !queue.is_stuck(5000, 20));
    }
}
