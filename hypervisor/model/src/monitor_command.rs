//! What can be typed at the monitor's prompt: words into a [`Command`], and words that a word can become.
//!
//! Names of VMs are taken as they are: which VMs there are is the caller's knowledge.

#[cfg(test)]
mod tests;

use core::fmt;

use assay_spec::addr::Ipa;

/// A command, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// An empty line.
    Nothing,
    /// Lists the VMs.
    Vms,
    /// Shows one VM, or with `None` all, and leaves the monitor.
    Console(Option<&'a str>),
    /// Starts a VM that is stopped.
    Start(&'a str),
    /// Stops a VM.
    Stop(&'a str),
    /// Stops a VM and starts it anew.
    Restart(&'a str),
    /// What memory one VM or all have, and what is free.
    Memory(Option<&'a str>),
    /// Takes the page at an address out of a VM.
    Offline(&'a str, Ipa),
    /// What one VM or all have done.
    Stats(Option<&'a str>),
    /// Records a VM's exits.
    Trace(&'a str, Trace),
    /// Explains one command or all.
    Help(Option<&'a str>),
    /// Leaves the monitor.
    Quit,
}

/// What to do about the record of exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// Begin.
    On,
    /// End.
    Off,
    /// Print.
    Show,
}

/// A command's name, arguments and explanation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name.
    pub name: &'static str,
    /// Its arguments as they are written.
    pub arguments: &'static str,
    /// What it does.
    pub does: &'static str,
    takes: &'static [Argument],
}

/// What may stand at a place after the command's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Argument {
    Vm,
    VmOrAll,
    OnOffShow,
    Command,
}

const fn entry(name: &'static str, arguments: &'static str, takes: &'static [Argument], does: &'static str) -> Entry {
    Entry { name, arguments, does, takes }
}

/// All commands, in the order in which `help` lists them.
pub const COMMANDS: &[Entry] = &[
    entry("vms", "", &[], "lists the VMs"),
    entry(
        "console",
        "[NAME|all]",
        &[Argument::VmOrAll],
        "shows one VM alone or all of them, and leaves the monitor; input goes to NAME",
    ),
    entry("start", "NAME", &[Argument::Vm], "starts a VM that is stopped or waits"),
    entry("stop", "NAME", &[Argument::Vm], "stops a VM at once, as if its power failed"),
    entry("restart", "NAME", &[Argument::Vm], "stops a VM and starts it anew"),
    entry("memory", "[NAME]", &[Argument::Vm], "prints what was decided of a VM's memory, its map, and what is free"),
    entry("offline", "NAME IPA", &[Argument::Vm], "takes the page at 0x... from a VM, at its next start"),
    entry("stats", "[NAME]", &[Argument::Vm], "prints exits and interrupts of each vCPU"),
    entry(
        "trace",
        "NAME on|off|show",
        &[Argument::Vm, Argument::OnOffShow],
        "records a VM's last exits, or prints them",
    ),
    entry("help", "[COMMAND]", &[Argument::Command], "explains the commands"),
    entry("quit", "", &[], "leaves the monitor, as Ctrl-] and Ctrl-D do"),
];

const SWITCH: [(&str, Trace); 3] = [("on", Trace::On), ("off", Trace::Off), ("show", Trace::Show)];

/// The word for all VMs.
const ALL: &str = "all";

/// Why a line is no command. Displayed as what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError<'a> {
    /// No command has this name.
    Unknown(&'a str),
    /// The command takes other arguments.
    Arguments(&'static Entry),
}

impl fmt::Display for CommandError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no command {name}: help lists them"),
            Self::Arguments(entry) if entry.arguments.is_empty() => {
                write!(f, "{} takes nothing after it", entry.name)
            }
            Self::Arguments(entry) => write!(f, "write: {} {}", entry.name, entry.arguments),
        }
    }
}

/// Returns the entry of the command of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.name == name)
}

/// Reads a line.
///
/// # Errors
/// [`CommandError`], which names the command.
pub fn parse(line: &str) -> Result<Command<'_>, CommandError<'_>> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let Some(name) = words.next() else {
        return Ok(Command::Nothing);
    };
    let entry = find(name).ok_or(CommandError::Unknown(name))?;
    let (first, second, third) = (words.next(), words.next(), words.next());
    let command = match (name, first, second) {
        ("vms", None, None) => Some(Command::Vms),
        ("console", None | Some(ALL), None) => Some(Command::Console(None)),
        ("console", vm, None) => Some(Command::Console(vm)),
        ("start", Some(vm), None) => Some(Command::Start(vm)),
        ("stop", Some(vm), None) => Some(Command::Stop(vm)),
        ("restart", Some(vm), None) => Some(Command::Restart(vm)),
        ("memory", vm, None) => Some(Command::Memory(vm)),
        ("offline", Some(vm), Some(ipa)) => address(ipa).map(|ipa| Command::Offline(vm, ipa)),
        ("stats", vm, None) => Some(Command::Stats(vm)),
        ("trace", Some(vm), Some(word)) => {
            SWITCH.iter().find(|(known, _)| *known == word).map(|(_, what)| Command::Trace(vm, *what))
        }
        ("help", command, None) => Some(Command::Help(command)),
        ("quit", None, None) => Some(Command::Quit),
        _ => None,
    };
    command.filter(|_| third.is_none()).ok_or(CommandError::Arguments(entry))
}

/// Reads an address as lines have it, `0x` and all.
fn address(word: &str) -> Option<Ipa> {
    let digits = word.strip_prefix("0x").filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, 16).ok().map(Ipa)
}

/// Calls `each` with every word that the last word of `typed` can become.
pub fn complete<'a>(typed: &str, vms: &mut dyn Iterator<Item = &'a str>, each: &mut dyn FnMut(&'a str)) {
    let mut words = typed.split(' ').filter(|word| !word.is_empty());
    let last = typed.rsplit(' ').next().unwrap_or("");
    let mut offer = |word: &'a str| {
        if word.starts_with(last) {
            each(word);
        }
    };
    // Words before the last one: it is the next.
    let complete = words.clone().count() - usize::from(!last.is_empty());
    let Some(place) = complete.checked_sub(1) else {
        return COMMANDS.iter().for_each(|entry| offer(entry.name));
    };
    let entry = words.next().and_then(find);
    match entry.and_then(|entry| entry.takes.get(place)) {
        Some(Argument::Vm) => vms.for_each(offer),
        Some(Argument::VmOrAll) => {
            vms.for_each(&mut offer);
            offer(ALL);
        }
        Some(Argument::OnOffShow) => SWITCH.iter().for_each(|(word, _)| offer(word)),
        Some(Argument::Command) => COMMANDS.iter().for_each(|entry| offer(entry.name)),
        None => {}
    }
}

/// What completing a word comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion<'a> {
    /// How many words fit.
    pub count: usize,
    /// What all of them have in common after what is typed.
    pub rest: &'a str,
}

/// Returns what can be added to `typed`: see [`complete`].
pub fn completion<'a>(typed: &str, vms: &mut dyn Iterator<Item = &'a str>) -> Completion<'a> {
    let last = typed.rsplit(' ').next().unwrap_or("");
    let (mut count, mut common) = (0, "");
    complete(typed, vms, &mut |word| {
        let rest = word.get(last.len()..).unwrap_or("");
        common = if count == 0 { rest } else { shared(common, rest) };
        count += 1;
    });
    Completion { count, rest: common }
}

/// Returns what both begin with.
fn shared<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
    // All names are ASCII.
    one.get(..same.count()).unwrap_or("")
}
