//! `run`: a guest under Assay in QEMU, on the user's terminal.

mod desk;
mod gdb;
mod options;
mod record;
mod vm_tree;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use assay_harness::cache::{Cache, FIRMWARE};
use assay_harness::events::{self, Event};
use assay_harness::manifest::{ConsoleStyle, Manifest, Vm};
use assay_harness::process;
use assay_harness::qemu::{self, Hardware};

pub(crate) use options::Options;
use record::Record;

use crate::failure::unusable;
use crate::setup::Extra;
use crate::terminal::Raw;
use crate::{build, setup};

/// Runs the command.
///
/// # Errors
/// Unusable input (exit status 2); a VM that was refused or crashed, a QEMU that fails (1).
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(path) = &options.vm_tree {
        return vm_tree::run(options, path);
    }
    let (mut manifest, folder) = options.manifest().map_err(unusable)?;
    build::warn(&manifest);
    let board = options.board().map_err(unusable)?;
    let mut qemu = prepare(options, &setup::guests_of(&manifest))?;
    if board.tree.is_some() {
        setup::fetch(Extra::Trees)?;
    }
    if board.next && options.qemu.is_none() {
        setup::fetch(Extra::NextQemu)?;
        qemu = Cache::locate()?.qemu(true);
    }
    fetch_firmware(&manifest)?;
    // A manifest's own "prefix" means "keys" too.
    if manifest.console != Some(ConsoleStyle::Prefix) {
        manifest.console = options.outputs.style(manifest.vm.len()).or(manifest.console);
    }
    // What QEMU adds is the manifest's before it is packed; a board is as it is.
    let plugged = if board.tree.is_none() { manifest.plug(&folder).map_err(unusable)? } else { Vec::new() };
    build::guests_of(&manifest, &folder)?;
    let artifacts = build::firmware(build::Profile::fast(options.fast))?;
    let bundle = build::write_bundle(&manifest, &folder, &artifacts.bundle).map_err(unusable)?;
    let hardware = options.hardware(board, Hardware::fit(&manifest, bundle))?;
    let mut arguments = hardware.arguments();
    arguments.extend(plugged);
    // The same for `virt`; a board's console may come after other serial ports.
    let console: &[&str] =
        if hardware.board.is_some() { &["-display", "none", "-serial", "mon:stdio"] } else { &["-nographic"] };
    arguments.extend(console.iter().copied().map(str::to_owned));
    for (option, path) in [("-kernel", &artifacts.image), ("-initrd", &artifacts.bundle)] {
        arguments.extend([option.to_owned(), path.display().to_string()]);
    }
    let names: Vec<&str> = manifest.vm.iter().map(|vm| vm.name.as_str()).collect();
    let mte: Vec<&str> = manifest.vm.iter().filter(|vm| vm.mte).map(|vm| vm.name.as_str()).collect();
    let cpu = &hardware.cpu;
    let start_with = Start { qemu: &qemu, elf: &artifacts.elf, image: &artifacts.image, names: &names, mte: &mte, cpu };
    start(options, &start_with, arguments)
}

/// What a start needs besides QEMU's arguments.
struct Start<'a> {
    qemu: &'a Path,
    /// The firmware with symbols.
    elf: &'a Path,
    /// The firmware as QEMU loads it.
    image: &'a Path,
    /// The VMs that are to start and power off.
    names: &'a [&'a str],
    /// Those of them that have MTE.
    mte: &'a [&'a str],
    /// QEMU's name of the CPU.
    cpu: &'a str,
}

/// Starts QEMU, or prints how, and judges how its VMs ended.
fn start(options: &Options, with: &Start<'_>, mut arguments: Vec<String>) -> Result<()> {
    if options.gdb {
        arguments.extend(["-s".to_owned(), "-S".to_owned()]);
    }
    arguments.extend(options.qemu_arguments.iter().cloned());
    if options.print {
        let program = with.qemu.display().to_string();
        let words = std::iter::once(program.as_str()).chain(arguments.iter().map(String::as_str));
        println!("{}", process::shell_line(words));
        return Ok(());
    }
    if options.gdb {
        let image = std::fs::read(with.image).with_context(|| with.image.display().to_string())?;
        eprintln!("waiting for gdb:\n{}", gdb::line(with.elf, &image, &options.symbols)?);
    }
    let record = Record::open(&options.outputs, with.names).map_err(unusable)?;
    let events = match converse(with.qemu, &arguments, record)? {
        End::Ran(events) => events,
        End::Refused(said) => return Err(unusable(anyhow!(qemu::refusal(&said, with.mte, with.cpu)))),
    };
    events::verdict(&events, with.names).map_err(anyhow::Error::msg)
}

/// Fetches the firmware that a VM starts from, if one does.
pub(crate) fn fetch_firmware(manifest: &Manifest) -> Result<()> {
    let is_known = |name: &str| FIRMWARE.contains(&name);
    let files = |vm: &Vm| vm.flash.iter().filter_map(|flash| flash.file.as_deref()).any(is_known);
    if manifest.vm.iter().any(|vm| is_known(&vm.kernel) || files(vm)) {
        setup::fetch(Extra::Firmware)?;
    }
    Ok(())
}

/// Sets up what this run needs and gives the QEMU to use.
fn prepare(options: &Options, guests: &[&str]) -> Result<PathBuf> {
    let cache = Cache::locate()?;
    let given = options.qemu.as_deref();
    if given.is_some() {
        qemu::find(given, &cache).map_err(unusable)?;
    }
    setup::ensure(setup::Needs { qemu: given.is_none(), guests })?;
    qemu::find(given, &cache)
}

/// How a QEMU ended.
enum End {
    /// By itself, after these lines of Assay's own.
    Ran(Vec<Event>),
    /// Before Assay said a word, with these words of its own.
    Refused(String),
}

/// Passes bytes both ways until QEMU ends.
fn converse(qemu: &Path, arguments: &[String], mut record: Record) -> Result<End> {
    let mut command = process::dies_with_us(qemu);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("can't run {}", qemu.display()))?;
    let to_guest = child.stdin.take().context("no pipe to QEMU")?;
    let mut from_guest = child.stdout.take().context("no pipe from QEMU")?;
    let mut complaints = child.stderr.take().context("no pipe from QEMU")?;
    // Where sockets have the input the terminal's keys are our own: Ctrl-C ends the run.
    let raw = if record.is_typed_at() { Raw::enter()? } else { None };
    let said = std::thread::spawn(move || pass_on(&mut complaints));
    if let Some(to_guest) = record.input(to_guest) {
        pass_in(to_guest);
    }
    let mut buffer = [0; 16384];
    let mut stdout = std::io::stdout().lock();
    loop {
        let count = from_guest.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        // A person may look around with QEMU's monitor; a script wants to hear of it.
        if record.take(&buffer[..count], &mut stdout)? && raw.is_none() {
            child.kill()?;
            bail!("Assay panicked");
        }
    }
    let status = child.wait()?;
    drop(raw);
    let said = said.join().unwrap_or_default();
    let events = std::mem::take(&mut record.events);
    if status.code() == Some(1) && events.is_empty() {
        return Ok(End::Refused(said));
    }
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    Ok(End::Ran(events))
}

/// Passes on what is typed. The thread is left behind in its read when QEMU ends: the process ends soon after.
fn pass_in(mut to_guest: ChildStdin) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin();
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if to_guest.write_all(&buffer[..count]).and_then(|()| to_guest.flush()).is_err() {
                return;
            }
        }
    });
}

/// Copies what QEMU complains of to our stderr until it ends, and gives its beginning.
fn pass_on(complaints: &mut impl std::io::Read) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = complaints.read(&mut buffer) {
        // Nobody may listen.
        let _ = std::io::stderr().write_all(&buffer[..count]);
        if said.len() < 1 << 16 {
            said.extend_from_slice(&buffer[..count]);
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}
