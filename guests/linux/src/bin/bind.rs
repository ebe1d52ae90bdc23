//! `bind NODE PROGRAM ARGUMENT...`: becomes the program with all its memory, its children's too, from one node.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use linux_guests::map;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let node = words.next().and_then(|word| word.to_str()?.parse().ok());
    let (Some(node), Some(program)) = (node, words.next()) else {
        eprintln!("bind NODE PROGRAM ARGUMENT...");
        return ExitCode::from(2);
    };
    if let Err(error) = map::bind(node) {
        eprintln!("bind: node {node}: {error}");
        return ExitCode::FAILURE;
    }
    // Returns only if it fails; the memory policy goes with the process.
    let error = Command::new(&program).args(words).exec();
    eprintln!("bind: {}: {error}", program.display());
    ExitCode::FAILURE
}
