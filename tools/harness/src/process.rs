//! Starting a QEMU that ends with us, and command lines that a shell takes.

use std::path::Path;
use std::process::{Command, Stdio};

/// The command that runs `program` so that the kernel kills it when the thread that starts it ends:
/// a test run that is killed leaves no machine behind. Without `setpriv` it is the program alone.
#[must_use]
pub fn dies_with_us(program: &Path) -> Command {
    let probe = Command::new("setpriv").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    // It replaces itself with the program: the process id stays.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// The words as a line for a POSIX shell.
#[must_use]
pub fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::shell_line;

    #[test]
    fn only_words_that_need_quotes_get_them() {
        let words = ["qemu", "-m", "1024M", "-append", "a b", "it's", ""];
        assert_eq!(shell_line(words), "qemu -m 1024M -append 'a b' 'it'\\''s' ''");
    }
}
