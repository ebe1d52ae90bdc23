//! The one UART: Assay's own lines, the guests' output, and input for one of them.
//!
//! Every line of Assay's begins `assay: `. With prefixes on, a guest's line begins `[NAME] `, so no guest can
//! forge one; a line that another has to interrupt goes on with `[NAME]+ `.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use assay_el2::uart;
use spin::Mutex;

/// Prints one line of Assay's own: `assay: ` and what the arguments make.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::line(core::format_args!($($argument)*)) };
}
pub(crate) use say;

/// Who has written the last character, as far as a line is open.
struct Line {
    /// The VM whose line is not ended yet.
    owner: Option<&'static str>,
}

static LINE: Mutex<Line> = Mutex::new(Line { owner: None });
static PREFIX: AtomicBool = AtomicBool::new(false);

/// Turns the `[NAME] ` prefixes on.
pub(crate) fn use_prefixes() {
    PREFIX.store(true, Ordering::Relaxed);
}

struct Raw;

impl Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        uart::write(text.as_bytes());
        Ok(())
    }
}

/// Prints a whole line; use [`say`].
pub(crate) fn line(arguments: fmt::Arguments<'_>) {
    let mut line = LINE.lock();
    if line.owner.take().is_some() {
        uart::write(b"\r\n");
    }
    // The UART cannot fail, and a message of ours formats without error.
    let _ = write!(Raw, "assay: {arguments}\r\n");
}

/// Prints the last words, whoever holds what.
pub(crate) fn last_words(arguments: fmt::Arguments<'_>) {
    struct Forced;
    impl Write for Forced {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            uart::write_in_panic(text.as_bytes());
            Ok(())
        }
    }
    let _ = write!(Forced, "\r\nassay: {arguments}\r\n");
}

/// Prints one byte of a guest's, with the prefix where a line begins.
pub(crate) fn guest_byte(name: &'static str, byte: u8) {
    if !PREFIX.load(Ordering::Relaxed) {
        return plain(name, byte);
    }
    let mut line = LINE.lock();
    match line.owner {
        Some(owner) if core::ptr::eq(owner, name) => {}
        Some(_) => {
            let _ = write!(Raw, "\r\n[{name}] ");
        }
        None => {
            let _ = write!(Raw, "[{name}] ");
        }
    }
    uart::write(&[byte]);
    line.owner = (byte != b'\n').then_some(name);
}

/// The same with one VM and a person at the terminal: no prefix, only whether a line is open.
fn plain(name: &'static str, byte: u8) {
    LINE.lock().owner = (byte != b'\n').then_some(name);
    uart::write(&[byte]);
}
