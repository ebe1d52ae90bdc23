//! The user's terminal while a guest has it: every key goes to the guest, Ctrl-C too.

use anyhow::Result;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcsetattr};

/// Gives the terminal's former settings back when dropped.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes stdin raw if it is a terminal; else nothing happens and nothing is given.
    ///
    /// # Errors
    /// The terminal refuses.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // Lines that end without a carriage return still start at the left.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
