//! What goes wrong with a machine, by kinds that a test may treat differently.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// The machine can't be made: its description is unusable, or a kernel, the firmware or QEMU is missing. Or a test names
    /// a VM that the machine hasn't.
    Unusable,
    /// What was waited for didn't come in time.
    TimedOut,
    /// What was waited for can't come any more: the VM was refused, has stopped or crashed, or its kernel panicked; Assay
    /// panicked, or the machine ended.
    Ended,
    /// The machine ended, and not well: a VM was refused, crashed or never powered off, or a report has a failure or a hole.
    Failed,
    /// QEMU refuses the machine or a command, ends with an error, or doesn't answer.
    Qemu,
}

/// Why a machine did not do what a test wants.
///
/// `{}` shows what happened, `{:#}` the causes behind it on the same line too, and `{:?}`, which is what a test that returns it
/// prints, all of them on lines of their own. The causes are its [`source`](std::error::Error::source) and that one's.
pub struct Error {
    kind: Kind,
    cause: anyhow::Error,
}

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Tells what kind of error it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Says more, before what it says already.
    pub(crate) fn context(self, words: String) -> Self {
        Self { kind: self.kind, cause: self.cause.context(words) }
    }
}

impl Kind {
    /// Makes an error of this kind.
    pub(crate) fn error(self, cause: impl Into<anyhow::Error>) -> Error {
        Error { kind: self, cause: cause.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.cause, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use anyhow::anyhow;

    use super::{Error, Kind};

    #[test]
    fn an_error_shows_what_happened_and_its_causes() {
        let error = Kind::Unusable.error(anyhow!("no such file").context("vm \"a\""));
        assert_eq!((error.kind(), error.to_string()), (Kind::Unusable, "vm \"a\"".to_owned()));
        assert_eq!(format!("{error:#}"), "vm \"a\": no such file");
        assert!(format!("{error:?}").contains("no such file"), "what a failed test prints");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no such file"));
        let error = error.context("the test".to_owned());
        assert_eq!((error.kind(), format!("{error:#}").as_str()), (Kind::Unusable, "the test: vm \"a\": no such file"));
    }

    #[test]
    fn it_goes_where_errors_go() {
        fn is_sent<T: std::error::Error + Send + Sync + 'static>() {}
        is_sent::<Error>();
        // Once, not twice, where a caller's own error has it as a cause.
        let outer = anyhow::Error::new(Kind::Ended.error(anyhow!("inner").context("outer"))).context("mine");
        assert_eq!(format!("{outer:#}"), "mine: outer: inner");
    }
}
