//! The monitor at the terminal: it opens and closes, and takes what is typed.

use super::line::Line;
use super::{Console, Open};
use crate::line_editor::Reply;
use crate::terminal::Terminal;

/// Bytes of an open line that are shown again when its VM is: a prompt's length.
const PROMPT_BYTES: usize = 256;

impl Console {
    /// Gives the terminal to the monitor.
    pub fn open_monitor(&mut self, out: &mut impl Terminal) {
        self.end_line(out);
        self.is_monitor_open = true;
        self.is_busy = false;
        self.editor.clear();
        self.prompt(out);
    }

    /// Gives the terminal back to the VMs; `listener` gets the input, and its prompt is shown again. Returns when to
    /// [`tick`](Self::tick).
    pub fn close_monitor(&mut self, listener: Option<usize>, now: u64, out: &mut impl Terminal) -> Option<u64> {
        self.end_line(out);
        self.is_monitor_open = false;
        if core::mem::take(&mut self.is_busy) {
            self.editor.next();
        }
        if let Some(vm) = listener {
            let output = &mut self.outputs[vm];
            let was_empty = output.ring.waiting() == 0;
            output.ring.rewind_line(PROMPT_BYTES);
            output.line = Line::new();
            self.waiting += usize::from(was_empty && output.ring.waiting() != 0);
        }
        self.tick(now, out)
    }

    /// Takes a byte typed at the monitor's prompt.
    pub fn key(&mut self, byte: u8, out: &mut impl Terminal) -> Reply {
        let reply = self.editor.key(byte, out);
        if reply == Reply::Run {
            out.write(b"\r\n");
            self.open = Open::Nothing;
            self.is_busy = true;
        }
        reply
    }

    /// The line that was typed: what [`Reply::Run`] is about. The next begins with [`Self::next_line`].
    pub fn typed(&self) -> &str {
        self.editor.line()
    }

    /// Returns what stands before the cursor: what [`Reply::Complete`] is about.
    pub fn typed_before_cursor(&self) -> &str {
        self.editor.before_cursor()
    }

    /// Puts the typed line into the history and prompts for the next one.
    pub fn next_line(&mut self, out: &mut impl Terminal) {
        self.is_busy = false;
        self.editor.next();
        self.prompt(out);
    }

    /// Inserts text at the cursor.
    pub fn insert(&mut self, text: &str, out: &mut impl Terminal) {
        let _ = text.bytes().all(|byte| self.editor.insert(byte));
        self.prompt(out);
    }

    /// Shows the prompt, if the monitor is open.
    pub(super) fn prompt(&mut self, out: &mut impl Terminal) {
        if self.is_monitor_open && !self.is_busy {
            self.editor.draw(out);
            self.open = Open::Prompt;
        }
    }
}
