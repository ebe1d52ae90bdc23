//! One who rings as fast as it can, and one who is rung by it.

use guest_kit::{Outcome, ensure, ensure_equal, mmio, println, timer};

use crate::bell;
use crate::region::{Word, at, load, store, wait};

pub fn rage() -> Outcome {
    let bell = bell::find()?;
    let peer = bell.peer(0)?;
    let mut rings = 0u64;
    store(at(Word::Raging, 0), 1);
    // One who has ended has had enough, too.
    while load(at(Word::Enough, 0)) == 0 && bell.peers() & 1 << peer != 0 {
        for _ in 0..1000 {
            bell.ring(peer);
        }
        rings += 1000;
        // Nobody has these numbers, nor are these registers.
        for wild in [bell.id(), 30, 31, 32, 255, 256, !0] {
            bell.ring(wild);
            mmio::write32(bell.base + u64::from(wild & 0xffc), wild);
        }
    }
    println!("# {} rings", rings);
    store(at(Word::Spent, 0), 1);
    Ok(())
}

pub fn unanswered() -> Outcome {
    let bell = bell::find()?;
    let peer = bell.peer(0)?;
    bell.listen(false);
    wait(Word::Raging, 1)?;
    timer::delay(50_000);
    // One ring, and perhaps one that was under way when `listen` answered.
    let known = bell.times();
    ensure!((1..=2).contains(&known), "{} interrupts", known);
    timer::delay(200_000);
    ensure_equal!(bell.times(), known, "interrupts");
    ensure_equal!(u64::from(bell.rung()), 1 << peer, "RUNG");
    Ok(())
}

pub fn answered() -> Outcome {
    let bell = bell::find()?;
    let first = bell.times();
    for times in first..first + 20 {
        bell.answer();
        let came = timer::wait_for(10_000_000, || bell.times() > times);
        ensure!(came, "no ring after {} times", times);
        timer::delay(2_000);
        ensure_equal!(bell.times(), times + 1, "interrupts");
    }
    store(at(Word::Enough, 0), 1);
    wait(Word::Spent, 1)
}
