//! Several priority queues over one set of numbered things, each of which is in one queue at most.
//!
//! Binary heaps with a table of places, so that a thing can be taken out of the middle. The memory is there
//! from the beginning.

use alloc::vec;
use alloc::vec::Vec;

/// The queues.
#[derive(Debug)]
pub(super) struct Heaps {
    heaps: Vec<Vec<Item>>,
    /// For each thing the queue that it is in, and where there.
    places: Vec<Option<(usize, usize)>>,
    /// How many things are in queues.
    count: usize,
}

/// Something in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Item {
    /// What the queue is ordered by, lowest first.
    pub(super) key: i128,
    /// Which thing.
    pub(super) id: usize,
}

impl Heaps {
    /// Makes a queue for each of `capacities`, for the things `0..things`.
    pub(super) fn new(capacities: impl Iterator<Item = usize>, things: usize) -> Self {
        Self { heaps: capacities.map(Vec::with_capacity).collect(), places: vec![None; things], count: 0 }
    }

    /// Returns whether nothing is in any queue.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the first of a queue.
    pub(super) fn head(&self, heap: usize) -> Option<Item> {
        self.heaps[heap].first().copied()
    }

    /// Returns a queue's first things, of which only the very first is known to be the lowest.
    pub(super) fn front(&self, heap: usize, count: usize) -> impl Iterator<Item = Item> {
        self.heaps[heap].iter().take(count).copied()
    }

    /// Puts a thing that is in no queue into one.
    pub(super) fn push(&mut self, heap: usize, item: Item) {
        let at = self.heaps[heap].len();
        self.heaps[heap].push(item);
        self.count += 1;
        self.note(heap, at);
        let _ = self.up(heap, at);
    }

    /// Takes a thing out of the queue in which it is, if it is in one.
    #[inline(always)]
    pub(super) fn remove(&mut self, id: usize) {
        if let Some((heap, at)) = self.places[id].take() {
            self.take_out(heap, at);
        }
    }

    #[inline(never)]
    fn take_out(&mut self, heap: usize, at: usize) {
        let _ = self.heaps[heap].swap_remove(at);
        self.count -= 1;
        // What was last is here now, and may belong further up or further down.
        if at < self.heaps[heap].len() {
            self.note(heap, at);
            let at = self.up(heap, at);
            self.down(heap, at);
        }
    }

    fn note(&mut self, heap: usize, at: usize) {
        let id = self.heaps[heap][at].id;
        self.places[id] = Some((heap, at));
    }

    fn swap(&mut self, heap: usize, one: usize, other: usize) {
        self.heaps[heap].swap(one, other);
        self.note(heap, one);
        self.note(heap, other);
    }

    fn up(&mut self, heap: usize, mut at: usize) -> usize {
        while at > 0 && self.heaps[heap][at].key < self.heaps[heap][(at - 1) / 2].key {
            self.swap(heap, at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at
    }

    fn down(&mut self, heap: usize, mut at: usize) {
        loop {
            let items = &self.heaps[heap];
            let below = 2 * at + 1..items.len().min(2 * at + 3);
            match below.min_by_key(|&below| items[below].key) {
                Some(next) if items[next].key < items[at].key => {
                    self.swap(heap, at, next);
                    at = next;
                }
                _ => return,
            }
        }
    }
}
