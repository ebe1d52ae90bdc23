//! Who may write on the one terminal, and when: Assay's lines, the VMs' output, the monitor's prompt.
//!
//! Every byte of a VM goes into its [`Ring`] and from there to the terminal, at once if the terminal is free.
//! A line of one VM is not cut by another's: what the other says waits until that line ends, or has stood still
//! for [`Times::hold`] (it is a prompt), or half of the other's ring waits. Nor is it cut by one of Assay's own, which
//! waits as long at most. A VM that is not shown, and every VM while the monitor is open, goes on writing into its ring
//! and is shown later. No VM ever waits for another.
//!
//! Lines that begin with a VM's name are the work of module `line`, which also says what control bytes do in them.
//! Without names the terminal is one VM's, and gets every byte as it is.
//!
//! No hardware and no clock here: bytes go to a [`Terminal`], times are ticks of a counter, and what is to be
//! done later is a deadline that the caller brings back with [`Console::tick`].

mod held;
mod line;
mod prompt;
mod queue;
mod ring;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use crate::line_editor::LineEditor;
use crate::terminal::{Terminal, Text};
use held::Held;
use line::Line;
pub use queue::{QUEUE_BYTES, Queue};
pub use ring::Ring;

/// What begins each line of Assay's own.
pub const OWN: &str = "assay: ";
/// The bytes that all rings together have at most; each has a power of two of it.
pub const RINGS_BYTES: usize = 128 * 1024;
/// The bytes of one ring at most.
pub const RING_BYTES: usize = 16 * 1024;
/// Bytes of VMs that one call shows at most, beyond the calling VM's own byte: what bounds a call.
pub const CHUNK: u32 = 64;
/// What the terminal must have room for, before a byte of a VM's is shown: the end of another's line, the notice of lost
/// output, a name, and the longest that a byte can become; and half of the queue, which VMs leave to Assay's own lines, so
/// that no CPU waits with one while a VM floods the terminal.
const ROOM: usize = 320 + QUEUE_BYTES / 2;
/// The bytes that end a VM's line at most: its colours, the mark of a cut and the line end.
const LINE_END: usize = 16;

/// Times in ticks of the caller's counter.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long an open line that stands still holds the others back, and any open line Assay's own.
    pub hold: u64,
    /// The time between two chunks of what waits.
    pub pace: u64,
}

/// When a VM's lines begin with its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prefix {
    /// There is one VM, and a person.
    Never,
    /// There are several: while all are shown.
    Several,
    /// A script reads this.
    Always,
}

/// Which VMs are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// All of them.
    All,
    /// This one alone.
    One(usize),
}

/// The line that the terminal's cursor is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    /// None: the next byte begins one.
    Nothing,
    /// A VM's.
    Vm(usize),
    /// The monitor's prompt.
    Prompt,
}

struct Output {
    name: &'static str,
    ring: Ring,
    line: Line,
}

/// The terminal's state.
pub struct Console {
    outputs: Vec<Output>,
    /// How many VMs have output that waits, shown or not.
    waiting: usize,
    prefix: Prefix,
    shown: Shown,
    open: Open,
    times: Times,
    /// When the open line of a VM got its last byte.
    touched: u64,
    /// Assay's own lines that wait for the end of the open one.
    held: Held,
    is_monitor_open: bool,
    /// A command runs: there is no prompt until [`Console::next_line`].
    is_busy: bool,
    editor: LineEditor,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Makes the console of a boot: Assay's own lines only.
    pub const fn new() -> Self {
        Self {
            outputs: Vec::new(),
            waiting: 0,
            prefix: Prefix::Never,
            shown: Shown::All,
            open: Open::Nothing,
            times: Times { hold: 0, pace: 0 },
            touched: 0,
            held: Held::new(),
            is_monitor_open: false,
            is_busy: false,
            editor: LineEditor::new(),
        }
    }

    /// Says which VMs there are, in the order of their indices; all that the console will ever allocate is allocated
    /// here.
    pub fn set_vms(&mut self, names: impl ExactSizeIterator<Item = &'static str>, prefix: Prefix, times: Times) {
        let each = RINGS_BYTES / names.len().max(1);
        let each = each.checked_ilog2().map_or(1, |bits| 1 << bits).min(RING_BYTES);
        self.outputs = names.map(|name| Output { name, ring: Ring::new(each), line: Line::new() }).collect();
        self.prefix = prefix;
        self.times = times;
    }

    /// Tells whether the monitor has the terminal.
    pub fn is_monitor_open(&self) -> bool {
        self.is_monitor_open
    }

    /// Returns which VMs are shown.
    pub fn shown(&self) -> Shown {
        self.shown
    }

    /// Prints a line of Assay's own: after the open line, if that moves and ends in time. Returns when to
    /// [`tick`](Self::tick), if the line waits for that.
    pub fn own(&mut self, line: fmt::Arguments<'_>, now: u64, out: &mut impl Terminal) -> Option<u64> {
        if let Some(vm) = self.owner().filter(|vm| self.is_waiting(*vm)) {
            let mut left = CHUNK;
            self.show_line(vm, &mut left, out);
        }
        let is_moving = self.owner().is_some() && now < self.touched.wrapping_add(self.times.hold);
        if is_moving && self.held.take(line, now) {
            return self.held_until();
        }
        self.end_line(out);
        // Terminals cannot fail, and our own messages format without error.
        let _ = write!(Text(out), "{OWN}{line}\r\n");
        self.prompt(out);
        None
    }

    /// Returns how many bytes of Assay's own lines wait for the end of a VM's.
    pub fn held(&self) -> usize {
        self.held.waiting()
    }

    /// Ends the open line, and prints what of Assay's own waited for that.
    pub fn release(&mut self, out: &mut impl Terminal) {
        if self.held() != 0 {
            self.end_line(out);
        }
    }

    /// Takes a byte of a VM's. Returns when to [`tick`](Self::tick), if something waits because of it.
    pub fn guest(&mut self, vm: usize, byte: u8, now: u64, out: &mut impl Terminal) -> Option<u64> {
        let ring = &mut self.outputs[vm].ring;
        self.waiting += usize::from(ring.waiting() == 0);
        ring.push(byte);
        let is_pressed = ring.is_half_full();
        if !self.is_visible(vm) {
            return None;
        }
        let is_free = match self.open {
            Open::Nothing => true,
            Open::Vm(owner) => owner == vm || is_pressed,
            Open::Prompt => false,
        };
        if !is_free {
            return Some(self.touched.wrapping_add(self.times.hold));
        }
        self.show(vm, now, out)
    }

    /// Goes on with what waits. Returns when to come again, if something still waits.
    pub fn tick(&mut self, now: u64, out: &mut impl Terminal) -> Option<u64> {
        if self.held_until().is_some_and(|until| now >= until) {
            // Before any byte of a VM's: one that says more than the terminal takes would leave no room.
            if out.room() < self.held() + LINE_END {
                return Some(now.wrapping_add(self.times.pace));
            }
            self.release(out);
        }
        let next = self.go_on(now, out);
        next.into_iter().chain(self.held_until()).min()
    }

    /// Goes on with what waits of the VMs.
    fn go_on(&mut self, now: u64, out: &mut impl Terminal) -> Option<u64> {
        let next = self.next_waiting(self.owner())?;
        if let Some(owner) = self.owner() {
            if self.is_waiting(owner) {
                return self.show(owner, now, out);
            }
            let until = self.touched.wrapping_add(self.times.hold);
            if now < until {
                return Some(until);
            }
        }
        self.show(next, now, out)
    }

    /// Shows what waits of the VMs that are shown, as far as the terminal has room: the machine is about to end. Returns
    /// whether that was all.
    pub fn flush(&mut self, out: &mut impl Terminal) -> bool {
        while let Some(vm) = self.next_waiting(self.owner()) {
            if out.room() < ROOM {
                return false;
            }
            let _ = self.show(vm, self.touched, out);
        }
        let has_room = out.room() >= self.held() + LINE_END;
        if has_room {
            self.release(out);
        }
        has_room
    }

    /// Tells whether a VM has said so much more than the terminal takes that it should wait.
    pub fn is_behind(&self, vm: usize) -> bool {
        self.is_visible(vm) && self.outputs[vm].ring.is_half_full()
    }

    /// Chooses which VMs are shown. What the others said meanwhile is shown when they are.
    pub fn show_only(&mut self, shown: Shown) {
        self.shown = shown;
    }

    fn end_line(&mut self, out: &mut impl Terminal) {
        if let Open::Vm(vm) = self.open {
            self.outputs[vm].line.leave(out);
        }
        if self.open != Open::Nothing {
            out.write(b"\r\n");
            self.open = Open::Nothing;
        }
        self.held.release(out);
    }

    /// Until when Assay's own lines wait, if one does.
    fn held_until(&self) -> Option<u64> {
        self.held.since().map(|since| since.wrapping_add(self.times.hold))
    }

    fn owner(&self) -> Option<usize> {
        match self.open {
            Open::Vm(vm) => Some(vm),
            Open::Nothing | Open::Prompt => None,
        }
    }

    fn is_visible(&self, vm: usize) -> bool {
        !self.is_monitor_open && (self.shown == Shown::All || self.shown == Shown::One(vm))
    }

    fn is_waiting(&self, vm: usize) -> bool {
        self.outputs[vm].ring.waiting() != 0 && self.is_visible(vm)
    }

    /// Returns whose turn is next after `vm`, which itself comes last; the first one's without.
    fn next_waiting(&self, vm: Option<usize>) -> Option<usize> {
        // Each byte comes by here: nothing is looked through where nothing waits, or only one is shown.
        if self.waiting == 0 {
            return None;
        }
        if let Shown::One(one) = self.shown {
            return Some(one).filter(|one| self.is_waiting(*one));
        }
        let (count, first) = (self.outputs.len(), vm.map_or(0, |vm| vm + 1));
        (first..first + count).map(|turn| turn % count).find(|&vm| self.is_waiting(vm))
    }

    /// Shows what waits, from `vm` on and then of the others at each end of a line, [`CHUNK`] bytes at most, and what the
    /// terminal has room for. Returns when to go on, if something is left.
    fn show(&mut self, mut vm: usize, now: u64, out: &mut impl Terminal) -> Option<u64> {
        self.touched = now;
        let mut left = CHUNK;
        loop {
            self.show_line(vm, &mut left, out);
            let next = self.next_waiting(Some(vm))?;
            if left == 0 || out.room() < ROOM {
                return Some(now.wrapping_add(self.times.pace));
            }
            if self.open != Open::Nothing {
                return Some(now.wrapping_add(self.times.hold));
            }
            vm = next;
        }
    }

    /// Shows what waits of `vm` up to the end of a line.
    fn show_line(&mut self, vm: usize, left: &mut u32, out: &mut impl Terminal) {
        if out.room() < ROOM {
            return;
        }
        let prefixed = match self.prefix {
            Prefix::Never => false,
            Prefix::Several => self.shown == Shown::All,
            Prefix::Always => true,
        };
        if self.open != Open::Vm(vm) {
            self.end_line(out);
        }
        let lost = self.outputs[vm].ring.take_lost();
        if lost != 0 {
            self.outputs[vm].line.lose(out);
            self.end_line(out);
            let _ = write!(
                Text(out),
                "{OWN}warning vm={} reason=\"{lost} bytes of its output were not shown in time and are lost\"\r\n",
                self.outputs[vm].name
            );
        }
        let output = &mut self.outputs[vm];
        while *left != 0 && out.room() >= ROOM {
            let Some(byte) = output.ring.take() else {
                return;
            };
            self.waiting -= usize::from(output.ring.waiting() == 0);
            *left -= 1;
            let is_open = if prefixed {
                output.line.take(byte, output.name, out);
                output.line.is_open()
            } else {
                out.write(&[byte]);
                byte != b'\n'
            };
            self.open = if is_open { Open::Vm(vm) } else { Open::Nothing };
            if !is_open {
                self.held.release(out);
            }
            if byte == b'\n' {
                return;
            }
        }
    }
}
