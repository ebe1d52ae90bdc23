//! A reader of a command's output that goes away.

use std::process::{Command, Stdio};

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_without_a_word() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((String::from_utf8_lossy(&output.stderr).as_ref(), output.status.code()), ("", Some(1)));
}
