//! The operator's monitor: `Ctrl-]` on the UART, and what the commands do.
//!
//! Keys come by the UART's interrupt on the housekeeping CPU and are few at a time. An order is obeyed at once. A table is
//! printed later, one line of it at each look of `deferred`: that line is the longest that this CPU stays in EL2.

use core::fmt;

use assay_el2::{cpu, uart};
use assay_model::console::Shown;
use assay_model::life::Order;
use assay_model::line_editor::{ESCAPE, Reply};
use assay_model::monitor_command::{self, Command, Trace};
use assay_plan::policy::line::Quoted;

use crate::console::{self, Line, say};
use crate::deferred;
use crate::vm::{self, Vm};

mod offline;
mod tables;

use tables::Table;

pub(crate) use tables::answer_by_keys;

/// Bytes of input taken at one interrupt; what is left interrupts again.
const INPUT_BYTES: usize = 64;
/// How long a VM that takes no input holds the console back, before its input is dropped so that `Ctrl-]` gets
/// through, in milliseconds.
const PATIENCE_MS: u64 = 5000;

/// Takes what the console has received.
pub(crate) fn take_input() {
    for _ in 0..INPUT_BYTES {
        // A table is printed to its end before the next key counts; whatever is typed waits in the FIFO.
        if tables::is_busy() {
            return uart::listen(false);
        }
        let listener = vm::listener();
        let is_open = console::is_monitor_open();
        let full = listener.filter(|vm| !is_open && !vm.has_input_room());
        let is_dropped = match full.map(holds_back) {
            Some(Full::Wait) => return,
            Some(Full::Overdue) => true,
            Some(Full::Room) | None => false,
        };
        let Some(byte) = uart::read() else { return };
        if is_open {
            if let Some((reply, line)) = console::key(byte) {
                typed(reply, &line);
            }
        } else if byte == ESCAPE {
            console::open_monitor();
        } else if let Some(vm) = listener.filter(|_| !is_dropped) {
            vm.receive(byte);
        }
    }
}

/// What is to be done about a listening VM that was full.
enum Full {
    /// Nothing is read: the sender is held back.
    Wait,
    /// It has room by now.
    Room,
    /// It has been full for too long: what is for it is dropped.
    Overdue,
}

/// The listening VM is full: stops listening, unless it has been so for too long, or has room by now.
fn holds_back(vm: &Vm) -> Full {
    let now = cpu::counter();
    let patience = deferred::ticks(PATIENCE_MS);
    let since = console::input_held_since(now);
    if now.wrapping_sub(since) >= patience {
        return Full::Overdue;
    }
    uart::listen(false);
    // The guest may have made room between the look and the mask: nobody would tell us again.
    if vm.has_input_room() {
        console::input_room();
        return Full::Room;
    }
    deferred::ask(since.wrapping_add(patience));
    Full::Wait
}

/// Goes on with what takes time; returns when to come again.
pub(crate) fn tick(now: u64) -> Option<u64> {
    let table = tables::tick().then(|| now.wrapping_add(deferred::ticks(1)));
    let since = console::input_held_since(0);
    let until = since.wrapping_add(deferred::ticks(PATIENCE_MS));
    let held = (since != 0 && now < until).then_some(until);
    let is_overdue = since != 0 && held.is_none();
    if is_overdue {
        uart::listen(true);
    }
    if console::has_resumed() || is_overdue {
        take_input();
    }
    table.into_iter().chain(held).min()
}

/// A key that asks for something has been typed.
fn typed(reply: Reply, line: &Line) {
    match reply {
        Reply::Nothing => {}
        Reply::Complete => complete(line.text()),
        Reply::Leave => leave(),
        Reply::Run => match run(line.text()) {
            Ok(Done::Prompt) => console::next_line(),
            Ok(Done::Leave) => leave(),
            Ok(Done::Table) => deferred::ask(cpu::counter()),
            Err(problem) => {
                say!("monitor error={}", Quoted(&problem));
                console::next_line();
            }
        },
    }
}

fn leave() {
    console::close_monitor(vm::listener().map(|vm| vm.index()));
    vm::end_machine_if_idle();
}

/// What follows a command.
enum Done {
    Prompt,
    Leave,
    Table,
}

/// Why a command has no effect.
enum Problem<'a> {
    Command(monitor_command::CommandError<'a>),
    NoVm(&'a str),
    Phase(&'a str, vm::Phase),
    Offline(offline::Problem),
}

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::NoVm(name) => write!(f, "no VM is named {name}: vms lists them"),
            Self::Offline(problem) => problem.fmt(f),
            Self::Phase(name, phase) => write!(f, "{name} is {}", phase.name()),
        }
    }
}

fn run(line: &str) -> Result<Done, Problem<'_>> {
    let find = |name| vm::named(name).ok_or(Problem::NoVm(name));
    let find_or_all = |name: Option<_>| name.map(find).transpose();
    let order = |name, order| {
        let obeyed = find(name)?.order(order);
        obeyed.map_err(|phase| Problem::Phase(name, phase))?;
        Ok(Done::Prompt)
    };
    let table = |table, vm: Option<&'static Vm>| {
        tables::begin(table, vm);
        Ok(Done::Table)
    };
    match monitor_command::parse(line).map_err(Problem::Command)? {
        Command::Nothing => Ok(Done::Prompt),
        Command::Quit => Ok(Done::Leave),
        Command::Start(name) => order(name, Order::Start),
        Command::Stop(name) => order(name, Order::Stop),
        Command::Restart(name) => order(name, Order::Restart),
        Command::Console(None) => {
            console::show_only(Shown::All);
            Ok(Done::Leave)
        }
        Command::Console(Some(name)) => {
            let vm = find(name)?;
            console::show_only(Shown::One(vm.index()));
            vm::listen(vm);
            Ok(Done::Leave)
        }
        Command::Offline(name, ipa) => {
            offline::page(find(name)?, ipa).map_err(Problem::Offline)?;
            Ok(Done::Prompt)
        }
        Command::Vms => table(Table::Vms, None),
        Command::Memory(name) => table(Table::Memory, find_or_all(name)?),
        Command::Stats(name) => table(Table::Stats, find_or_all(name)?),
        Command::Trace(name, Trace::Show) => table(Table::Trace, Some(find(name)?)),
        Command::Trace(name, what) => {
            find(name)?.set_traced(what == Trace::On);
            Ok(Done::Prompt)
        }
        Command::Help(None) => table(Table::Help(None), None),
        Command::Help(Some(name)) => {
            let unknown = Problem::Command(monitor_command::CommandError::Unknown(name));
            let entry = monitor_command::find(name).ok_or(unknown)?;
            table(Table::Help(Some(entry)), None)
        }
    }
}

/// Completes the word before the cursor, or prints what it can become.
fn complete(typed: &str) {
    let names = || vm::all().iter().map(|vm| vm.name.as_str());
    let found = monitor_command::completion(typed, &mut names());
    match found.count {
        0 => {}
        1 => {
            console::insert(found.rest);
            console::insert(" ");
        }
        _ if !found.rest.is_empty() => console::insert(found.rest),
        _ => {
            struct Words<'a>(&'a str);
            impl fmt::Display for Words<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let mut gap = "";
                    let mut result = Ok(());
                    let mut names = vm::all().iter().map(|vm| vm.name.as_str());
                    monitor_command::complete(self.0, &mut names, &mut |word| {
                        result = result.and_then(|()| {
                            f.write_str(core::mem::replace(&mut gap, " "))?;
                            f.write_str(word)
                        });
                    });
                    result
                }
            }
            say!("monitor words={}", Quoted(&Words(typed)));
        }
    }
}
