//! Messages there and back through the memory, and a ring of the bell for each batch.

use guest_kit::{Outcome, ensure, ensure_equal, mmio, println, timer};

use crate::bell::{self, Bell};
use crate::region::{self, MESSAGES, Word, at, load, store};

/// How many messages go there and back.
const COUNT: u64 = 2_000;
/// Places in a ring, 64 bytes each.
const PLACES: u64 = 64;
/// What the echo adds.
const ECHO: u64 = 0x0001_0000_0000_0000;

/// One direction. Head and tail only ever grow.
#[derive(Clone, Copy)]
struct Lane(u64);

const THERE: Lane = Lane(0);
const BACK: Lane = Lane(1);

impl Lane {
    fn head(self) -> u64 {
        at(Word::Heads, self.0 * 2)
    }
    fn tail(self) -> u64 {
        at(Word::Heads, self.0 * 2 + 1)
    }
    fn place(self, n: u64) -> u64 {
        let start = region::find().map_or(0, |(start, _)| start);
        start + MESSAGES + self.0 * PLACES * 64 + n % PLACES * 64
    }
    /// Puts message `n` in, if there is room.
    fn send(self, n: u64, value: u64) -> bool {
        if n - load(self.tail()) >= PLACES {
            return false;
        }
        let place = self.place(n);
        for word in 0..8 {
            mmio::write64(place + word * 8, value.wrapping_add(word));
        }
        store(self.head(), n + 1);
        true
    }
    /// Takes message `n` out, if it is there: its value, and whether it is whole.
    fn receive(self, n: u64) -> Option<(u64, bool)> {
        if load(self.head()) == n {
            return None;
        }
        let place = self.place(n);
        let value = mmio::read64(place);
        let whole = (0..8).all(|word| mmio::read64(place + word * 8) == value.wrapping_add(word));
        store(self.tail(), n + 1);
        Some((value, whole))
    }
}

/// What message `n` says.
fn message(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn begin() -> Result<(Bell, u32), guest_kit::Stop> {
    let bell = bell::find()?;
    bell.listen(true);
    let peer = bell.peer(0)?;
    Ok((bell, peer))
}

pub fn front() -> Outcome {
    let (bell, peer) = begin()?;
    store(at(Word::Sign, 0), 0x5160);
    let start = timer::now();
    let (mut sent, mut received, mut rings) = (0, 0, 0u64);
    while received < COUNT {
        // Before the look: what comes after it is an interrupt.
        let known = bell.times();
        let mut moved = false;
        while sent < COUNT && THERE.send(sent, message(sent)) {
            sent += 1;
            moved = true;
        }
        while let Some((value, whole)) = BACK.receive(received) {
            ensure!(whole, "message {} is torn", received);
            ensure_equal!(value, message(received) + ECHO, "an echo in its order");
            received += 1;
            moved = true;
        }
        if moved {
            bell.ring(peer);
            rings += 1;
        } else {
            bell.wait(known)?;
        }
    }
    let us = timer::nanoseconds(timer::now().wrapping_sub(start)) / 1000;
    println!("# {} messages there and back, {} rings sent, {} heard, {} us", received, rings, bell.times(), us);
    ensure!(bell.times() > 0, "no ring was heard");
    Ok(())
}

pub fn back() -> Outcome {
    let (bell, peer) = begin()?;
    let (mut sent, mut received) = (0, 0);
    let mut waiting: Option<u64> = None;
    while sent < COUNT {
        let known = bell.times();
        let mut moved = false;
        loop {
            if waiting.is_none() {
                let Some((value, whole)) = THERE.receive(received) else {
                    break;
                };
                ensure!(whole, "message {} is torn", received);
                ensure_equal!(value, message(received), "a message in its order");
                received += 1;
                moved = true;
                waiting = Some(value + ECHO);
            }
            match waiting {
                Some(value) if BACK.send(sent, value) => {
                    sent += 1;
                    waiting = None;
                    moved = true;
                }
                _ => break,
            }
        }
        if moved {
            bell.ring(peer);
        } else {
            bell.wait(known)?;
        }
    }
    println!("# {} messages echoed, {} rings heard", sent, bell.times());
    ensure!(bell.times() > 0, "no ring was heard");
    Ok(())
}
