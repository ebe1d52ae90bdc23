//! Several priority queues over one set of numbered things, each of which is in one queue at most.
//!
//! Binary heaps with a table of places, so that a thing can be taken out of the middle. The memory is there
//! from the beginning.

use alloc::vec;
use alloc::vec::Vec;

/// The place of what is in no queue.
const NOWHERE: Place = Place { heap: usize::MAX, at: usize::MAX };

/// The queues.
#[derive(Debug)]
pub(super) struct Heaps {
    heaps: Vec<Vec<Item>>,
    places: Vec<Place>,
}

/// Something in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Item {
    /// What the queue is ordered by, lowest first.
    pub(super) key: i128,
    /// Which thing.
    pub(super) id: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    heap: usize,
    at: usize,
}

impl Heaps {
    /// Makes a queue for each of `capacities`, for the things `0..things`.
    pub(super) fn new(capacities: impl Iterator<Item = usize>, things: usize) -> Self {
        Self { heaps: capacities.map(Vec::with_capacity).collect(), places: vec![NOWHERE; things] }
    }

    /// Returns the first of a queue.
    pub(super) fn head(&self, heap: usize) -> Option<Item> {
        self.heaps.get(heap)?.first().copied()
    }

    /// Returns a queue's first things, of which only the very first is known to be the lowest.
    pub(super) fn front(&self, heap: usize, count: usize) -> impl Iterator<Item = Item> {
        let items = self.heaps.get(heap).into_iter().flatten();
        items.take(count).copied()
    }

    /// Puts a thing that is in no queue into one.
    pub(super) fn push(&mut self, heap: usize, item: Item) {
        let Some(items) = self.heaps.get_mut(heap) else {
            return;
        };
        let at = items.len();
        items.push(item);
        self.note(heap, at);
        self.up(heap, at);
    }

    /// Takes a thing out of the queue in which it is, if it is in one.
    pub(super) fn remove(&mut self, id: usize) {
        let Some(place) = self.places.get_mut(id) else {
            return;
        };
        let Place { heap, at } = core::mem::replace(place, NOWHERE);
        let Some(items) = self.heaps.get_mut(heap) else {
            return;
        };
        if at < items.len() {
            let _ = items.swap_remove(at);
        }
        // What was last is here now, and may belong further up or further down.
        self.note(heap, at);
        self.up(heap, at);
        self.down(heap, at);
    }

    fn key(&self, heap: usize, at: usize) -> Option<i128> {
        Some(self.heaps.get(heap)?.get(at)?.key)
    }

    fn note(&mut self, heap: usize, at: usize) {
        let item = self.heaps.get(heap).and_then(|items| items.get(at));
        if let Some(place) = item.and_then(|item| self.places.get_mut(item.id)) {
            *place = Place { heap, at };
        }
    }

    fn swap(&mut self, heap: usize, one: usize, other: usize) {
        if let Some(items) = self.heaps.get_mut(heap) {
            items.swap(one, other);
        }
        self.note(heap, one);
        self.note(heap, other);
    }

    fn up(&mut self, heap: usize, mut at: usize) {
        while at > 0 {
            let above = (at - 1) / 2;
            if self.key(heap, at) >= self.key(heap, above) || self.key(heap, at).is_none() {
                return;
            }
            self.swap(heap, at, above);
            at = above;
        }
    }

    fn down(&mut self, heap: usize, mut at: usize) {
        while let Some(key) = self.key(heap, at) {
            let below = [2 * at + 1, 2 * at + 2].into_iter();
            let below = below.filter_map(|at| Some((self.key(heap, at)?, at)));
            match below.min() {
                Some((lower, next)) if lower < key => {
                    self.swap(heap, at, next);
                    at = next;
                }
                _ => return,
            }
        }
    }
}
