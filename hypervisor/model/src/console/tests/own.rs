//! Assay's own lines: they wait for the end of a VM's, and not for long.

use std::string::String;
use std::vec::Vec;

use super::{Desk, TIMES};
use crate::console::{CHUNK, Console, Prefix, Queue};

#[test]
fn a_line_of_assays_waits_for_the_end_of_an_open_one() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "o");
    desk.own("warning vm=b");
    desk.say(1, "other\n");
    desk.own("vm name=b");
    desk.say(0, "k 10");
    assert_eq!(desk.seen(), "[a] ok 10");
    desk.say(0, "\n");
    assert_eq!(desk.seen(), "\nassay: warning vm=b\r\nassay: vm name=b\r\n[b] other\n");
    desk.wait(TIMES.hold);
    assert_eq!((desk.seen().as_str(), desk.due), ("", None));
}

#[test]
fn a_line_that_never_ends_holds_assays_back_for_a_while_only() {
    let mut desk = Desk::new(1, Prefix::Always);
    desk.say(0, "dots");
    desk.own("one");
    for _ in 0..TIMES.hold {
        desk.wait(1);
        desk.say(0, ".");
    }
    assert_eq!(desk.seen(), "[a] dots.........\x1b[0C\r\nassay: one\r\n[a] .");
}

#[test]
fn a_vm_that_says_more_than_the_terminal_takes_holds_assays_back_for_a_while_only() {
    let mut console = Console::new();
    console.set_vms(["a"].into_iter(), Prefix::Always, TIMES);
    let (mut queue, mut seen) = (Queue::new(), Vec::new());
    let mut said_at = None;
    for now in 0..40 {
        for _ in 0..200 {
            let _ = console.guest(0, b'.', now, &mut queue);
        }
        if now == 5 {
            assert!(console.own(format_args!("one"), now, &mut queue).is_some(), "the line moves");
        }
        let _ = console.tick(now, &mut queue);
        let mut room = 20;
        let _ = queue.drain(now, |bytes| {
            let took = bytes.len().min(room);
            seen.extend_from_slice(&bytes[..took]);
            room -= took;
            took
        });
        if console.held() == 0 && now > 5 {
            said_at = said_at.or(Some(now));
        }
    }
    assert_eq!(said_at, Some(5 + TIMES.hold));
    while !queue.drain(0, |bytes| {
        seen.extend_from_slice(bytes);
        bytes.len()
    }) {}
    assert!(String::from_utf8(seen).unwrap().contains("\x1b[0C\r\nassay: one\r\n[a] ."));
}

#[test]
fn assays_lines_that_find_no_room_to_wait_are_printed_in_their_order() {
    let mut desk = Desk::new(1, Prefix::Always);
    desk.say(0, "open");
    let line = "x".repeat(300);
    for count in 0..4 {
        desk.own(&std::format!("{count} {line}"));
    }
    let own: String = (0..4).map(|count| std::format!("assay: {count} {line}\r\n")).collect();
    assert_eq!(desk.seen(), std::format!("[a] open\x1b[0C\r\n{own}"));
}

#[test]
fn what_waits_of_assays_is_printed_at_an_end_and_before_the_monitor() {
    let mut desk = Desk::new(1, Prefix::Always);
    desk.say(0, "open");
    desk.own("one");
    assert!(desk.console.flush(&mut desk.sink));
    assert_eq!(desk.seen(), "[a] open\x1b[0C\r\nassay: one\r\n");
    desk.say(0, "open");
    desk.own("two");
    desk.open();
    assert_eq!(desk.seen(), "[a] open\x1b[0C\r\nassay: two\r\n\rassay> \x1b[K");
    desk.close(None);
    desk.say(0, "open");
    desk.own("three");
    desk.console.release(&mut desk.sink);
    assert_eq!((desk.seen().as_str(), desk.console.held()), ("\r\n[a] open\x1b[0C\r\nassay: three\r\n", 0));
}

#[test]
fn a_line_of_assays_does_not_cut_what_is_already_known() {
    let mut desk = Desk::new(2, Prefix::Several);
    desk.say(0, "open");
    desk.say(1, &"x".repeat(CHUNK as usize + 10));
    desk.say(1, "\nnext\n");
    desk.wait(TIMES.hold);
    assert!(desk.seen().ends_with('x'), "a chunk");
    desk.own("vm name=b");
    assert_eq!(desk.seen(), "xxxxxxxxxx\nassay: vm name=b\r\n");
    desk.wait(TIMES.hold);
    assert_eq!(desk.seen(), "[b] next\n");
}
