//! `completions` and `man`: the command line itself, for shells and for `man`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_complete::Shell;

/// What man pages are named, as cargo names those of its commands.
const PAGE: &str = "cargo-xtask";

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell that reads them
    shell: Shell,
    /// What is typed: an alias of `cargo xtask`, or the program itself
    #[arg(long, default_value = "xtask")]
    name: String,
}

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write a page for each command to DIR [default: print that of all commands]
    dir: Option<PathBuf>,
}

/// Prints a shell's completions.
///
/// # Errors
/// Nobody reads them.
pub(crate) fn completions(options: &Completions, mut command: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, &options.name, &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}

/// Prints or writes man pages.
///
/// # Errors
/// They can't be written.
pub(crate) fn man(options: &Man, command: Command) -> Result<()> {
    let command = command.name(PAGE);
    match &options.dir {
        Some(folder) => {
            let named = || folder.display().to_string();
            std::fs::create_dir_all(folder).with_context(named)?;
            clap_mangen::generate_to(command, folder).with_context(named)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            std::io::stdout().write_all(&page)?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use clap::CommandFactory as _;
    use clap_complete::Shell;

    use super::PAGE;
    use crate::Arguments;

    #[test]
    fn a_shell_completes_options_behind_an_alias() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Arguments::command(), "x", &mut script);
        let script = String::from_utf8(script).unwrap();
        let ask = "COMP_WORDS=(x run --log); COMP_CWORD=2; _x x --log run; echo \"${COMPREPLY[*]}\"";
        let output = process::Command::new("bash").args(["-c", &format!("{script}\n{ask}")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--log-dir", "{output:?}");
    }

    #[test]
    fn each_command_has_a_page() {
        let folder = std::env::temp_dir().join(format!("assay-man-{}", process::id()));
        let options = super::Man { dir: Some(folder.clone()) };
        super::man(&options, Arguments::command()).unwrap();
        for command in Arguments::command().get_subcommands() {
            let page = std::fs::read_to_string(folder.join(format!("{PAGE}-{}.1", command.get_name()))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
