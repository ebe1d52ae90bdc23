//! The one UART, and `model`'s [`Console`] that says who may write on it.
//!
//! Every line of Assay's begins `assay: `. With prefixes on, a guest's line begins `[NAME] `, so no guest can
//! forge one; a line that another had to interrupt goes on with `[NAME] ` again.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use assay_el2::lock::Relax;
use assay_el2::{cpu, uart};
use assay_model::console::{Console, Prefix, Shown, Times};
use assay_model::line_editor::{LINE_BYTES, Reply};
use assay_model::lock::{CONSOLE as CONSOLE_RANK, Mutex};
use assay_model::terminal::Terminal;

use crate::deferred;

/// Prints one line of Assay's own: `assay: ` and what the arguments make.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::line(core::format_args!($($argument)*)) };
}
pub(crate) use say;

static CONSOLE: Mutex<Console, CONSOLE_RANK, Relax> = Mutex::new(Console::new());

/// How long an open line that stands still keeps the others from the UART, in milliseconds.
const HOLD_MS: u64 = 20;

struct Uart;

impl Terminal for Uart {
    fn write(&mut self, bytes: &[u8]) {
        uart::write(bytes);
    }
}

/// Says which VMs there are, in the order of `Vm::index`.
pub(crate) fn set_vms(names: impl ExactSizeIterator<Item = &'static str>, prefix: Prefix) {
    let per_ms = deferred::ticks(1);
    let times = Times { hold: per_ms.wrapping_mul(HOLD_MS), pace: per_ms };
    CONSOLE.lock().set_vms(names, prefix, times);
}

/// Prints a whole line; use [`say`].
pub(crate) fn line(arguments: fmt::Arguments<'_>) {
    CONSOLE.lock().own(arguments, &mut Uart);
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

/// Takes one byte of a guest's.
pub(crate) fn guest_byte(vm: usize, byte: u8) {
    let due = CONSOLE.lock().guest(vm, byte, cpu::counter(), &mut Uart);
    if let Some(due) = due {
        deferred::ask(due);
    }
}

/// When the listening VM was found full of input, as a physical count; 0 if it was not.
static INPUT_HELD: AtomicU64 = AtomicU64::new(0);

/// Returns when the input was first held back, and sets it to `now` if it was not; 0 asks only.
pub(crate) fn input_held_since(now: u64) -> u64 {
    let _ = INPUT_HELD.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    INPUT_HELD.load(Ordering::Relaxed)
}

/// A guest has made room for input, or begins a life.
pub(crate) fn input_room() {
    INPUT_HELD.store(0, Ordering::Relaxed);
    uart::listen(true);
}

/// Shows what waits, a little of it; returns when to come again.
pub(crate) fn tick(now: u64) -> Option<u64> {
    CONSOLE.lock().tick(now, &mut Uart)
}

/// Shows all that waits.
pub(crate) fn flush() {
    CONSOLE.lock().flush(&mut Uart);
}

/// Tells whether the monitor has the UART.
pub(crate) fn is_monitor_open() -> bool {
    CONSOLE.lock().is_monitor_open()
}

/// Gives the UART to the monitor.
pub(crate) fn open_monitor() {
    CONSOLE.lock().open_monitor(&mut Uart);
}

/// Gives the UART back to the VMs; `listener` gets the input.
pub(crate) fn close_monitor(listener: Option<usize>) {
    let due = CONSOLE.lock().close_monitor(listener, cpu::counter(), &mut Uart);
    if let Some(due) = due {
        deferred::ask(due);
    }
}

/// Returns which VMs are shown.
pub(crate) fn shown() -> Shown {
    CONSOLE.lock().shown()
}

/// Chooses which VMs are shown, from the end of the monitor on.
pub(crate) fn show_only(shown: Shown) {
    CONSOLE.lock().show_only(shown);
}

/// What was typed at the prompt, copied: whoever acts on it prints.
pub(crate) struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    fn of(text: &str) -> Self {
        let mut line = Self { bytes: [0; LINE_BYTES], length: 0 };
        for (place, byte) in line.bytes.iter_mut().zip(text.bytes()) {
            *place = byte;
            line.length += 1;
        }
        line
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or("")
    }
}

/// Takes a byte typed at the monitor's prompt; returns what it asks for beyond editing, and about which text.
pub(crate) fn key(byte: u8) -> Option<(Reply, Line)> {
    let mut console = CONSOLE.lock();
    let reply = console.key(byte, &mut Uart);
    let text = match reply {
        Reply::Nothing => return None,
        Reply::Complete => console.typed_before_cursor(),
        Reply::Run | Reply::Leave => console.typed(),
    };
    Some((reply, Line::of(text)))
}

/// Inserts text at the monitor's prompt.
pub(crate) fn insert(text: &str) {
    CONSOLE.lock().insert(text, &mut Uart);
}

/// Prompts for the next command.
pub(crate) fn next_line() {
    CONSOLE.lock().next_line(&mut Uart);
}
