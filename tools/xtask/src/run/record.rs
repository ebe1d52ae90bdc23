//! What `run` makes of a console besides showing it: a file for each VM, JSON, sockets.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use anyhow::{Context as _, Result, bail};
use assay_harness::console::Splitter;
use assay_harness::events::Event;
use assay_harness::manifest::ConsoleStyle;
use clap::{Args, ValueEnum};

use super::desk::Desk;

/// Whose file Assay's own lines go to, and whose socket asks its monitor.
pub(super) const OWN: &str = "assay";

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Outputs {
    /// Also write each VM's output to DIR/NAME.log, and Assay's own lines to DIR/assay.log
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Print Assay's own lines only, each as a JSON object: guests' output is for --log-dir and --console-dir
    #[arg(long, value_name = "FORMAT")]
    events: Option<Format>,
    /// Make a Unix socket DIR/NAME.sock for each VM's console, and DIR/assay.sock for the monitor. The terminal then
    /// only shows
    #[arg(long, value_name = "DIR")]
    pub(super) console_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
}

impl Outputs {
    /// How the console shall look, if not as the manifest says.
    pub(super) fn style(&self, vms: usize) -> Option<ConsoleStyle> {
        self.style_for(vms, std::io::stdin().is_terminal())
    }

    fn style_for(&self, vms: usize, is_person: bool) -> Option<ConsoleStyle> {
        // A script that reads the console must be able to tell Assay's lines from a guest's.
        if !is_person || self.wants_prefix(vms) {
            return Some(ConsoleStyle::Prefix);
        }
        // Who asks at the socket is a program.
        self.console_dir.is_some().then_some(ConsoleStyle::Keys)
    }

    /// Whether whose line it is must be told for certain, and what the console looks like doesn't matter.
    fn wants_prefix(&self, vms: usize) -> bool {
        self.events.is_some() || vms > 1 && (self.log_dir.is_some() || self.console_dir.is_some())
    }
}

/// What is kept of a run, and told to others.
pub(super) struct Record {
    splitter: Splitter,
    /// Events as JSON take the console's place on stdout.
    json: bool,
    logs: Option<BTreeMap<String, File>>,
    desk: Option<Desk>,
    /// All of Assay's own lines.
    pub(super) events: Vec<Event>,
}

impl Record {
    /// Opens the files and sockets for VMs of these names.
    ///
    /// # Errors
    /// A folder or file can't be made, or a VM has Assay's name.
    pub(super) fn open(outputs: &Outputs, names: &[&str]) -> Result<Self> {
        let named = [&outputs.log_dir, &outputs.console_dir].into_iter().any(Option::is_some);
        if named && names.contains(&OWN) {
            bail!("a VM is named \"{OWN}\", as the file of Assay's own lines: give it another name");
        }
        let logs = outputs.log_dir.as_deref().map(|folder| logs(folder, names)).transpose()?;
        let desk = outputs.console_dir.as_deref().map(|folder| Desk::open(folder, names)).transpose()?;
        Ok(Self { splitter: Splitter::new(names), json: outputs.events.is_some(), logs, desk, events: Vec::new() })
    }

    /// Takes over QEMU's input, if sockets give it, and returns it if not.
    pub(super) fn input(&mut self, to_guest: ChildStdin) -> Option<ChildStdin> {
        match &mut self.desk {
            Some(desk) => {
                desk.serve(to_guest);
                None
            }
            None => Some(to_guest),
        }
    }

    /// Whether the terminal has the input.
    pub(super) fn is_typed_at(&self) -> bool {
        self.desk.is_none()
    }

    /// Takes what the console says next, and shows it; gives Assay's panic, if that came.
    ///
    /// # Errors
    /// A file or stdout can't be written.
    pub(super) fn take(&mut self, bytes: &[u8], stdout: &mut impl Write) -> Result<bool> {
        self.splitter.feed(bytes);
        let news = self.splitter.news();
        if self.json {
            for event in &news.events {
                writeln!(stdout, "{}", event.json())?;
            }
        } else {
            stdout.write_all(bytes)?;
        }
        stdout.flush()?;
        if let Some(logs) = &mut self.logs {
            let own = [(OWN, &news.own)];
            let streams = news.streams.iter().map(|(name, bytes)| (if name.is_empty() { OWN } else { name }, bytes));
            for (name, bytes) in own.into_iter().chain(streams) {
                let file = logs.get_mut(name).with_context(|| format!("no log of {name}"))?;
                file.write_all(bytes).with_context(|| format!("{name}.log"))?;
            }
        }
        if let Some(desk) = &self.desk {
            desk.tell(bytes, &news);
        }
        let panicked = news.events.iter().any(Event::is_panic);
        self.events.extend(news.events);
        Ok(panicked)
    }
}

fn logs(folder: &Path, names: &[&str]) -> Result<BTreeMap<String, File>> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let open = |name: &&str| {
        let path = folder.join(format!("{name}.log"));
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok(((*name).to_owned(), file))
    };
    names.iter().chain([&OWN]).map(open).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Format, Outputs, Record};
    use assay_harness::manifest::ConsoleStyle::{Keys, Prefix};

    #[test]
    fn each_vm_has_a_file_and_assays_lines_have_one() {
        let folder = std::env::temp_dir().join(format!("assay-record-{}", std::process::id()));
        let outputs = Outputs { log_dir: Some(folder.clone()), ..Outputs::default() };
        let mut record = Record::open(&outputs, &["a", "b"]).unwrap();
        let console = b"U-Boot\nassay: boot cpus=2\r\n[a] one\n[b] two\n[a] TAP version 13\n";
        let mut shown = Vec::new();
        for byte in console {
            assert!(!record.take(&[*byte], &mut shown).unwrap());
        }
        assert_eq!(shown, console);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("a.log"), "one\nTAP version 13\n");
        assert_eq!(read("b.log"), "two\n");
        assert_eq!(read("assay.log"), "U-Boot\nassay: boot cpus=2\r\n");
        assert_eq!(record.events.len(), 1);
        assert!(Record::open(&outputs, &["assay"]).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn as_json_only_assays_lines_are_shown() {
        let outputs = Outputs { events: Some(Format::Json), ..Outputs::default() };
        let mut record = Record::open(&outputs, &["a"]).unwrap();
        let mut shown = Vec::new();
        record.take(b"[a] assay: forged\nassay: vm name=a event=started\n[a] hel", &mut shown).unwrap();
        assert_eq!(shown, b"{\"event\":\"started\",\"kind\":\"vm\",\"name\":\"a\"}\n");
        assert!(record.take(b"lo\nassay: error panic\n", &mut shown).unwrap());
    }

    #[test]
    fn lines_are_prefixed_where_their_owner_must_be_certain() {
        let logs = Outputs { log_dir: Some("x".into()), ..Outputs::default() };
        assert!(logs.wants_prefix(2) && !logs.wants_prefix(1));
        assert!(Outputs { events: Some(Format::Json), ..Outputs::default() }.wants_prefix(1));
        assert!(!Outputs::default().wants_prefix(2));
    }

    #[test]
    fn programs_get_keys_and_people_what_the_manifest_says() {
        let sockets = Outputs { console_dir: Some("x".into()), ..Outputs::default() };
        assert_eq!((sockets.style_for(1, true), sockets.style_for(2, true)), (Some(Keys), Some(Prefix)));
        assert_eq!(
            (Outputs::default().style_for(2, true), Outputs::default().style_for(1, false)),
            (None, Some(Prefix))
        );
    }
}
