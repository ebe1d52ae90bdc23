//! What looking at a page of memory shows.

/// What a page did with what was written to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// It gave everything back.
    Good,
    /// Some granule gave back another tag.
    TagsLost,
    /// A word came back as something else.
    DataLost,
    /// An atomic or an exclusive gave a wrong result, or never succeeded.
    AtomicsFailed,
    /// An access aborted.
    Aborted,
}

/// What a page has at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its first two words.
    pub data: [u64; 2],
    /// The Allocation Tags of its first 16 granules, the first one's in the highest bits; `None`: not looked at.
    pub tags: Option<u64>,
}

impl Seen {
    /// Returns the first word if the second is its complement, as in a mark.
    pub fn word(&self) -> Option<u64> {
        let [word, complement] = self.data;
        (word == !complement).then_some(word)
    }
}
