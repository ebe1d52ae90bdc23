use super::{COLUMNS, Line, STRING_BYTES};
use crate::console::{Console, Prefix, Shown, Times};
use crate::terminal::Terminal;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

#[derive(Default)]
struct Sink(Vec<u8>);

impl Terminal for Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// What is sent for a VM `a` that says `bytes`.
fn sent(bytes: &[u8]) -> Vec<u8> {
    let (mut line, mut sink) = (Line::new(), Sink::default());
    bytes.iter().for_each(|byte| line.take(*byte, "a", &mut sink));
    sink.0
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(sent(bytes)).unwrap()
}

#[test]
fn text_tabs_and_line_ends_are_as_before() {
    assert_eq!(text(b"one\r\ntwo\n\n\tthree"), "[a] one\r\n[a] two\n[a] \n[a] \tthree");
    assert_eq!(text("käse €5 🦀\n".as_bytes()), "[a] käse €5 🦀\n");
    assert_eq!(text(b"\r\r\n"), "[a] \r\r\n");
}

#[test]
fn a_carriage_return_brings_the_name_again() {
    assert_eq!(text(b"x\rassay: error\r\n"), "[a] x\r[a] assay: error\r\n");
    assert_eq!(text(b"10%\r20%\r\r30%"), "[a] 10%\r[a] 20%\r\r[a] 30%");
    // The other order of the two is a line end and an empty line's beginning.
    assert_eq!(text(b"one\n\rtwo"), "[a] one\n[a] \r[a] two");
}

#[test]
fn colours_pass_and_end_with_the_line() {
    assert_eq!(text(b"\x1b[1;31mred\x1b[0m on\r\n"), "[a] \x1b[1;31mred\x1b[0m on\r\n");
    assert_eq!(text(b"\x1b[8mhid\r\nden"), "[a] \x1b[8mhid\x1b[m\r\n[a] den");
    assert_eq!(text(b"\x1b[38;2;0;0;0;48;2;0;0;0mx\n"), "[a] \x1b[38;2;0;0;0;48;2;0;0;0mx\x1b[m\n");
    assert_eq!(text(b"\x1b[4:3mx\rassay"), "[a] \x1b[4:3mx\x1b[m\r[a] assay");
}

#[test]
fn every_control_byte_but_the_line_ends_and_the_tab_goes() {
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b)) {
        assert_eq!(sent(&[byte, b'y', b'\n', byte, b'\n']), b"[a] y\n[a] \n", "{byte:#x}");
    }
    // From the second column back to the first, and no further.
    assert_eq!(text(b"y\x08\x08\x08z"), "[a] y\x08z");
    assert_eq!(text(b"\x1b\x1b\n"), "[a] \n", "an escape that nothing follows");
}

#[test]
fn c1_controls_and_bytes_that_are_no_text_are_shown() {
    for byte in 0x80..=0x9f {
        assert_eq!(sent(&[byte, b'm']), format!("[a] <{byte:02x}>m").as_bytes());
        assert_eq!(sent(&[0xc2, byte, b'm']), format!("[a] <c2><{byte:02x}>m").as_bytes());
    }
    // Too long for what it is, a half of a pair, above Unicode, cut off.
    assert_eq!(text(b"\xe0\x80\x9b"), "[a] <e0><80><9b>");
    assert_eq!(text(b"\xc0\x9b"), "[a] <c0><9b>");
    assert_eq!(text(b"\xed\xa0\x80\xf5\xff"), "[a] <ed><a0><80><f5><ff>");
    assert_eq!(text(b"\xe2\x82x\xf0\x9f\n"), "[a] <e2><82>x<f0><9f>\n");
    assert_eq!(text(b"\xc3\xc3\xa9"), "[a] <c3>é");
    assert_eq!(text(b"\xe2\x1b[1mx"), "[a] <e2>\x1b[1mx");
}

#[test]
fn characters_that_end_or_turn_a_line_are_shown() {
    assert_eq!(text("x\u{2028}y".as_bytes()), "[a] x<e2><80><a8>y");
    assert_eq!(text("x\u{202e}y\u{85}".as_bytes()), "[a] x<e2><80><ae>y<c2><85>");
}

#[test]
fn strings_never_reach_the_terminal() {
    for begin in ["]0;", "]52;c;", "P", "X", "^", "_"] {
        let string = format!("\x1b{begin}assay: error\x1b\\x\n");
        assert_eq!(text(string.as_bytes()), "[a] x\n", "{begin}");
    }
    assert_eq!(text(b"\x1b]0;title\x07x"), "[a] x");
    assert_eq!(text(b"\x1b]0;title\nx"), "[a] \n[a] x", "a line end ends all");
    assert_eq!(text(b"\x1b]0;a\x18x"), "[a] x");
    let long = [b"\x1b]", vec![b'.'; STRING_BYTES].as_slice(), b"shown"].concat();
    assert_eq!(text(&long), "[a] shown");
}

#[test]
fn other_sequences_go() {
    for sequence in ["[6n", "[c", "[>c", "[H", "[2J", "[1;1H", "[A", "[3G", "[?25l", "[>4;2m", "[!p", "[1K", "[2 q"] {
        assert_eq!(text(format!("x\x1b{sequence}y").as_bytes()), "[a] xy", "{sequence}");
    }
    for sequence in ["c", "7", "8", "D", "E", "M", "(0", "#8", "%G", " F", "="] {
        assert_eq!(text(format!("x\x1b{sequence}y").as_bytes()), "[a] xy", "{sequence}");
    }
    assert_eq!(text(format!("\x1b[{}mx", "1;".repeat(30)).as_bytes()).find('\x1b'), None, "longer than any colour is");
    assert_eq!(text(b"\x1b[3\x1b[1mx\x1b[4\n"), "[a] \x1b[1mx\x1b[m\n", "one that another cuts off");
}

#[test]
fn a_shell_edits_its_line() {
    // BusyBox: where is the cursor, the prompt, a character taken back, the line drawn anew, a step to the left.
    assert_eq!(text(b"\x1b[6n/ # lx\x08\x1b[Js"), "[a] / # lx\x08\x1b[Ks");
    assert_eq!(text(b"/ # ls\r/ # cd\x1b[J\x1b[2D"), "[a] / # ls\r[a] / # cd\x1b[K\x1b[2D");
    // Readline: characters inserted and deleted.
    assert_eq!(text(b"$ lx\x08\x1b[1@s\x1b[P\x1b[C"), "[a] $ lx\x08\x1b[1@s\x1b[1P\x1b[1C");
    assert_eq!(text(b"ab\x1b[9Dc\x1b[D\x1b[D"), "[a] ab\x1b[2Dc\x1b[1D");
    // Nobody but Assay says that a line was cut.
    assert_eq!(text(b"a\x1b[0C\x1b[00C\x1b[C"), "[a] a\x1b[1C\x1b[1C\x1b[1C");
}

#[test]
fn an_interruption_takes_the_looks_and_the_way_back() {
    let (mut line, mut sink) = (Line::new(), Sink::default());
    let mut say = |line: &mut Line, bytes: &[u8]| {
        bytes.iter().for_each(|byte| line.take(*byte, "a", &mut sink));
        line.leave(&mut sink);
        sink.write(b"|");
    };
    say(&mut line, b"\x1b[7mab\x1b[");
    say(&mut line, b"1mc\x08\x08\xc3");
    say(&mut line, b"\xa9");
    assert_eq!(
        String::from_utf8(sink.0).unwrap(),
        "[a] \x1b[7mab\x1b[m\x1b[0C|[a] \x1b[1mc\x08\x1b[m\x1b[0C|[a] é\x1b[0C|"
    );
}

/// A terminal as the VT100 and its children are, as far as what passes goes: anything else panics.
struct Screen {
    columns: usize,
    wraps: bool,
    /// Each row's cells, and whether it continues the one above.
    rows: Vec<(Vec<char>, bool)>,
    column: usize,
    /// The last column is written, and the next character begins a row.
    is_full: bool,
}

impl Screen {
    fn new(columns: usize, wraps: bool) -> Self {
        Self { columns, wraps, rows: vec![(vec![' '; columns], false)], column: 0, is_full: false }
    }

    fn row(&mut self) -> &mut Vec<char> {
        &mut self.rows.last_mut().unwrap().0
    }

    fn put(&mut self, character: char) {
        if core::mem::take(&mut self.is_full) {
            self.rows.push((vec![' '; self.columns], true));
            self.column = 0;
        }
        let column = self.column;
        self.row()[column] = character;
        self.is_full = self.wraps && column + 1 == self.columns;
        self.column = (column + 1).min(self.columns - 1);
    }

    fn show(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\n' => {
                    // Lines that end without a carriage return: the terminal's driver adds it.
                    self.rows.push((vec![' '; self.columns], false));
                    (self.column, self.is_full) = (0, false);
                }
                '\r' => (self.column, self.is_full) = (0, false),
                '\x08' => (self.column, self.is_full) = (self.column.saturating_sub(1), false),
                '\t' => self.column = (self.column / 8 * 8 + 8).min(self.columns - 1),
                '\x1b' => {
                    assert_eq!(rest.next(), Some('['));
                    let is_parameter = |c: &char| c.is_ascii_digit() || matches!(c, ':' | ';');
                    let parameters: String = rest.clone().take_while(is_parameter).collect();
                    let end = rest.nth(parameters.len()).unwrap();
                    self.sequence(&parameters, end);
                }
                _ => {
                    assert!(!character.is_control(), "{character:?}");
                    self.put(character);
                }
            }
        }
    }

    fn sequence(&mut self, parameters: &str, end: char) {
        let (column, last) = (self.column, self.columns - 1);
        let count = || parameters.parse::<usize>().unwrap().clamp(1, self.columns);
        match end {
            'm' => return,
            'K' => self.row()[column..].fill(' '),
            'C' => self.column = (column + count()).min(last),
            'D' => self.column = column.saturating_sub(count()),
            '@' => {
                let count = count();
                self.row().splice(column..column, vec![' '; count]);
                let columns = self.columns;
                self.row().truncate(columns);
            }
            'P' => {
                let count = count().min(self.columns - column);
                self.row().drain(column..column + count);
                let columns = self.columns;
                self.row().resize(columns, ' ');
            }
            _ => panic!("{end}"),
        }
        self.is_full = false;
    }
}

#[test]
fn a_cursor_at_the_right_edge_does_not_lead_back_to_the_name() {
    for (there, back) in [(".", "\x08"), ("\t", "\x08"), ("\x1b[99C", "\x1b[99D")] {
        for wraps in [false, true] {
            let mut screen = Screen::new(COLUMNS, wraps);
            screen.show(&text(format!("{}{}assay: error", there.repeat(76), back.repeat(200)).as_bytes()));
            let (cells, _) = &screen.rows[0];
            assert!(cells.starts_with(&['[', 'a', ']', ' ']), "{there:?} {wraps}");
        }
    }
}

/// What an evil VM says: pieces that move the cursor, and any bytes.
fn evil() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (0..0x20u8).prop_map(|byte| vec![byte]),
        (0x80..0xa0u8).prop_map(|byte| vec![0xc2, byte]),
        (1..12usize).prop_map(|count| vec![0x08; count]),
        (1..100usize).prop_map(|count| vec![b'.'; count]),
        ("[0-9;:?<> ]{0,5}[@-~]").prop_map(|rest| format!("\x1b[{rest}").into_bytes()),
        ("[0-9]{0,3}[CDGPK@mXHABJ]").prop_map(|rest| format!("\x1b[{rest}").into_bytes()),
        ("[ -~]{1,3}").prop_map(|rest| format!("\x1b{rest}").into_bytes()),
        Just("日é\u{202e}\u{2028}".as_bytes().to_vec()),
        Just(b"\x1b]52;c;YXNzYXk6\x07".to_vec()),
        Just(b"assay: vm name=b event=crashed".to_vec()),
        Just(b"\r[b] hello".to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Nothing that a VM says stands at a place where a line's beginning is read: on a terminal (wide characters
    /// and the rows that a long line goes on in aside), or for a reader that ends lines at any control byte.
    #[test]
    fn no_vm_reaches_the_beginning_of_a_line(
        said in proptest::collection::vec((0..2usize, evil(), 0..5u8), 1..6),
        columns in COLUMNS..120,
        wraps: bool,
    ) {
        let mut console = Console::new();
        console.set_vms(["a", "longer"].into_iter(), Prefix::Several, Times { hold: 10, pace: 1 });
        let mut sink = Sink::default();
        for (vm, bytes, own) in said {
            bytes.iter().for_each(|byte| { let _ = console.guest(vm, *byte, 0, &mut sink); });
            match own {
                // One waits for the end of an open line, one cuts it.
                0 => drop(console.own(format_args!("boot"), 0, &mut sink)),
                4 => drop(console.own(format_args!("boot"), 10, &mut sink)),
                1 => {
                    console.open_monitor(&mut sink);
                    console.show_only(Shown::All);
                    // Its prompt is drawn by Assay alone: not a VM's matter.
                    sink.0.truncate(sink.0.len() - b"\rassay> \x1b[K".len());
                    let _ = console.close_monitor(Some(vm), 0, &mut sink);
                }
                _ => assert!(console.flush(&mut sink)),
            }
        }
        console.flush(&mut sink);
        let text = String::from_utf8(sink.0).expect("UTF-8");
        let begins = ["[a] ", "[longer] ", "assay: boot"];
        let is_good = |line: &str| line.trim().is_empty() || begins.iter().any(|begin| line.starts_with(begin));
        // The mark of a cut after a carriage return begins no line: a line end follows it.
        for line in text.replace("\x1b[0C\r\n", "\r\n").split(|c: char| c.is_control() && c != '\t' && c != '\x1b' && c != '\x08') {
            prop_assert!(is_good(line), "{line:?} in {text:?}");
        }
        let mut screen = Screen::new(columns, wraps);
        screen.show(&text);
        for (cells, _) in screen.rows.iter().filter(|(_, continues)| !continues) {
            let line: String = cells.iter().collect();
            prop_assert!(is_good(&line), "{line:?} in {text:?}");
        }
    }
}
