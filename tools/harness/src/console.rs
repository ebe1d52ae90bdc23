//! One UART's bytes as a stream for each VM, and Assay's own lines as events.
//!
//! A prompt has no line end, so bytes are passed on as soon as it is clear whose they are.

use std::collections::BTreeMap;

use crate::events::{Event, PREFIX};

/// What the monitor's prompt begins with, wherever it is drawn.
pub(crate) const PROMPT: &str = "\rassay> ";

/// What ends a VM's line that goes on after its next prefix: no VM can say it.
const CUT: &[u8] = b"\x1b[0C\r\n";

/// What erases the rest of a line: part of each prompt.
const ERASE: &str = "\x1b[K";

/// Whether a console that said `raw` since the monitor was typed to has taken `typed`, and shows its prompt again.
#[must_use]
pub fn is_answered(raw: &[u8], typed: &str) -> bool {
    after(raw, typed).is_some_and(|rest| rest.ends_with(PROMPT))
}

/// Whether it has taken `typed`: what leaves the monitor is followed by no prompt.
#[must_use]
pub fn is_taken(raw: &[u8], typed: &str) -> bool {
    after(raw, typed).is_some()
}

/// What comes after `typed`, which may be drawn in several pieces.
fn after(raw: &[u8], typed: &str) -> Option<String> {
    let text = String::from_utf8_lossy(raw).replace(ERASE, "");
    Some(text.get(text.find(typed)? + typed.len()..)?.to_owned())
}

/// What a console said of late.
#[derive(Debug, Default)]
pub struct News {
    /// By VM; with the name `""` what is nobody's, such as a boot loader's words.
    pub streams: BTreeMap<String, Vec<u8>>,
    /// Assay's own lines.
    pub events: Vec<Event>,
    /// The same as they came.
    pub own: Vec<u8>,
}

/// Splits a console as it comes.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Whose lines those without prefix are: the only VM's, or nobody's.
    only: String,
    streams: BTreeMap<String, Vec<u8>>,
    events: Vec<Event>,
    raw: Vec<u8>,
    own: Vec<u8>,
    line: Line,
}

/// The line under way.
#[derive(Debug)]
enum Line {
    /// Its first bytes: not clear yet whose it is.
    Start(Vec<u8>),
    /// Of this VM.
    Of(String),
    /// Of this VM, after a carriage return, with these bytes of the prefix that may follow it.
    Returned(String, Vec<u8>),
    /// Of this VM, with these bytes of what cuts it, perhaps.
    Cut(String, Vec<u8>),
    /// Assay's own.
    Own(Vec<u8>),
}

impl Default for Line {
    fn default() -> Self {
        Self::Start(Vec::new())
    }
}

impl Splitter {
    /// For the VMs of these names.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let only = if let [only] = names { *only } else { "" };
        let streams = names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        Self { only: only.to_owned(), streams, ..Self::default() }
    }

    /// Takes the next bytes of the UART.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        for byte in bytes {
            self.take(*byte);
        }
    }

    /// What this VM has said so far; nothing for a name that is none.
    #[must_use]
    pub fn stream(&self, name: &str) -> &[u8] {
        self.streams.get(name).map_or(&[], Vec::as_slice)
    }

    /// Assay's own lines so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Everything so far, as it came.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// What has come since this was asked last, and keeps none of it: for who watches a console for days.
    pub fn news(&mut self) -> News {
        self.raw.clear();
        let streams = self.streams.iter_mut().map(|(name, stream)| (name.clone(), std::mem::take(stream)));
        News {
            streams: streams.filter(|(_, stream)| !stream.is_empty()).collect(),
            events: std::mem::take(&mut self.events),
            own: std::mem::take(&mut self.own),
        }
    }

    fn take(&mut self, byte: u8) {
        let ends = byte == b'\n';
        match &mut self.line {
            Line::Of(name) if byte == CUT[0] => self.line = Line::Cut(std::mem::take(name), vec![byte]),
            Line::Of(name) => {
                let stream = self.streams.entry(name.clone()).or_default();
                stream.push(byte);
                if ends {
                    self.line = Line::default();
                } else if byte == b'\r' {
                    self.line = Line::Returned(std::mem::take(name), Vec::new());
                }
            }
            Line::Returned(name, start) => {
                start.push(byte);
                let (name, start) = (std::mem::take(name), std::mem::take(start));
                self.go_on(name, start);
            }
            Line::Cut(name, held) => {
                if CUT[held.len()] != byte {
                    self.streams.entry(name.clone()).or_default().append(held);
                    self.line = Line::Of(std::mem::take(name));
                    return self.take(byte);
                }
                held.push(byte);
                if held == CUT {
                    self.line = Line::default();
                }
            }
            Line::Own(line) => {
                line.push(byte);
                if ends {
                    if let Some(event) = Event::parse(&String::from_utf8_lossy(line)) {
                        self.events.push(event);
                        self.own.append(line);
                    }
                    self.line = Line::default();
                }
            }
            Line::Start(start) => {
                start.push(byte);
                let start = std::mem::take(start);
                self.decide(start, ends);
            }
        }
    }

    /// Whose line starts so? Keeps the bytes while that is open.
    fn decide(&mut self, start: Vec<u8>, ends: bool) {
        let own = PREFIX.as_bytes();
        let prompt = PROMPT.as_bytes();
        if start == own || start == prompt {
            // What is typed at the prompt is no event.
            self.line = Line::Own(start);
        } else if let Some(name) = self.named(&start) {
            // The prefix itself is not the guest's word.
            self.line = Line::Of(name);
        } else if !ends && (own.starts_with(&start) || prompt.starts_with(&start) || self.may_be_named(&start)) {
            self.line = Line::Start(start);
        } else {
            let only = self.only.clone();
            self.streams.entry(only.clone()).or_default().extend_from_slice(&start);
            self.line = if ends { Line::default() } else { Line::Of(only) };
        }
    }

    /// What comes in a VM's line after a carriage return: the prefix again, or a line end.
    fn go_on(&mut self, name: String, start: Vec<u8>) {
        let prefix = format!("[{name}] ");
        if start == prefix.as_bytes() {
            self.line = Line::Of(name);
        } else if prefix.as_bytes().starts_with(&start) {
            self.line = Line::Returned(name, start);
        } else {
            self.line = Line::Of(name);
            start.into_iter().for_each(|byte| self.take(byte));
        }
    }

    /// The VM whose whole prefix this is.
    fn named(&self, start: &[u8]) -> Option<String> {
        let name = start.strip_prefix(b"[")?.strip_suffix(b"] ")?;
        self.streams.keys().find(|known| known.as_bytes() == name).cloned()
    }

    fn may_be_named(&self, start: &[u8]) -> bool {
        self.streams.keys().any(|name| format!("[{name}] ").as_bytes().starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::Splitter;

    fn text<'a>(splitter: &'a Splitter, name: &str) -> &'a str {
        std::str::from_utf8(splitter.stream(name)).unwrap()
    }

    #[test]
    fn lines_go_to_the_vm_that_they_name_and_assays_own_become_events() {
        let mut splitter = Splitter::new(&["a", "b"]);
        splitter.feed(b"assay: boot cpus=2\r\n[a] one\r\n[b] two\r\n[a] three\r\n");
        assert_eq!(text(&splitter, "a"), "one\r\nthree\r\n");
        assert_eq!(text(&splitter, "b"), "two\r\n");
        assert_eq!(splitter.events().len(), 1);
        assert_eq!(splitter.events()[0].get("cpus"), Some("2"));
    }

    #[test]
    fn any_cut_into_pieces_gives_the_same_streams() {
        let whole = b"assay: boot x=1\n[a] asks: yes?\n[ab] [a] not a\n[c] nobody\nassay\n";
        for cut in 0..whole.len() {
            let mut splitter = Splitter::new(&["a", "ab"]);
            splitter.feed(&whole[..cut]);
            splitter.feed(&whole[cut..]);
            assert_eq!(text(&splitter, "a"), "asks: yes?\n");
            assert_eq!(text(&splitter, "ab"), "[a] not a\n");
            assert_eq!(text(&splitter, ""), "[c] nobody\nassay\n");
            assert_eq!(splitter.events().len(), 1);
        }
    }

    #[test]
    fn a_line_that_was_cut_goes_on_where_it_ended() {
        let whole =
            b"[a] one \x1b[0C\r\nassay: boot cpus=1\r\n[b] \x1b[1mx\x1b[m\r\n[a] line\r\n[b] \x1b[0C\r\n[a] \x1b[\r\n";
        for cut in 0..whole.len() {
            let mut splitter = Splitter::new(&["a", "b"]);
            splitter.feed(&whole[..cut]);
            splitter.feed(&whole[cut..]);
            assert_eq!(text(&splitter, "a"), "one line\r\n\x1b[\r\n");
            assert_eq!(text(&splitter, "b"), "\x1b[1mx\x1b[m\r\n");
            assert_eq!(splitter.events().len(), 1);
        }
    }

    #[test]
    fn a_prompt_without_line_end_arrives_at_once() {
        let mut splitter = Splitter::new(&["linux"]);
        splitter.feed(b"[linux] debian:/# ");
        assert_eq!(text(&splitter, "linux"), "debian:/# ");
    }

    #[test]
    fn a_guest_can_not_forge_a_line_of_assays() {
        let mut splitter = Splitter::new(&["linux"]);
        splitter.feed(b"[linux] assay: vm name=linux event=stopped\n[linux] x assay: error\n");
        assert!(splitter.events().is_empty());
    }

    #[test]
    fn a_prefix_after_a_carriage_return_is_no_word_of_the_guests() {
        let mut splitter = Splitter::new(&["a", "b"]);
        splitter.feed(b"[a] 10%\r[a] 20%\r\r[a] 30%\r\n[b] x\r[b] [b] y\n[a] \r\r\nassay: boot x=1\n[a] \r[a] [");
        assert_eq!(text(&splitter, "a"), "10%\r20%\r\r30%\r\n\r\r\n\r[");
        assert_eq!(text(&splitter, "b"), "x\r[b] y\n");
        assert_eq!(splitter.events().len(), 1);
    }

    #[test]
    fn what_is_typed_at_the_monitors_prompt_is_nobodys() {
        let mut splitter = Splitter::new(&["a"]);
        splitter.feed(b"[a] $ \r\n\rassay> \x1b[Kvms\r\nassay: vms name=a\r\n\rassay> \x1b[K\r\n[a] $ ");
        assert_eq!(text(&splitter, "a"), "$ \r\n$ ");
        assert_eq!(splitter.events().len(), 1);
        assert_eq!(splitter.events()[0].kind, "vms");
    }

    #[test]
    fn news_are_told_once_and_lines_under_way_go_on() {
        let mut splitter = Splitter::new(&["a", "b"]);
        splitter.feed(b"firmware\nassay: boot x=1\r\n[a] one\n[b] tw");
        let news = splitter.news();
        let of = |name: &str| news.streams.get(name).map(Vec::as_slice);
        assert_eq!((of("a"), of("b"), of("")), (Some(&b"one\n"[..]), Some(&b"tw"[..]), Some(&b"firmware\n"[..])));
        assert_eq!((news.events.len(), news.own.as_slice()), (1, &b"assay: boot x=1\r\n"[..]));
        splitter.feed(b"o\nassay: er");
        let news = splitter.news();
        assert_eq!((news.streams.len(), news.streams["b"].as_slice(), news.events.len()), (1, &b"o\n"[..], 0));
        splitter.feed(b"ror panic\n");
        assert!(splitter.news().events[0].is_panic());
        assert!(splitter.raw().is_empty());
    }

    #[test]
    fn a_prompt_after_what_was_typed_is_an_answer() {
        let raw = b"v\rassay> \x1b[Kvms\r\nassay: vms name=a\r\n\rassay> \x1b[K";
        assert!(super::is_answered(raw, "vms\r\n") && super::is_answered(raw, ""));
        assert!(super::is_taken(raw, "vms\r\n") && !super::is_taken(raw, "stats\r\n"));
        assert!(!super::is_answered(&raw[..raw.len() - 12], "vms\r\n"));
    }

    #[test]
    fn the_only_vm_needs_no_prefix() {
        let mut splitter = Splitter::new(&["hello"]);
        splitter.feed(b"assay: boot x=1\nhello\n[1.0] as a boot log\nassa");
        assert_eq!(text(&splitter, "hello"), "hello\n[1.0] as a boot log\n");
        splitter.feed(b"ult\n");
        assert!(text(&splitter, "hello").ends_with("assault\n"));
    }
}
