use super::{LINE_BYTES, LineEditor, PROMPT, Reply};
use crate::terminal::Terminal;
use std::string::String;
use std::vec::Vec;

/// A terminal that understands what the editor sends: one line of cells.
#[derive(Default)]
struct Screen {
    cells: Vec<u8>,
    column: usize,
    sequence: Option<String>,
}

impl Terminal for Screen {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(sequence) = &mut self.sequence {
                sequence.push(char::from(byte));
                if byte.is_ascii_alphabetic() {
                    let sequence = self.sequence.take().unwrap();
                    match sequence.as_str() {
                        "[K" => self.cells.truncate(self.column),
                        "[2J" => self.cells.clear(),
                        "[H" => self.column = 0,
                        other => {
                            let back = other.strip_prefix('[').unwrap().strip_suffix('D').unwrap();
                            self.column -= back.parse::<usize>().unwrap();
                        }
                    }
                }
                continue;
            }
            match byte {
                b'\r' => self.column = 0,
                0x1b => self.sequence = Some(String::new()),
                0x07 => {}
                _ => {
                    if self.column == self.cells.len() {
                        self.cells.push(0);
                    }
                    self.cells[self.column] = byte;
                    self.column += 1;
                }
            }
        }
    }
}

/// Types, and gives the line, the cursor and the last reply; checks that the screen shows just that.
fn typed(keys: &[u8]) -> (String, usize, Reply) {
    let mut editor = LineEditor::new();
    type_into(&mut editor, keys)
}

fn type_into(editor: &mut LineEditor, keys: &[u8]) -> (String, usize, Reply) {
    let mut screen = Screen::default();
    editor.draw(&mut screen);
    let mut reply = Reply::Nothing;
    for &key in keys {
        reply = editor.key(key, &mut screen);
        if reply == Reply::Run {
            break;
        }
        let shown = String::from_utf8(screen.cells.clone()).unwrap();
        assert_eq!(shown, std::format!("{PROMPT}{}", editor.line()));
        assert_eq!(screen.column, PROMPT.len() + editor.before_cursor().len());
    }
    (editor.line().into(), editor.before_cursor().len(), reply)
}

fn line(keys: &[u8]) -> String {
    typed(keys).0
}

#[test]
fn what_is_typed_is_the_line() {
    assert_eq!(typed(b"stop a"), ("stop a".into(), 6, Reply::Nothing));
    assert_eq!(typed(b"vms\r"), ("vms".into(), 3, Reply::Run));
    assert_eq!(typed(b"vms\n").2, Reply::Run);
}

#[test]
fn keys_move_and_edit() {
    assert_eq!(line(b"vm\x02\x02s"), "svm");
    assert_eq!(line(b"bc\x01a\x05d"), "abcd");
    assert_eq!(line(b"abc\x7f\x08"), "a");
    assert_eq!(line(b"abc\x01\x7f"), "abc", "nothing is before the start");
    assert_eq!(line(b"abc\x01\x04"), "bc");
    assert_eq!(line(b"abc\x02\x02\x0b"), "a");
    assert_eq!(line(b"abc\x02\x15"), "c");
    assert_eq!(line(b"stop a  \x17"), "stop ");
    assert_eq!(line(b"stop\x17"), "");
    assert_eq!(line(b"abc\x03d"), "d");
    assert_eq!(line(b"abc\x0c"), "abc");
    assert_eq!(line(b"a\x00\x1f\xffb"), "ab", "no other byte is text");
}

#[test]
fn cursor_keys_of_either_kind_do_as_the_letters_do() {
    assert_eq!(line(b"ac\x1b[Db"), "abc");
    assert_eq!(line(b"ac\x1bODb"), "abc");
    assert_eq!(line(b"bc\x1b[Ha\x1b[Fd"), "abcd");
    assert_eq!(line(b"bc\x1b[1~a\x1b[4~d"), "abcd");
    assert_eq!(line(b"abc\x1b[D\x1b[3~"), "ab");
    assert_eq!(line(b"ab\x1b[D\x1b[C\x1b[Cc"), "abc");
    assert_eq!(line(b"ac\x1b[1;5Db"), "abc");
    assert_eq!(line(b"a\x1b[99~b\x1b[Zc"), "abc", "unknown sequences are swallowed");
}

#[test]
fn leaving_and_completing_are_the_callers() {
    assert_eq!(typed(b"\x04").2, Reply::Leave);
    assert_eq!(typed(b"a\x04").2, Reply::Nothing);
    assert_eq!(typed(b"abc\x1d").2, Reply::Leave);
    assert_eq!(typed(b"sto\t"), ("sto".into(), 3, Reply::Complete));
}

#[test]
fn a_full_line_takes_no_more() {
    let keys: Vec<u8> = (0..LINE_BYTES + 9).map(|_| b'x').collect();
    assert_eq!(line(&keys).len(), LINE_BYTES);
}

#[test]
fn a_line_feed_after_a_return_is_the_same_key() {
    let mut editor = LineEditor::new();
    assert_eq!(type_into(&mut editor, b"vms\r").2, Reply::Run);
    editor.next();
    assert_eq!(type_into(&mut editor, b"\nstop\n"), ("stop".into(), 4, Reply::Run));
}

#[test]
fn earlier_lines_come_back_and_the_one_being_typed_too() {
    let mut editor = LineEditor::new();
    for text in ["one", "two", "two", "  "] {
        type_into(&mut editor, text.as_bytes());
        editor.next();
    }
    let up = b"\x1b[A";
    assert_eq!(type_into(&mut editor, b"ne").0, "ne");
    assert_eq!(type_into(&mut editor, up).0, "two");
    assert_eq!(type_into(&mut editor, up).0, "one");
    assert_eq!(type_into(&mut editor, up).0, "one", "there is no earlier one");
    assert_eq!(type_into(&mut editor, b"\x1b[B").0, "two");
    assert_eq!(type_into(&mut editor, b"\x0e").0, "ne");
    assert_eq!(type_into(&mut editor, b"\x0e").0, "ne");
    assert_eq!(type_into(&mut editor, b"\x10\x7f").0, "tw", "and can be edited");
}

#[test]
fn the_oldest_lines_are_forgotten() {
    let mut editor = LineEditor::new();
    for n in 0..40 {
        type_into(&mut editor, std::format!("line {n}").as_bytes());
        editor.next();
    }
    for _ in 0..60 {
        type_into(&mut editor, b"\x10");
    }
    assert_eq!(editor.line(), "line 24");
}
