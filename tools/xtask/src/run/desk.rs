//! `run --console-dir`: a Unix socket for each VM's console, and one that asks Assay's monitor.
//!
//! There is one UART. So one thread has its input: before it types to another VM than the one before it takes the
//! monitor's word `console NAME`, and before a command it opens the monitor, as a person would.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use assay_harness::console::{News, is_answered, is_taken};

use super::record::OWN;

/// `Ctrl-]` opens the monitor.
const ESCAPE: u8 = 0x1d;
/// The start of QEMU's own keys; doubled where a guest shall get it.
const MUX_ESCAPE: u8 = 1;
/// How much of a VM's output who connects late still gets, in bytes.
const BACKLOG: usize = 64 << 10;
/// How long a reader may take nothing before it is let go: nobody else waits for it longer.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the monitor may take to answer.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a prompt has to stay: one is drawn anew behind each line of Assay's own.
const SETTLE: Duration = Duration::from_millis(20);
/// Words that leave the monitor, and so don't come to a prompt.
const LEAVING: [&str; 2] = ["console", "quit"];

/// What somebody wants of the UART's input.
enum Request {
    /// Keys for a VM.
    Keys(String, Vec<u8>),
    /// A command for the monitor; what it printed goes to the asker.
    Ask(String, Sender<Vec<u8>>),
}

/// One VM's output: its end, and who reads it.
#[derive(Default)]
struct Line {
    backlog: Vec<u8>,
    readers: Vec<UnixStream>,
}

/// What the thread that types waits to see.
#[derive(Default)]
struct Screen {
    /// The console since it has typed, while it waits.
    raw: Option<Vec<u8>>,
    /// Assay's own lines since then.
    own: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<BTreeMap<String, Line>>,
    screen: Mutex<Screen>,
    changed: Condvar,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sockets of a run. They go when it ends.
pub(super) struct Desk {
    paths: Vec<PathBuf>,
    shared: Arc<Shared>,
    several: bool,
    /// Until the input is there.
    requests: Option<Receiver<Request>>,
}

impl Desk {
    /// Makes the sockets, and serves who connects.
    ///
    /// # Errors
    /// The folder or a socket can't be made, or a machine that runs has it.
    pub(super) fn open(folder: &Path, names: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let (sender, requests) = channel();
        let shared = Arc::new(Shared::default());
        let mut desk = Self { paths: Vec::new(), shared, several: names.len() > 1, requests: Some(requests) };
        for name in names.iter().chain([&OWN]) {
            let path = folder.join(format!("{name}.sock"));
            let listener = listen(&path)?;
            desk.paths.push(path);
            let (name, shared, sender) = ((*name).to_owned(), Arc::clone(&desk.shared), sender.clone());
            lock(&shared.lines).insert(name.clone(), Line::default());
            // They end with the process.
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (name, shared, sender) = (name.clone(), Arc::clone(&shared), sender.clone());
                    std::thread::spawn(move || {
                        let served = if name == OWN {
                            answer(&stream, &sender)
                        } else {
                            attend(&name, stream, &shared, &sender)
                        };
                        // Who has gone needs no answer.
                        drop(served);
                    });
                }
            });
        }
        Ok(desk)
    }

    /// Types for the sockets from now on.
    pub(super) fn serve(&mut self, to_guest: impl Write + Send + 'static) {
        if let Some(requests) = self.requests.take() {
            let (shared, several) = (Arc::clone(&self.shared), self.several);
            let typist = Typist { to_guest, shared, several, listener: None };
            std::thread::spawn(move || typist.serve(&requests));
        }
    }

    /// Passes on what came from the console.
    pub(super) fn tell(&self, raw: &[u8], news: &News) {
        self.shared.tell(raw, news);
    }
}

impl Shared {
    fn tell(&self, raw: &[u8], news: &News) {
        let mut lines = lock(&self.lines);
        for (name, bytes) in &news.streams {
            let Some(line) = lines.get_mut(name) else { continue };
            line.readers.retain_mut(|reader| reader.write_all(bytes).is_ok());
            line.backlog.extend_from_slice(bytes);
            let more = line.backlog.len().saturating_sub(BACKLOG);
            line.backlog.drain(..more);
        }
        drop(lines);
        let mut screen = lock(&self.screen);
        if let Some(seen) = &mut screen.raw {
            seen.extend_from_slice(raw);
            screen.own.extend_from_slice(&news.own);
            self.changed.notify_all();
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

/// A socket at `path`, also where a run that was killed has left one.
fn listen(path: &Path) -> Result<UnixListener> {
    let is_left = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_left {
        if UnixStream::connect(path).is_ok() {
            bail!("{} is another run's: give another --console-dir", path.display());
        }
        fs::remove_file(path)?;
    }
    UnixListener::bind(path).with_context(|| path.display().to_string())
}

/// A VM's console for one who has connected.
fn attend(name: &str, stream: UnixStream, shared: &Shared, sender: &Sender<Request>) -> Result<()> {
    let mut keys = stream.try_clone()?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = lock(&shared.lines);
    let line = lines.get_mut(name).context("a VM")?;
    let mut reader = stream;
    reader.write_all(&line.backlog)?;
    line.readers.push(reader);
    drop(lines);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = keys.read(&mut buffer) {
        sender.send(Request::Keys(name.to_owned(), buffer[..count].to_vec()))?;
    }
    Ok(())
}

/// The monitor for one who has connected: a command a line; what it prints, and an empty line.
fn answer(stream: &UnixStream, sender: &Sender<Request>) -> Result<()> {
    let mut to_asker = stream;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let (answered, answer) = channel();
        sender.send(Request::Ask(line.trim().to_owned(), answered))?;
        let said = String::from_utf8_lossy(&answer.recv()?).replace('\r', "");
        writeln!(to_asker, "{said}")?;
    }
    Ok(())
}

/// Who has the UART's input.
struct Typist<W> {
    to_guest: W,
    shared: Arc<Shared>,
    /// The only VM always has the input.
    several: bool,
    /// Who has it among several, once that was chosen.
    listener: Option<String>,
}

impl<W: Write> Typist<W> {
    /// Does what is asked until QEMU takes no more.
    fn serve(mut self, requests: &Receiver<Request>) {
        while let Ok(request) = requests.recv() {
            let done = match request {
                Request::Keys(vm, keys) => self.keys(&vm, &keys),
                Request::Ask(command, answered) => self.ask(&command).map(|said| drop(answered.send(said))),
            };
            if let Err(error) = done {
                eprintln!("error: --console-dir: {error:#}");
                return;
            }
        }
    }

    fn keys(&mut self, vm: &str, keys: &[u8]) -> Result<()> {
        if self.several && self.listener.as_deref() != Some(vm) {
            self.say(&[ESCAPE], |raw| is_answered(raw, ""))?;
            let choose = format!("console {vm}");
            self.say(format!("{choose}\r").as_bytes(), |raw| is_taken(raw, &format!("{choose}\r\n")))?;
            // All are shown again, and the input stays.
            self.say(&[ESCAPE], |raw| is_answered(raw, ""))?;
            self.say(b"console all\r", |raw| is_taken(raw, "console all\r\n"))?;
            self.listener = Some(vm.to_owned());
        }
        // Who types here has this VM; the monitor is asked at its own socket.
        let keys: Vec<u8> = keys.iter().copied().filter(|key| *key != ESCAPE).collect();
        self.send(&keys)
    }

    /// What the monitor says to a command.
    fn ask(&mut self, command: &str) -> Result<Vec<u8>> {
        let word = command.split(' ').next().unwrap_or_default();
        if LEAVING.contains(&word) || command.chars().any(char::is_control) {
            return Ok(format!("assay: monitor error=\"{word} is for a terminal\"\n").into_bytes());
        }
        self.say(&[ESCAPE], |raw| is_answered(raw, ""))?;
        let said = self.say(format!("{command}\r").as_bytes(), |raw| is_answered(raw, &format!("{command}\r\n")))?;
        self.say(b"quit\r", |raw| is_taken(raw, "quit\r\n"))?;
        Ok(said)
    }

    /// Types, and waits until the console shows what `seen` looks for; gives Assay's lines of the meantime.
    fn say(&mut self, keys: &[u8], seen: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        *lock(&self.shared.screen) = Screen { raw: Some(Vec::new()), own: Vec::new() };
        self.send(keys)?;
        let end = Instant::now() + LIMIT;
        let mut screen = lock(&self.shared.screen);
        let mut stays = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the monitor didn't answer within {LIMIT:?}");
            }
            let shows = seen(screen.raw.as_deref().unwrap_or_default());
            if shows && stays {
                screen.raw = None;
                return Ok(std::mem::take(&mut screen.own));
            }
            let (next, waited) = self
                .shared
                .changed
                .wait_timeout(screen, if shows { SETTLE } else { left })
                .unwrap_or_else(PoisonError::into_inner);
            screen = next;
            stays = shows && waited.timed_out();
        }
    }

    fn send(&mut self, keys: &[u8]) -> Result<()> {
        let twice = |key: &u8| std::iter::repeat_n(*key, if *key == MUX_ESCAPE { 2 } else { 1 });
        let keys: Vec<u8> = keys.iter().flat_map(twice).collect();
        self.to_guest.write_all(&keys).and_then(|()| self.to_guest.flush()).context("QEMU takes no input")
    }
}

#[cfg(test)]
mod tests;
