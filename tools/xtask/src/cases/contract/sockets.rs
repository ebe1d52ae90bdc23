//! `run` as scripts drive it: a socket and a file for each VM, and Assay's lines as JSON.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{BUNDLE, LIMIT, told};
use crate::build;

/// Two VMs, each typed to at its own socket.
pub(super) fn both() -> Result<String> {
    let _alone = BUNDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("assay-sockets-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let vm = |name: &str| {
        format!("[[vm]]\nname = \"{name}\"\nmemory = \"16M\"\nkernel = \"heartbeat\"\ncmdline = \"beat\"\n")
    };
    let manifest = folder.join("vms.toml");
    fs::write(&manifest, vm("a") + &vm("b"))?;
    let mut command = Command::new(build::this_program()?);
    command.args(["run", "--events", "json", "--manifest"]).arg(&manifest);
    command.arg("--console-dir").arg(&folder).arg("--log-dir").arg(&folder);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let typed = type_to_both(&folder);
    if typed.is_err() {
        child.kill()?;
    }
    let run = child.wait_with_output()?;
    typed.with_context(|| told(&run))?;
    ensure!(run.status.code() == Some(0), "{}", told(&run));
    let lines = String::from_utf8(run.stdout)?;
    let events: Vec<serde_json::Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ends = events.iter().filter(|event| event["kind"] == "vm" && event["event"] == "stopped").count();
    ensure!(ends == 2, "{lines}");
    for name in ["a", "b"] {
        let log = fs::read_to_string(folder.join(format!("{name}.log")))?;
        ensure!(log.contains("heartbeat: ") && !log.contains('['), "{name}: {log}");
        ensure!(!folder.join(format!("{name}.sock")).exists(), "{name}'s socket is left");
    }
    fs::remove_dir_all(folder)?;
    Ok(String::new())
}

/// Reads both, asks the monitor, and ends both by a key.
fn type_to_both(folder: &Path) -> Result<()> {
    let connect = |name: &str| connect(&folder.join(name));
    let (mut a, mut b, mut monitor) = (connect("a.sock")?, connect("b.sock")?, connect("assay.sock")?);
    for console in [&mut a, &mut b] {
        let mut line = String::new();
        while !line.contains("heartbeat: ") {
            ensure!(console.read_line(&mut line)? > 0, "the run has ended: {line:?}");
        }
    }
    let mut line = String::new();
    writeln!(monitor.get_mut(), "vms")?;
    monitor.read_line(&mut line)?;
    ensure!(line.starts_with("assay: vms name=a state=running"), "{line:?}");
    for console in [&mut b, &mut a] {
        console.get_mut().write_all(b"q")?;
    }
    Ok(())
}

/// The socket at `path`, once it is there.
fn connect(path: &Path) -> Result<BufReader<UnixStream>> {
    let end = Instant::now() + LIMIT;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT))?;
                return Ok(BufReader::new(stream));
            }
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
}
