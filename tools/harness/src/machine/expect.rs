//! Waiting for a VM's words, and knowing when they can't come any more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::{Machine, last_lines};
use crate::console::Splitter;
use crate::error::{Error, Kind, Result};
use crate::events::Event;

/// What Linux says when it gives up.
pub(super) const PANIC: &str = "Kernel panic";
/// A VM's last words may come after the line that tells of its end, and a panic's reason after its first words: what
/// is waited for can't come any more once the VM has been quiet for this long.
const QUIET: Duration = Duration::from_millis(500);

/// One wait.
pub(super) struct Wait<'a> {
    /// Which VM's words.
    pub(super) index: usize,
    /// Where in its stream they may begin.
    pub(super) from: usize,
    /// What they are, for the error.
    pub(super) what: &'a str,
    pub(super) limit: Duration,
    /// Whether a kernel's panic ends the wait.
    pub(super) panics: bool,
}

/// What a look at the console shows.
enum Seen<T> {
    Words(T),
    /// They can't come: why, and how long the VM's stream was then.
    End(String, usize),
}

impl Machine {
    /// Waits until the VM has said `what`, after all that was expected before, and gives what came up to
    /// its end.
    ///
    /// # Errors
    /// It didn't within `limit`; or it can't any more, which ends the wait at once: the VM was refused, has stopped,
    /// has crashed without a restart, or its kernel panicked; Assay panicked, or the machine ended. The message shows
    /// the end of the VM's output and of the console. A panic or an end that was expected before doesn't count.
    pub fn expect(&mut self, vm: &str, what: &str, limit: Duration) -> Result<String> {
        let index = self.index(vm)?;
        let from = self.read[index];
        let search = Search::new(what, from);
        let wait = Wait { index, from, what: &format!("{what:?}"), limit, panics: true };
        let end = self.await_words(&wait, |stream| search.end(stream))?;
        self.read[index] = end;
        let text = self.feed.look(|console| String::from_utf8_lossy(&console.stream(vm)[from..end]).into_owned());
        Ok(text)
    }

    /// Waits until `find` finds something in the VM's stream.
    pub(super) fn await_words<T>(&self, wait: &Wait<'_>, find: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + wait.limit;
        let panic = Search::new(PANIC, wait.from);
        let look = |console: &Splitter| {
            let stream = console.stream(&self.names[wait.index]);
            let words = find(stream).map(Seen::Words);
            words.or_else(|| Some(Seen::End(self.end(console, wait, &panic)?, stream.len())))
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (why, length) = match self.feed.wait(left, look) {
                Some(Seen::Words(found)) => return Ok(found),
                Some(Seen::End(why, length)) => (why, length),
                None => {
                    let (kind, why) = self.why_nothing();
                    return Err(self.lost(wait, kind, why));
                }
            };
            // It goes on if the VM says more or lives again.
            let goes_on = |console: &Splitter| match look(console) {
                Some(Seen::End(_, now)) if now == length => None,
                _ => Some(()),
            };
            if self.feed.wait(QUIET.min(left), goes_on).is_none() {
                return Err(self.lost(wait, Kind::Ended, &why));
            }
        }
    }

    /// Why the VM says no more, if so.
    fn end(&self, console: &Splitter, wait: &Wait<'_>, panic: &Search) -> Option<String> {
        let has_panicked = wait.panics && panic.end(console.stream(&self.names[wait.index])).is_some();
        let panicked = has_panicked.then(|| "its kernel panicked".to_owned());
        panicked.or_else(|| end_of(console.events(), self.ends_seen[wait.index], &self.names[wait.index]))
    }

    /// Why a wait has found nothing.
    pub(super) fn why_nothing(&self) -> (Kind, &'static str) {
        if self.events().iter().any(Event::is_panic) {
            (Kind::Ended, "Assay panicked")
        } else if self.feed.ended() {
            (Kind::Ended, "the machine ended")
        } else {
            (Kind::TimedOut, "it didn't come in time")
        }
    }

    fn lost(&self, wait: &Wait<'_>, kind: Kind, why: &str) -> Error {
        let Wait { index, what, limit, .. } = wait;
        let vm = &self.names[*index];
        let said = self.output(vm);
        let said = last_lines(&said);
        let tail = self.tail();
        let what = format!("expected {what} from {vm}, but {why} ({limit:?})");
        kind.error(anyhow!("{what}. {vm}'s end:\n{said}\nThe console's end:\n{tail}"))
    }

    /// The caller knows of the end that `event` tells of, if it does: the VM may live again.
    pub(super) fn has_seen(&mut self, event: &Event, events: usize) {
        let vm = event.get("name").or_else(|| event.get("vm"));
        if let Some(index) = self.names.iter().position(|name| Some(name.as_str()) == vm) {
            self.ends_seen[index] = events;
        }
    }
}

/// Why `vm` says no more, by the last of Assay's lines about its life, if that is not among the first `seen`.
fn end_of(events: &[Event], seen: usize, vm: &str) -> Option<String> {
    let is_its = |event: &&Event| match event.kind.as_str() {
        "vm" => event.get("name") == Some(vm),
        "refused" => event.get("vm") == Some(vm),
        _ => false,
    };
    let last = events.get(seen..)?.iter().rfind(is_its)?;
    if last.kind == "refused" {
        return Some(format!("it was refused: {}", last.get("reason").unwrap_or("no reason given")));
    }
    let cause = last.get("cause").unwrap_or("no cause given");
    // `waiting` and `restarted` follow a crash that is not the end.
    match last.get("event") {
        Some("crashed") => Some(format!("it has crashed: {cause}")),
        Some("stopped") => Some(format!("it has stopped: {cause}")),
        _ => None,
    }
}

/// Looks for a text in one that grows, and at each part of it once.
pub(super) struct Search {
    what: Vec<u8>,
    /// Nothing begins before this.
    at: Cell<usize>,
}

impl Search {
    pub(super) fn new(what: &str, from: usize) -> Self {
        Self { what: what.as_bytes().to_vec(), at: Cell::new(from) }
    }

    /// The end of the first occurrence.
    pub(super) fn end(&self, text: &[u8]) -> Option<usize> {
        let from = self.at.get();
        let rest = text.get(from..)?;
        let length = self.what.len();
        if length == 0 {
            return Some(from);
        }
        let found = rest.windows(length).position(|window| window == self.what);
        let none = (rest.len() + 1).saturating_sub(length);
        self.at.set(from + found.unwrap_or(none));
        found.map(|at| from + at + length)
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Search, end_of};

    #[test]
    fn a_text_is_found_only_after_what_was_read() {
        assert_eq!(Search::new("ok", 0).end(b"ok ok"), Some(2));
        assert_eq!(Search::new("ok", 2).end(b"ok ok"), Some(5));
        assert_eq!(Search::new("ok", 4).end(b"ok ok"), None);
        assert_eq!(Search::new("ok", 7).end(b"o"), None);
    }

    #[test]
    fn a_text_that_comes_in_pieces_is_found() {
        let whole = b"xx okay";
        for cut in 0..=whole.len() {
            let search = Search::new("okay", 1);
            let early = search.end(&whole[..cut]);
            assert_eq!(early.is_some(), cut == whole.len(), "{cut}");
            assert_eq!(search.end(whole), Some(7), "{cut}");
            assert_eq!(search.end(whole), Some(7), "found twice, after {cut}");
        }
    }

    fn end(lines: &[&str], seen: usize) -> Option<String> {
        let events: Vec<Event> = lines.iter().map(|line| Event::parse(line).unwrap()).collect();
        end_of(&events, seen, "a")
    }

    #[test]
    fn a_vm_that_was_refused_stopped_or_crashed_says_no_more() {
        let end = |line: &str| end(&["assay: vm name=a event=started", line], 0).unwrap_or_default();
        assert!(end("assay: refused vm=a region=- rule=V2 reason=\"no room\"").contains("no room"));
        assert!(end("assay: vm name=a event=stopped cause=poweroff").contains("poweroff"));
        assert!(end("assay: vm name=a event=crashed cause=serror").contains("serror"));
    }

    #[test]
    fn a_vm_that_is_restarted_or_is_another_may_say_more() {
        let crashed = "assay: vm name=a event=crashed cause=serror";
        assert_eq!(end(&[crashed, "assay: vm name=a event=restarted cause=serror"], 0), None);
        assert_eq!(end(&[crashed, "assay: vm name=a event=waiting restart=2 ms=100"], 0), None);
        assert_eq!(end(&["assay: vm name=b event=crashed cause=serror", "assay: refused vm=b reason=x"], 0), None);
        // Seen before.
        assert_eq!(end(&[crashed], 1), None);
    }
}
