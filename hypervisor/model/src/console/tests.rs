//! Who writes on the terminal when.

mod own;

use super::{CHUNK, Console, Prefix, QUEUE_BYTES, Queue, RING_BYTES, Ring, Shown, Times};
use crate::line_editor::Reply;
use crate::terminal::Terminal;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

#[derive(Default)]
struct Sink(Vec<u8>);

impl Terminal for Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

const TIMES: Times = Times { hold: 10, pace: 1 };
const NAMES: [&str; 3] = ["a", "b", "c"];

struct Desk {
    console: Console,
    sink: Sink,
    now: u64,
    due: Option<u64>,
}

impl Desk {
    fn new(vms: usize, prefix: Prefix) -> Self {
        let mut console = Console::new();
        let names: Vec<&'static str> = NAMES.into_iter().take(vms).collect();
        console.set_vms(names.into_iter(), prefix, TIMES);
        Self { console, sink: Sink::default(), now: 0, due: None }
    }

    fn ask(&mut self, deadline: Option<u64>) {
        let known = self.due.into_iter().chain(deadline).min();
        self.due = known;
    }

    fn say(&mut self, vm: usize, text: &str) {
        for byte in text.bytes() {
            let due = self.console.guest(vm, byte, self.now, &mut self.sink);
            self.ask(due);
        }
    }

    /// Lets time pass, with ticks when they were asked for.
    fn wait(&mut self, ticks: u64) {
        let end = self.now + ticks;
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.due = self.console.tick(self.now, &mut self.sink);
        }
        self.now = end;
    }

    /// What was printed since the last look.
    fn seen(&mut self) -> String {
        String::from_utf8(core::mem::take(&mut self.sink.0)).unwrap()
    }

    fn own(&mut self, text: &str) {
        let due = self.console.own(format_args!("{text}"), self.now, &mut self.sink);
        self.ask(due);
    }

    fn open(&mut self) {
        self.console.open_monitor(&mut self.sink);
    }

    fn close(&mut self, listener: Option<usize>) {
        let due = self.console.close_monitor(listener, self.now, &mut self.sink);
        self.ask(due);
    }
}

#[test]
fn one_vm_and_a_person_see_bytes_as_they_come() {
    let mut desk = Desk::new(1, Prefix::Never);
    desk.say(0, "login: ");
    assert_eq!(desk.seen(), "login: ");
    desk.own("vm name=a");
    desk.wait(TIMES.hold);
    assert_eq!(desk.seen(), "\r\nassay: vm name=a\r\n");
    desk.say(0, "x\r\ny");
    assert_eq!(desk.seen(), "x\r\ny");
}

#[test]
fn with_several_vms_each_line_has_its_name() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "one\r\n");
    desk.say(1, "two\r\nthree");
    assert_eq!(desk.seen(), "[a] one\r\n[b] two\r\n[b] three");
    desk.wait(TIMES.hold);
    desk.own("boot");
    desk.say(1, "!\n");
    assert_eq!(desk.seen(), "\x1b[0C\r\nassay: boot\r\n[b] !\n");
}

#[test]
fn lines_that_are_written_at_once_are_not_cut() {
    let mut desk = Desk::new(2, Prefix::Several);
    for (x, y) in "hello world\n".chars().zip("other words\n".chars()) {
        desk.say(0, x.encode_utf8(&mut [0; 4]));
        desk.say(1, y.encode_utf8(&mut [0; 4]));
    }
    assert_eq!(desk.seen(), "[a] hello world\n[b] other words\n");
}

#[test]
fn a_prompt_appears_at_once_and_gives_way_when_it_stands_still() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "$ ");
    assert_eq!(desk.seen(), "[a] $ ");
    desk.say(1, "news\n> ");
    assert_eq!(desk.seen(), "", "the line may go on");
    desk.wait(TIMES.hold - 1);
    assert_eq!(desk.seen(), "");
    desk.wait(1);
    assert_eq!(desk.seen(), "\x1b[0C\r\n[b] news\n[b] > ");
    desk.say(0, "ls\n");
    desk.wait(TIMES.hold);
    assert_eq!(desk.seen(), "\x1b[0C\r\n[a] ls\n");
}

#[test]
fn a_line_that_goes_on_keeps_the_terminal() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "slow");
    desk.say(1, "waits\n");
    for _ in 0..5 {
        desk.wait(TIMES.hold - 1);
        desk.say(0, ".");
    }
    desk.say(0, "\n");
    assert_eq!(desk.seen(), "[a] slow.....\n[b] waits\n");
}

#[test]
fn half_a_ring_waits_for_nobody() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "open");
    let line = "0123456789abcde\n";
    for _ in 0..=RING_BYTES / 2 / line.len() {
        desk.say(1, line);
    }
    assert!(desk.seen().starts_with("[a] open\x1b[0C\r\n[b] 0123"));
}

#[test]
fn one_call_shows_a_chunk_and_asks_to_come_again() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.console.show_only(Shown::One(0));
    desk.say(1, &"x".repeat(1000));
    assert_eq!(desk.seen(), "");
    desk.console.show_only(Shown::All);
    desk.due = desk.console.tick(0, &mut desk.sink);
    assert_eq!(desk.seen().len(), "[b] ".len() + CHUNK as usize);
    assert_eq!(desk.due, Some(TIMES.pace));
    desk.wait(1000);
    assert_eq!(desk.seen().len(), 1000 - CHUNK as usize);
    assert_eq!(desk.due, None);
}

#[test]
fn a_vm_that_is_shown_alone_has_no_prefix_unless_a_script_reads() {
    for (prefix, seen) in [(Prefix::Several, "one\n"), (Prefix::Always, "[a] one\n")] {
        let mut desk = Desk::new(2, prefix);
        desk.console.show_only(Shown::One(0));
        desk.say(1, "hidden\n");
        desk.say(0, "one\n");
        assert_eq!(desk.seen(), seen);
        desk.console.show_only(Shown::One(1));
        desk.wait(0);
        desk.due = desk.console.tick(0, &mut desk.sink);
        assert!(desk.seen().ends_with("hidden\n"), "it is shown when its VM is");
    }
}

#[test]
fn while_the_monitor_is_open_guests_are_kept_and_shown_after_it() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "$ ");
    desk.open();
    assert_eq!(desk.seen(), "[a] $ \x1b[0C\r\n\rassay> \x1b[K");
    desk.say(0, "kept\n$ ");
    desk.say(1, "too\n");
    desk.wait(100);
    desk.console.key(b'v', &mut desk.sink);
    desk.own("vm name=b");
    assert_eq!(desk.seen(), "v\r\nassay: vm name=b\r\n\rassay> v\x1b[K");
    desk.close(Some(0));
    desk.wait(100);
    assert_eq!(desk.seen(), "\r\n[a] $ kept\n[b] too\n[a] $ ", "the listener's open line is shown again");
}

#[test]
fn a_command_is_typed_and_the_next_prompt_follows() {
    let mut desk = Desk::new(1, Prefix::Never);
    desk.open();
    desk.seen();
    for byte in b"vms" {
        desk.console.key(*byte, &mut desk.sink);
    }
    assert_eq!(desk.console.key(b'\r', &mut desk.sink), Reply::Run);
    assert_eq!(desk.console.typed(), "vms");
    desk.own("vms name=a");
    desk.own("vms name=b");
    desk.console.next_line(&mut desk.sink);
    assert_eq!(desk.console.typed(), "");
    assert_eq!(
        desk.seen(),
        "vms\r\nassay: vms name=a\r\nassay: vms name=b\r\n\rassay> \x1b[K",
        "no prompt before the command is done"
    );
    desk.console.insert("stop", &mut desk.sink);
    assert_eq!(desk.console.typed_before_cursor(), "stop");
}

#[test]
fn what_is_overwritten_is_counted_and_told() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.open();
    desk.say(1, &"0123456789abcde\n".repeat(RING_BYTES / 16 + 2));
    desk.seen();
    desk.close(None);
    desk.wait(10_000);
    let seen = desk.seen();
    let first = "\r\nassay: warning vm=b reason=\"32 bytes of its output were not shown in time and are lost\"\r\n";
    assert!(seen.starts_with(first), "{}", &seen[..120]);
    assert_eq!(seen.matches("[b] 0123456789abcde\n").count(), RING_BYTES / 16);
}

#[test]
fn at_the_end_everything_is_shown() {
    let mut desk = Desk::new(3, Prefix::Several);
    desk.say(0, "open");
    desk.say(1, &"line\n".repeat(50));
    desk.say(2, "no end");
    desk.console.flush(&mut desk.sink);
    let seen = desk.seen();
    assert_eq!(seen.matches("[b] line\n").count(), 50);
    assert!(seen.contains("[c] no end"));
}

#[test]
fn many_vms_share_the_memory_of_the_rings() {
    let mut console = Console::new();
    console.set_vms(core::iter::repeat_n("x", 64), Prefix::Several, TIMES);
    let mut sink = Sink::default();
    console.open_monitor(&mut sink);
    for _ in 0..5000 {
        console.guest(63, b'#', 0, &mut sink);
    }
    sink.0.clear();
    console.close_monitor(None, 0, &mut sink);
    console.flush(&mut sink);
    let kept = sink.0.iter().filter(|byte| **byte == b'#').count();
    assert_eq!(kept, 2048);
}

#[test]
fn a_line_is_rewound_to_its_beginning_and_not_further() {
    let mut ring = Ring::new(64);
    "done\nprompt> ".bytes().for_each(|byte| ring.push(byte));
    while ring.take().is_some() {}
    ring.rewind_line(256);
    assert_eq!(ring.waiting(), "prompt> ".len());
    while ring.take().is_some() {}
    ring.rewind_line(3);
    assert_eq!(ring.waiting(), 3);
    let mut new = Ring::new(64);
    new.rewind_line(256);
    assert_eq!(new.waiting(), 0);
}

#[test]
fn the_count_of_those_that_wait_is_that_of_the_rings() {
    let mut console = Desk::new(3, Prefix::Several).console;
    let mut sink = Sink::default();
    let count = |console: &Console| console.outputs.iter().filter(|output| output.ring.waiting() != 0).count();
    for (step, byte) in b"one\ntwo\x1b[31mthree\n".iter().cycle().take(3000).enumerate() {
        match step % 97 {
            13 => console.open_monitor(&mut sink),
            50 => drop(console.close_monitor(Some(step % 3), 0, &mut sink)),
            60 => console.show_only(Shown::One(step % 3)),
            80 => console.show_only(Shown::All),
            _ => drop(console.guest(step / 5 % 3, *byte, 0, &mut sink)),
        }
        assert_eq!(console.waiting, count(&console), "after step {step}");
    }
    console.show_only(Shown::All);
    assert!(console.flush(&mut sink));
    assert_eq!(console.waiting, 0);
}

proptest! {
    /// Whoever writes what and when, with lines of Assay's between: each VM's stream, put together from the lines
    /// with its name, is what it wrote, but for the marks and line ends where it was interrupted.
    #[test]
    fn no_byte_is_lost_doubled_or_given_to_another(
        steps in proptest::collection::vec((0..3usize, "[a-z]{0,6}\n?", 0..15u64, 0..12u8), 0..60)
    ) {
        let mut desk = Desk::new(3, Prefix::Several);
        let mut said: BTreeMap<usize, String> = BTreeMap::new();
        for (vm, text, pause, own) in steps {
            desk.say(vm, &text);
            said.entry(vm).or_default().push_str(&text);
            if own == 0 {
                desk.own("boot");
            }
            desk.wait(pause);
        }
        desk.wait(1000);
        prop_assert_eq!(desk.due, None);
        let seen = desk.seen();
        let mut heard: BTreeMap<usize, String> = BTreeMap::new();
        for line in seen.split_inclusive('\n') {
            if line.starts_with("assay: ") {
                continue;
            }
            let vm = NAMES.iter().position(|name| line.starts_with(&std::format!("[{name}] ")));
            prop_assert!(vm.is_some(), "whose is {line:?}?");
            let text = line[4..].strip_suffix("\x1b[0C\r\n").unwrap_or(&line[4..]);
            heard.entry(vm.unwrap()).or_default().push_str(text);
        }
        said.retain(|_, text| !text.is_empty());
        prop_assert_eq!(heard, said);
    }
}

#[test]
fn a_slow_terminal_gets_all_of_it_and_holds_nobody_before_half_a_ring_waits() {
    let mut console = Console::new();
    console.set_vms(NAMES.into_iter(), Prefix::Several, TIMES);
    let mut queue = Queue::new();
    let text = "0123456789abcdef0123456789abcde\n".repeat(96);
    let mut due = None;
    for byte in text.bytes() {
        due = console.guest(0, byte, 0, &mut queue);
    }
    assert!(!console.is_behind(0) && due.is_some(), "3 KiB of 16 are in its ring");
    assert!(queue.room() >= QUEUE_BYTES / 2, "half is for lines of Assay's own");
    assert_eq!(console.own(format_args!("there is room for one"), TIMES.hold, &mut queue), None);
    // The terminal takes 16 bytes a tick.
    let (mut seen, mut now) = (Vec::new(), TIMES.hold);
    while !queue.is_empty() || due.is_some() {
        now += 1;
        due = console.tick(now, &mut queue);
        let mut room = 16;
        let _ = queue.drain(now, |bytes| {
            let took = bytes.len().min(room);
            seen.extend_from_slice(&bytes[..took]);
            room -= took;
            took
        });
    }
    assert_eq!(queue.take_lost(), 0);
    let seen = String::from_utf8(seen).unwrap();
    let own = "assay: there is room for one\r\n";
    assert_eq!(seen.matches(own).count(), 1);
    let mut rest = seen.replace(&std::format!("\x1b[0C\r\n{own}[a] "), "").replace(own, "");
    rest = rest.replace("[a] ", "");
    assert_eq!(rest, text);
}

#[test]
fn who_is_shown_and_has_half_a_ring_waiting_is_behind() {
    let mut desk = Desk::new(1, Prefix::Never);
    desk.open();
    desk.say(0, &"x".repeat(RING_BYTES / 2 + 1));
    assert!(!desk.console.is_behind(0), "nobody waits for the monitor");
    desk.close(None);
    assert!(!desk.console.is_behind(0), "a part of it is shown at once");
    desk.say(0, "");
    let mut queue = Queue::new();
    for _ in 0..RING_BYTES {
        let _ = desk.console.guest(0, b'x', 0, &mut queue);
    }
    assert!(desk.console.is_behind(0));
}
