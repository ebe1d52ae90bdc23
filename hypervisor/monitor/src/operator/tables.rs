//! The monitor's tables, printed a line at a time.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_el2::lock::Relax;
use assay_el2::{frames, heap};
use assay_model::counters::Counters;
use assay_model::exit_trace::Why;
use assay_model::lock::{Mutex, TABLE};
use assay_model::monitor_command::{COMMANDS, Entry};
use assay_model::monitor_table::{self, Head, Row};
use assay_plan::policy::line::Quoted;
use assay_spec::cpu_id::{PcpuId, VcpuId};

use crate::console::{self, say};
use crate::interrupts;
use crate::report::Failed;
use crate::vm::{self, Vm};

/// What a table is about.
#[derive(Clone, Copy)]
pub(super) enum Table {
    /// The VMs, a line each.
    Vms,
    /// What was decided of memory, maps, and what is free.
    Memory,
    /// Lives and exits.
    Stats,
    /// The last exits.
    Trace,
    /// One command, or all.
    Help(Option<&'static Entry>),
}

/// A table that is being printed.
#[derive(Clone, Copy)]
struct Job {
    table: Table,
    /// The one VM that it is about.
    only: Option<&'static Vm>,
    /// The VM's place, and the next line of that VM's.
    vm: usize,
    line: usize,
    /// The columns that have a heading.
    columns: u64,
}

/// Answers are `key=value`, not tables.
static BY_KEYS: AtomicBool = AtomicBool::new(false);

/// Says whether scripts read the answers, or people.
pub(crate) fn answer_by_keys(on: bool) {
    BY_KEYS.store(on, Ordering::Relaxed);
}

/// Prints a line of a table that is a job's.
macro_rules! answer {
    ($job:expr, $($argument:tt)*) => { $job.answer(format_args!($($argument)*)) };
}

static JOB: Mutex<Option<Job>, TABLE, Relax> = Mutex::new(None);

/// Tells whether a table is being printed.
pub(super) fn is_busy() -> bool {
    JOB.lock().is_some()
}

/// Begins a table of one VM or all.
pub(super) fn begin(table: Table, only: Option<&'static Vm>) {
    *JOB.lock() = Some(Job { table, only, vm: 0, line: 0, columns: 0 });
}

/// Prints the next line; returns whether there may be more. After the last one come the prompt and the input.
pub(super) fn tick() -> bool {
    let mut job = JOB.lock();
    let Some(going) = job.as_mut() else {
        return false;
    };
    if going.step() {
        return true;
    }
    *job = None;
    drop(job);
    console::next_line();
    console::listen_again();
    false
}

impl Job {
    /// Prints the next line, if there is one.
    fn step(&mut self) -> bool {
        let line = self.line;
        self.line = line.wrapping_add(1);
        if let Table::Help(which) = self.table {
            return self.help(which, line);
        }
        loop {
            let vm = match self.only {
                Some(vm) => (self.vm == 0).then_some(vm),
                None => vm::all().get(self.vm).copied(),
            };
            let Some(vm) = vm else {
                // Behind the last VM.
                return matches!(self.table, Table::Memory) && self.foot();
            };
            if self.of_vm(vm) {
                return true;
            }
            self.vm = self.vm.wrapping_add(1);
            self.line = 1;
        }
    }

    /// Prints a line: for a person its values, with a heading where the columns are others than before.
    fn answer(&mut self, line: fmt::Arguments<'_>) {
        if BY_KEYS.load(Ordering::Relaxed) {
            return console::line(line);
        }
        let columns = monitor_table::columns(line);
        if columns != core::mem::replace(&mut self.columns, columns) && columns != 0 {
            say!("{}", Head(line));
        }
        say!("{}", Row(line));
    }

    /// Prints the line `self.line - 1` of a VM, if it has one.
    fn of_vm(&mut self, vm: &Vm) -> bool {
        let line = self.line.wrapping_sub(1);
        let name = &vm.name;
        match self.table {
            Table::Vms if line == 0 => {
                let (lives, crashes, age_ms) = vm.history();
                answer!(
                    self,
                    "vms name={name} state={} cpus={} memory={:#x} lives={lives} crashes={crashes} uptime_ms={age_ms}{}",
                    vm.phase().name(),
                    List(&vm.cpus),
                    vm.machine.ram.size,
                    if vm.is_traced() { " trace=on" } else { "" },
                );
                true
            }
            Table::Memory => match vm.listing.get(line) {
                Some(text) => {
                    answer!(self, "{text}");
                    true
                }
                None => self.poisoned(vm, line - vm.listing.len()),
            },
            Table::Stats => match vm.counters.get(line) {
                Some(counters) => {
                    let counts = Counts(counters);
                    match (&vm.sharing, vm.cpus.get(line)) {
                        (Some(sharing), _) => answer!(
                            self,
                            "stats vm={name} vcpu={line} cpu=shared ran_ms={} steal_ms={}{counts}",
                            sharing.ran_ms(VcpuId(line)),
                            sharing.stolen_ms(VcpuId(line))
                        ),
                        (None, cpu) => {
                            answer!(
                                self,
                                "stats vm={name} vcpu={line} cpu={}{counts}",
                                cpu.copied().unwrap_or(PcpuId(usize::MAX))
                            )
                        }
                    }
                    true
                }
                None => false,
            },
            Table::Trace => {
                let exit = vm.trace.lock().get(line);
                if let Some(exit) = exit {
                    match exit.why {
                        Why::Irq(Some(intid)) => say!("trace vm={name} {exit} source={}", interrupts::source(intid)),
                        _ => say!("trace vm={name} {exit}"),
                    }
                }
                exit.is_some()
            }
            Table::Vms | Table::Help(_) => false,
        }
    }

    /// Prints a page that is not to be used any more, if there are so many.
    fn poisoned(&mut self, vm: &Vm, place: usize) -> bool {
        let page = vm.poison.lock().pages().get(place).copied();
        if let Some(page) = page {
            let mapped = if page.has_left { "no" } else { "yes" };
            answer!(self, "memory {} event={} mapped={mapped}", Failed { vm, ipa: page.ipa }, page.event);
        }
        page.is_some()
    }

    /// Prints what is free, once.
    fn foot(&mut self) -> bool {
        if self.line != 1 {
            return false;
        }
        let (used, free) = heap::used_and_free();
        answer!(self, "memory el2_heap_used={used} el2_heap_free={free} frames_free={}", frames::free_bytes());
        self.line = 2;
        true
    }

    /// Prints a command, or the one at this place of all.
    fn help(&mut self, which: Option<&'static Entry>, line: usize) -> bool {
        let entry = match which {
            Some(entry) => (line == 0).then_some(entry),
            None => COMMANDS.get(line),
        };
        if let Some(entry) = entry {
            let gap = if entry.arguments.is_empty() { "" } else { " " };
            answer!(self, "help command=\"{}{gap}{}\" does={}", entry.name, entry.arguments, Quoted(&entry.does));
        }
        entry.is_some()
    }
}

/// The CPUs of a VM, with commas between.
struct List<'a>(&'a [PcpuId]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("shared");
        }
        for (place, number) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { "," };
            write!(f, "{gap}{number}")?;
        }
        Ok(())
    }
}

/// All counts, with their names.
struct Counts<'a>(&'a Counters);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.0.each(|name, count| {
            if result.is_ok() {
                result = write!(f, " {name}={count}");
            }
        });
        result
    }
}
