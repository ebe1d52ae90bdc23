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
