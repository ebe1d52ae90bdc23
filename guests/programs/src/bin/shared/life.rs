//! One side restarts: the region keeps what is in it, and the doorbell forgets.

use guest_kit::{Outcome, ensure, ensure_equal, psci, timer};

use crate::bell;
use crate::region::{PATIENCE_US, Word, at, load, store, wait};

/// The first life of `again`: it leaves a sign, is rung without answering, and resets.
pub fn before() {
    if load(at(Word::Life, 0)) != 0 {
        return;
    }
    store(at(Word::Life, 0), 1);
    timer::wait_for(PATIENCE_US, || load(at(Word::Stale, 0)) == 1);
    psci::system_reset();
}

pub fn kept() -> Outcome {
    ensure_equal!(load(at(Word::Life, 0)), 1, "the first life's sign");
    ensure_equal!(load(at(Word::Stale, 0)), 1, "the other side's");
    Ok(())
}

pub fn forgotten() -> Outcome {
    let bell = bell::find()?;
    ensure_equal!(u64::from(bell.rung()), 0, "RUNG");
    Ok(())
}

pub fn rung() -> Outcome {
    let bell = bell::find()?;
    bell.listen(true);
    let known = bell.times();
    store(at(Word::Life, 0), 2);
    bell.wait(known)?;
    Ok(())
}

pub fn first() -> Outcome {
    let bell = bell::find()?;
    let peer = bell.peer(0)?;
    wait(Word::Life, 1)?;
    bell.ring(peer);
    store(at(Word::Stale, 0), 1);
    Ok(())
}

pub fn second() -> Outcome {
    wait(Word::Life, 2)?;
    let bell = bell::find()?;
    let peer = bell.peer(0)?;
    ensure!(bell.peers() & 1 << peer != 0, "the other does not run");
    bell.ring(peer);
    Ok(())
}
