//! Commands at a guest's shell, each between two marks of its own.
//!
//! A prompt says nothing of whose it is: one may stand there from before, and a terminal draws it anew whenever a line
//! is edited or wraps. So the marks tell where a command's output starts and ends, and the prompt is only read over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Machine;
use super::expect::{PANIC, Search, Wait};
use crate::error::Result;

/// The terminal's width at a guest, in columns: what programs print for people isn't cut or folded at 80.
const COLUMNS: u32 = 1000;

/// And its height, which few consoles know: programs that ask for the size want both.
const ROWS: u32 = 24;

/// Makes each command's marks differ.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it printed: lines that end with `\n`, the last without.
    pub text: String,
    /// Its exit status.
    pub status: u32,
}

impl Machine {
    /// Types a command at a shell and gives what it printed. [`Machine::run`] gives its exit status too.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn shell(&mut self, vm: &str, command: &str, prompt: &str, limit: Duration) -> Result<String> {
        self.run(vm, command, prompt, limit).map(|output| output.text)
    }

    /// Types a command at a POSIX shell that waits for one, and gives what it printed and its exit status, whichever
    /// that is. Its echo and the next prompt are not part of it. The terminal becomes 1000 columns wide.
    ///
    /// # Errors
    /// As [`Machine::expect`]: it doesn't end or the prompt doesn't come within `limit`, or the VM ends.
    pub fn run(&mut self, vm: &str, command: &str, prompt: &str, limit: Duration) -> Result<Output> {
        let index = self.index(vm)?;
        // All that came before is not this command's.
        let from = self.feed.look(|console| console.stream(vm).len());
        let marks = Marks::new(NEXT.fetch_add(1, Ordering::Relaxed), from);
        self.send(vm, &marks.line(command))?;
        // A command that is about panics shows the word in its echo.
        let panics = !command.contains(PANIC);
        let wait = Wait { index, from, what: &format!("the end of {command:?}"), limit, panics };
        let (output, end) = self.await_words(&wait, |stream| marks.output(stream))?;
        self.read[index] = end;
        self.expect(vm, prompt, limit)?;
        Ok(output)
    }
}

/// What stands before and after a command's output.
struct Marks {
    number: u32,
    begin: Search,
    end: Search,
}

impl Marks {
    fn new(number: u32, from: usize) -> Self {
        let search = |end: char| Search::new(&format!("@{number}{end} "), from);
        Self { number, begin: search('b'), end: search('e') }
    }

    /// What is typed. Neither its echo nor a trace of it has the marks as they are printed. `command eval` runs it in
    /// the shell itself, and goes on where it is no command.
    fn line(&self, command: &str) -> String {
        let number = self.number;
        let quoted = command.replace('\'', "'\\''");
        format!(
            "stty rows {ROWS} cols {COLUMNS} 2>/dev/null; printf '@%s \\n' {number}b; command eval '{quoted}'; \
             printf '@%s %s \\n' {number}e $?\n"
        )
    }

    /// What is between the marks, and the place after the second, once it is there.
    fn output(&self, stream: &[u8]) -> Option<(Output, usize)> {
        let begin = self.begin.end(stream)?;
        let end = self.end.end(stream)?;
        let rest = stream.get(end..)?;
        let digits = rest.iter().position(|byte| *byte == b' ')?;
        let status = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let mark = format!("@{}e ", self.number).len();
        let text = String::from_utf8_lossy(stream.get(begin..end - mark)?).into_owned();
        let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
        // The rest of the first mark's line.
        lines.next();
        let text = lines.collect::<Vec<_>>().join("\n");
        Some((Output { text, status }, end + digits))
    }
}

#[cfg(test)]
mod tests {
    use super::{Marks, Output};

    /// The output and what is left after it.
    fn parse(stream: &str) -> Option<(Output, &str)> {
        let (output, end) = Marks::new(7, 0).output(stream.as_bytes())?;
        Some((output, &stream[end..]))
    }

    fn ok(text: &str, status: u32) -> Output {
        Output { text: text.to_owned(), status }
    }

    #[test]
    fn what_is_between_the_marks_is_the_output() {
        let (output, rest) = parse("# echo\r\n@7b \r\none\r\n two \r\n@7e 0 \r\n# ").unwrap();
        assert_eq!((output, rest), (ok("one\n two ", 0), " \r\n# "));
        assert_eq!(parse("@7b \r\n@7e 127 \r\n").unwrap().0, ok("", 127));
        // The last line has no end, or the only one is empty.
        assert_eq!(parse("@7b \r\n1\r\n2@7e 1 \r\n").unwrap().0, ok("1\n2", 1));
        assert_eq!(parse("@7b \r\n\r\n@7e 1 \r\n").unwrap().0, ok("", 1));
    }

    #[test]
    fn an_older_commands_marks_and_prompts_are_not_this_ones() {
        assert_eq!(parse("@6b \r\nold\r\n@6e 1 \r\n# # @17b \r\n@7b \r\nnew\r\n@7e 0 \r\n").unwrap().0, ok("new", 0));
    }

    #[test]
    fn no_piece_of_an_answer_is_taken_for_the_whole() {
        let whole = "echo\r\n@7b \r\none\r\n@7e 12 \r\n# ";
        let complete = whole.find("12 ").unwrap() + 3;
        for cut in 0..whole.len() {
            let marks = Marks::new(7, 0);
            let early = marks.output(&whole.as_bytes()[..cut]);
            assert_eq!(early.is_some(), cut >= complete, "{cut}");
            assert_eq!(marks.output(whole.as_bytes()).unwrap().0, ok("one", 12), "{cut}");
        }
    }

    #[test]
    fn the_echo_of_a_line_has_no_mark_however_long_it_is_and_quotes_are_kept() {
        for command in ["nproc", "echo 'it is'", &"x".repeat(300)] {
            let line = Marks::new(7, 0).line(command);
            assert!(!line.contains("@7"), "{line}");
        }
        assert!(Marks::new(7, 0).line("echo 'a b'").contains("eval 'echo '\\''a b'\\'''"));
    }

    /// The line as a real shell takes it.
    #[test]
    fn a_shell_gives_the_output_and_the_status_of_what_was_typed() {
        let run = |command: &str| {
            let line = Marks::new(7, 0).line(command);
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            let stream = String::from_utf8_lossy(&output.stdout).into_owned();
            parse(&stream).unwrap_or_else(|| panic!("{command}: {stream}")).0
        };
        assert_eq!(run("echo one; false"), ok("one", 1));
        assert_eq!(run("printf 'a  b'; exit_status() { return 42; }; exit_status"), ok("a  b", 42));
        assert_eq!(run("true & # a comment"), ok("", 0));
        assert_eq!(run("echo \"it's\" '$x'"), ok("it's $x", 0));
        assert_eq!(run("set -x; echo traced"), ok("traced", 0));
        // Not a command at all: the shell goes on.
        assert_ne!(run("if").status, 0);
    }
}
