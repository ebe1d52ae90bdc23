//! Boards that QEMU plays, each with its device tree from Debian's kernel, or QEMU's own: from power-on to the guests'
//! user space, a reset, and power-off.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::{self, Cache};
use assay_harness::events::Event;
use assay_harness::manifest::Manifest;
use assay_harness::{Machine, qemu};
use assay_plan::platform::{self, early};

use super::boots::{Parts, card};
use super::linux::{BOOT, PROMPT, SOON, wait_for_shell};
use super::{Case, is_power_off};
use crate::board::{self, Board};
use crate::explain::machine;
use crate::image::UBoot;
use crate::setup::Extra;

/// Of a hundred boards, those whose tree is read, and those whose console is driven: at least.
const READ: usize = 90;
const HEARD: usize = 55;
/// More than any receive FIFO holds.
const LINE: usize = 300;

pub(super) fn cases() -> Result<Vec<Case>> {
    let mut cases = vec![Case::new("trees/debians-are-read-or-refused-with-a-reason", trees).wants(Extra::Trees)];
    for name in board::all()? {
        let board = Board::read(&name)?;
        let Some(next) = board.qemu.as_ref().filter(|qemu| qemu.is_board()).map(|qemu| qemu.next) else { continue };
        let title = format!("board/{name}/from-power-on-to-power-off");
        let case = Case::linux(title, move || run(&name, &board)).wants(Extra::Trees);
        cases.push(if next { case.wants(Extra::NextQemu) } else { case });
    }
    let uart = Case::linux("board/xlnx-zcu102/debian-has-the-second-uart", second_uart);
    cases.push(uart.wants(Extra::Trees).wants(Extra::NextQemu));
    Ok(cases)
}

/// A device of a real board's tree: the UART that is not the console, driven by Debian as it comes, in both directions.
fn second_uart() -> Result<String> {
    let cache = Cache::locate()?;
    let board = Board::read("xlnx-zcu102")?.qemu.context("it is no board")?;
    let arguments = board.board(&cache.trees()).context("it is no board")?;
    let text = "[[vm]]\nname = \"one\"\ncpus = 2\nmemory = \"256M\"\nkernel = \"debian\"\ninitrd = \"busybox\"\n\
                cmdline = \"console=ttyAMA0\"\ndevices = [\"serial1\"]\n";
    let socket = std::env::temp_dir().join(format!("assay-uart-{}", std::process::id()));
    let serial = format!("unix:{},server=on,wait=off", socket.display());
    let builder = Machine::builder().manifest_text(text).qemu(cache.qemu(true)).board(arguments);
    let mut machine = builder.arguments(["-serial", &serial]).start()?;
    wait_for_shell(&mut machine, "one", BOOT)?;
    let far = UnixStream::connect(&socket).context("the UART's other end")?;
    let _ = std::fs::remove_file(&socket);
    far.set_read_timeout(Some(SOON))?;
    let _ = machine.shell("one", "exec 3<>/dev/ttyPS0; stty raw -echo <&3; echo there >&3", PROMPT, SOON)?;
    let mut said = String::new();
    let _ = BufReader::new(&far).read_line(&mut said).context("from the UART")?;
    ensure!(said.trim() == "there", "the UART says {said:?}");
    // The shell has it open: what comes before `head` runs waits for it.
    machine.send("one", "head -n 1 <&3\n")?;
    let long = format!("{}\n", "back".repeat(LINE / 4));
    (&far).write_all(long.as_bytes())?;
    machine.expect("one", long.trim(), SOON).context("to the UART")?;
    machine.expect("one", PROMPT, SOON)?;
    let counted = machine.shell("one", "grep -c xuartps /proc/interrupts", PROMPT, SOON)?;
    ensure!(counted.trim() == "1", "its interrupt: {counted}");
    machine.send("one", "poweroff -f\n")?;
    machine.finish(SOON)?;
    Ok(format!("{LINE} characters in one line"))
}

/// From the disk that a user would flash. In place of the board's firmware its files are found as that finds them.
fn run(name: &str, board: &Board) -> Result<String> {
    let cache = Cache::locate()?;
    let manifest = cache::repository()?.join("platforms").join(name).join("vms.toml");
    let manifest = format!("console = \"prefix\"\n{}", std::fs::read_to_string(manifest)?);
    let qemu = board.qemu.as_ref().context("it is no board")?;
    let program = if qemu.next { cache.qemu(true) } else { qemu::find(None, &cache)? };
    let parts = Parts::new(&manifest)?;
    let disk = parts.flashable(board, UBoot::Extlinux, &[])?;
    let found = if board.boot.card.is_some() { card::by_config(&disk)? } else { card::by_menu(&disk)? };
    let arguments = qemu.bare().chain(found.arguments(&parts.folder)?).collect();
    let builder = Machine::builder().manifest_text(&manifest).by_firmware().qemu(program).board(arguments);
    let mut machine = builder.start()?;
    let vms = Manifest::parse(&manifest)?.vm;
    for vm in &vms {
        wait_for_shell(&mut machine, &vm.name, BOOT)?;
        let cpus = machine.shell(&vm.name, "nproc", PROMPT, SOON)?;
        ensure!(cpus.trim() == vm.cpus.count().to_string(), "{}: nproc says {cpus:?}", vm.name);
    }
    for vm in &vms {
        let long = "x".repeat(LINE);
        let said = machine.shell(&vm.name, &format!("x={long}; echo ${{#x}}"), PROMPT, SOON)?;
        ensure!(said.contains(&LINE.to_string()), "{}: a long line came as {said:?}", vm.name);
        machine.send(&vm.name, "reboot -f\n")?;
        machine.expect(&vm.name, PROMPT, BOOT).context("after the reset")?;
    }
    for vm in &vms {
        machine.send(&vm.name, "poweroff -f\n")?;
        let _ = machine.expect_event("that a VM has stopped", SOON, is_power_off)?;
    }
    // A machine without PSCI stays on, and says so.
    if board.tree()?.is_none_or(|(_, dtb)| early::conduit(&dtb).is_some()) {
        machine.finish(SOON)?;
    } else {
        let is_said = |event: &Event| event.get("reason").is_some_and(|reason| reason.contains("cannot power"));
        let _ = machine.expect_event("what to do", SOON, is_said)?;
    }
    Ok(format!("{} VMs", vms.len()))
}

/// Reads the trees of all boards that Debian knows: as many as ever are read, and the others say why not.
fn trees() -> Result<String> {
    let mut paths = Vec::new();
    collect(&Cache::locate()?.trees(), &mut paths)?;
    let (mut read, mut heard, mut listening, mut refused) = (0, 0, 0, BTreeMap::<String, usize>::new());
    for path in &paths {
        let dtb = std::fs::read(path)?;
        heard += usize::from(platform::early_console(&dtb).is_some());
        match machine::read(&dtb) {
            Ok(machine) => {
                read += 1;
                listening += usize::from(machine.console.is_some_and(|it| it.wired.is_some() && it.intid.is_some()));
            }
            Err(error) => {
                let text = error.to_string();
                let (node, why) = text.split_once(": ").unwrap_or_default();
                ensure!(node.starts_with('/') && !why.is_empty(), "{}: {text}", path.display());
                *refused.entry(why.to_owned()).or_default() += 1;
            }
        }
    }
    for (why, count) in &refused {
        println!("    {count}: {why}");
    }
    ensure!(heard * 100 >= paths.len() * HEARD, "{heard} of {} consoles are driven", paths.len());
    ensure!(read * 100 >= paths.len() * READ, "{read} of {} trees are read", paths.len());
    Ok(format!("{} trees: {read} read, {heard} consoles driven, {listening} of them by interrupt too", paths.len()))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "dtb") {
            found.push(path);
        }
    }
    Ok(())
}
