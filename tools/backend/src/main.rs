//! `assay-backend FUNCTION DAX block FILE [ro] | net TAP MAC | console`: serves the virtio device of another VM.
//!
//! FUNCTION is the PCI address of the device's face, which `uio_pci_generic` has; DAX the devdax of the other VM's RAM.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use assay_backend::block::Block;
use assay_backend::console::Console;
use assay_backend::face::{Function, KIND, Registers as _};
use assay_backend::net::Net;
use assay_backend::{Device, Server};
use rustix::event::{PollFd, PollFlags, poll};

const USAGE: &str = "assay-backend FUNCTION DAX block FILE [ro] | net TAP MAC | console";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("assay-backend: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    let [function, dax, kind, more @ ..] = words else { bail!("{USAGE}") };
    let function = Function::open(function)?;
    let number = match *kind {
        "net" => 1,
        "block" => 2,
        "console" => 3,
        _ => bail!("{USAGE}"),
    };
    ensure!(function.load(KIND) == number, "the device is another than {kind}: its number is {}", function.load(KIND));
    match (number, more) {
        (1, [tap, address]) => serve(function, dax, Net::new(open(tap, false)?, mac(address)?)),
        (2, [file]) => serve(function, dax, Block::new(open(file, false)?, false)?),
        (2, [file, "ro"]) => serve(function, dax, Block::new(open(file, true)?, true)?),
        (3, []) => {
            let own = |file: Result<OwnedFd, std::io::Error>| file.map(File::from);
            let input = own(std::io::stdin().as_fd().try_clone_to_owned())?;
            let output = own(std::io::stdout().as_fd().try_clone_to_owned())?;
            serve(function, dax, Console::new(input, output))
        }
        _ => bail!("{USAGE}"),
    }
}

fn open(path: &str, is_read_only: bool) -> Result<File> {
    let file = OpenOptions::new().read(true).write(!is_read_only).open(path);
    file.with_context(|| format!("can't open {path}"))
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("an address of six bytes is wanted")
}

/// Serves the device until the function is gone.
fn serve<D: Device>(function: Function, dax: &str, device: D) -> Result<()> {
    let memory = function.memory(dax)?;
    let mut server = Server::start(function, device, memory);
    eprintln!("assay-backend: serving");
    loop {
        // The line is a level: what has happened until now interrupts at once.
        server.registers.unmask()?;
        let (has_interrupt, has_input) = {
            let interrupt = PollFd::from_borrowed_fd(server.registers.interrupt(), PollFlags::IN);
            let input = server.input().map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN));
            let mut files: Vec<PollFd<'_>> = [Some(interrupt), input].into_iter().flatten().collect();
            poll(&mut files, None)?;
            let is_ready = |at: usize| files.get(at).is_some_and(|file| !file.revents().is_empty());
            (is_ready(0), is_ready(1))
        };
        if has_interrupt {
            server.registers.take_interrupt()?;
        }
        let broken = [has_interrupt.then(|| server.look()).flatten(), has_input.then(|| server.feed()).flatten()];
        for what in broken.into_iter().flatten() {
            eprintln!("assay-backend: the driver broke the rules, and has to reset its device: {what}");
        }
    }
}
