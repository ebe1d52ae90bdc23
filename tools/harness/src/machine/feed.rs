//! The threads behind a machine: one starts QEMU and reads its console, one writes to it.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use crate::console::Splitter;
use crate::error::{Kind, Result};
use crate::events::Event;

#[derive(Default)]
struct Shared {
    console: Splitter,
    complaint: Vec<u8>,
    /// The console is closed and QEMU waited for: its exit status, `None` in it for a signal.
    ended: Option<Option<i32>>,
    child: Option<Child>,
}

/// QEMU's ends.
pub(super) struct Feed {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    input: Sender<Vec<u8>>,
}

fn lock(shared: &(Mutex<Shared>, Condvar)) -> MutexGuard<'_, Shared> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Starts QEMU. The thread that does it lives as long as QEMU: QEMU is set to die with it, so a
    /// machine may move between threads.
    pub(super) fn start(mut command: Command, console: Splitter) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shared = Arc::new((Mutex::new(Shared { console, ..Shared::default() }), Condvar::new()));
        let (input, typed) = channel::<Vec<u8>>();
        let (started, start) = channel();
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            let child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let pipes = adopt(&theirs, child);
            let _ = started.send(Ok(pipes.0));
            read_all(&theirs, pipes.1, pipes.2);
        });
        let stdin = start.recv().map_err(|error| Kind::Qemu.error(error))?;
        let stdin = stdin.context("can't run QEMU").map_err(|error| Kind::Qemu.error(error))?;
        std::thread::spawn(move || {
            let Some(mut stdin) = stdin else { return };
            // Ends when the machine is dropped.
            for bytes in typed {
                if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { shared, input })
    }

    pub(super) fn send(&self, bytes: Vec<u8>) -> Result<()> {
        self.input.send(bytes).map_err(|_| Kind::Ended.error(anyhow!("QEMU has ended")))
    }

    /// Looks at the console whenever something came, until `find` gives something, the machine ends or
    /// the time is over.
    pub(super) fn wait<T>(&self, limit: Duration, find: impl Fn(&Splitter) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut shared = lock(&self.shared);
        loop {
            if let Some(found) = find(&shared.console) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            // After a panic nothing that is waited for comes.
            let over = shared.ended.is_some() || shared.console.events().iter().any(Event::is_panic);
            if over || left.is_zero() {
                return None;
            }
            let waited = self.shared.1.wait_timeout(shared, left);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end. `None`: it still runs.
    pub(super) fn join(&self, limit: Duration) -> Option<Option<i32>> {
        self.wait(limit, |_| None::<()>);
        lock(&self.shared).ended
    }

    pub(super) fn look<T>(&self, read: impl FnOnce(&Splitter) -> T) -> T {
        read(&lock(&self.shared).console)
    }

    pub(super) fn ended(&self) -> bool {
        lock(&self.shared).ended.is_some()
    }

    /// What QEMU wrote to its error output.
    pub(super) fn complaint(&self) -> String {
        String::from_utf8_lossy(&lock(&self.shared).complaint).trim().to_owned()
    }

    /// SIGKILL, to this QEMU alone: with icount and a sleeping guest it ignores anything softer.
    pub(super) fn kill(&self) {
        let mut shared = lock(&self.shared);
        if shared.ended.is_none()
            && let Some(child) = &mut shared.child
        {
            let _ = child.kill();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.kill();
        // So that its files may go.
        self.join(Duration::from_secs(5));
    }
}

type Pipes = (Option<std::process::ChildStdin>, Option<std::process::ChildStdout>, Option<std::process::ChildStderr>);

fn adopt(shared: &Arc<(Mutex<Shared>, Condvar)>, mut child: Child) -> Pipes {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    lock(shared).child = Some(child);
    pipes
}

fn read_all(
    shared: &Arc<(Mutex<Shared>, Condvar)>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
) {
    let complaints = Arc::clone(shared);
    let complaint = std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let Some(mut stderr) = stderr else { return };
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            lock(&complaints).complaint.extend_from_slice(&buffer[..count]);
        }
    });
    let mut buffer = [0; 16384];
    if let Some(mut stdout) = stdout {
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            lock(shared).console.feed(&buffer[..count]);
            shared.1.notify_all();
        }
    }
    let _ = complaint.join();
    // The console is closed, so QEMU is at its end: the lock is held only for that moment.
    let mut ours = lock(shared);
    let status = ours.child.take().and_then(|mut child| child.wait().ok()).and_then(|status| status.code());
    ours.ended = Some(status);
    drop(ours);
    shared.1.notify_all();
}
