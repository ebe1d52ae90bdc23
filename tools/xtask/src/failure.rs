//! Exit status 2: input that can't be used. Everything else that goes wrong is 1.

use std::fmt;

/// Marks an error as one of the input.
#[derive(Debug)]
pub(crate) struct Unusable(anyhow::Error);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Unusable {}

/// `error` as an error of the input.
pub(crate) fn unusable(error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(Unusable(error.into()))
}

/// The exit status that the error asks for.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Unusable>().is_some() { 2 } else { 1 }
}

/// Whether all that went wrong is that nobody reads our output any more (`… | head`).
pub(crate) fn is_unheard(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
