//! The one UART, and `model`'s [`Console`] that says who may write on it.
//!
//! Every line of Assay's begins `assay: `. With prefixes on, a guest's line begins `[NAME] `, so no guest can
//! forge one; a line that another had to interrupt goes on with `[NAME] ` again.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use assay_el2::lock::Relax;
use assay_el2::{cpu, uart};
use assay_model::console::{Console, Prefix, QUEUE_BYTES, Queue, Shown, Times};
use assay_model::line_editor::{LINE_BYTES, Reply};
use assay_model::lock::{CONSOLE, Mutex};
use assay_model::terminal::Terminal as _;
use spin::relax::RelaxStrategy as _;

use crate::deferred;

/// Prints one line of Assay's own: `assay: ` and what the arguments make.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::line(core::format_args!($($argument)*)) };
}
pub(crate) use say;

/// The console, and what it has written that the UART has not taken.
struct Desk {
    console: Console,
    queue: Queue,
}

static DESK: Mutex<Desk, CONSOLE, Relax> = Mutex::new(Desk { console: Console::new(), queue: Queue::new() });

/// How long an open line that stands still keeps the others from the UART, in milliseconds: longer than an emulator on a busy
/// computer leaves a CPU standing in the middle of a line.
const HOLD_MS: u64 = 100;
/// How long a UART that takes nothing is waited for, in milliseconds: the slowest line sends a byte in one.
const PATIENCE_MS: u64 = 20;
/// How long a line of Assay's own waits for room, in milliseconds: the slowest usual line sends half a queue in 90.
const LINE_MS: u64 = 100;
/// A line of Assay's own is not longer. VMs leave as much.
const LINE_ROOM: usize = QUEUE_BYTES / 2;

impl Desk {
    /// Gives the UART what it takes now. Returns whether nothing is left.
    fn drain(&mut self) -> bool {
        self.queue.is_empty() || self.queue.drain(cpu::counter(), uart::write)
    }

    fn is_stuck(&self) -> bool {
        self.queue.is_stuck(cpu::counter(), deferred::ticks(PATIENCE_MS))
    }
}

/// Writes, gives the UART what it takes, and sees to the rest. Nobody waits for the UART with the lock held.
fn with<R>(write: impl FnOnce(&mut Console, &mut Queue) -> R) -> R {
    let mut desk = DESK.lock();
    let Desk { console, queue } = &mut *desk;
    let result = write(console, queue);
    let is_done = desk.drain();
    drop(desk);
    if !is_done {
        deferred::ask(cpu::counter().wrapping_add(deferred::ticks(1)));
    }
    result
}

/// Waits until `is_enough`, or until the UART is stuck, and lets the UART take bytes meanwhile.
fn wait(is_enough: impl Fn(&mut Desk) -> bool) {
    loop {
        let mut desk = DESK.lock();
        let _ = desk.drain();
        if is_enough(&mut desk) || desk.is_stuck() {
            return;
        }
        drop(desk);
        Relax::relax();
    }
}

/// Says which VMs there are, in the order of `Vm::index`.
pub(crate) fn set_vms(names: impl ExactSizeIterator<Item = &'static str>, prefix: Prefix) {
    let per_ms = deferred::ticks(1);
    let times = Times { hold: per_ms.wrapping_mul(HOLD_MS), pace: per_ms };
    with(|console, _| console.set_vms(names, prefix, times));
}

/// Prints a whole line; use [`say`].
pub(crate) fn line(arguments: fmt::Arguments<'_>) {
    let until = cpu::counter().wrapping_add(deferred::ticks(LINE_MS));
    wait(|desk| desk.queue.room() >= LINE_ROOM + desk.console.held() || cpu::counter() >= until);
    let due = with(|console, queue| {
        let now = cpu::counter();
        let due = console.own(arguments, now, queue);
        let lost = queue.take_lost();
        if lost == 0 {
            return due;
        }
        console.own(
            format_args!("warning reason=\"{lost} bytes of lines like this one are lost: the UART takes nothing\""),
            now,
            queue,
        )
    });
    if let Some(due) = due {
        deferred::ask(due);
    }
}

/// Prints the last words, whoever holds what; first what waits, if nobody holds it.
pub(crate) fn last_words(arguments: fmt::Arguments<'_>) {
    struct Forced;
    impl Write for Forced {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            uart::write_in_panic(text.as_bytes());
            Ok(())
        }
    }
    if let Some(mut desk) = DESK.try_lock() {
        let Desk { console, queue } = &mut *desk;
        console.release(queue);
        let _ = queue.drain(0, |bytes| {
            uart::write_in_panic(bytes);
            bytes.len()
        });
    }
    let _ = write!(Forced, "\r\nassay: {arguments}\r\n");
}

/// Takes one byte of a guest's.
pub(crate) fn guest_byte(vm: usize, byte: u8) {
    let (due, is_behind) = with(|console, queue| {
        let due = console.guest(vm, byte, cpu::counter(), queue);
        (due, due.is_some() && console.is_behind(vm))
    });
    if let Some(due) = due {
        deferred::ask(due);
    }
    if is_behind {
        // It waits as it would for a UART of its own, in pieces between which it can be interrupted.
        let until = cpu::counter().wrapping_add(deferred::ticks(1) / 10);
        wait(|desk| {
            let now = cpu::counter();
            let _ = desk.console.tick(now, &mut desk.queue);
            !desk.console.is_behind(vm) || now >= until
        });
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
    listen_again();
}

/// The UART listens again since the last look.
static RESUMED: AtomicBool = AtomicBool::new(false);

/// Takes input again, and has the housekeeping CPU look for what came meanwhile: a UART whose status was taken back
/// tells of new bytes only.
pub(crate) fn listen_again() {
    uart::listen(true);
    RESUMED.store(true, Ordering::Release);
    deferred::ask(cpu::counter());
}

/// Tells, once, that input is taken again.
pub(crate) fn has_resumed() -> bool {
    RESUMED.swap(false, Ordering::Acquire)
}

/// Shows what waits, a little of it; returns when to come again.
pub(crate) fn tick(now: u64) -> Option<u64> {
    let (next, is_left) = with(|console, queue| (console.tick(now, queue), !queue.is_empty()));
    next.into_iter().chain(is_left.then(|| now.wrapping_add(deferred::ticks(1)))).min()
}

/// Shows all that waits.
pub(crate) fn flush() {
    wait(|desk| desk.console.flush(&mut desk.queue) && desk.drain());
}

/// Tells whether the monitor has the UART.
pub(crate) fn is_monitor_open() -> bool {
    DESK.lock().console.is_monitor_open()
}

/// Gives the UART to the monitor.
pub(crate) fn open_monitor() {
    with(|console, queue| console.open_monitor(queue));
}

/// Gives the UART back to the VMs; `listener` gets the input.
pub(crate) fn close_monitor(listener: Option<usize>) {
    let due = with(|console, queue| console.close_monitor(listener, cpu::counter(), queue));
    if let Some(due) = due {
        deferred::ask(due);
    }
}

/// Returns which VMs are shown.
pub(crate) fn shown() -> Shown {
    DESK.lock().console.shown()
}

/// Chooses which VMs are shown, from the end of the monitor on.
pub(crate) fn show_only(shown: Shown) {
    DESK.lock().console.show_only(shown);
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
    with(|console, queue| {
        let reply = console.key(byte, queue);
        let text = match reply {
            Reply::Nothing => return None,
            Reply::Complete => console.typed_before_cursor(),
            Reply::Run | Reply::Leave => console.typed(),
        };
        Some((reply, Line::of(text)))
    })
}

/// Inserts text at the monitor's prompt.
pub(crate) fn insert(text: &str) {
    with(|console, queue| console.insert(text, queue));
}

/// Prompts for the next command.
pub(crate) fn next_line() {
    with(|console, queue| console.next_line(queue));
}
