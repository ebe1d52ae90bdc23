//! QEMU's machine protocol: enough of it to ask, pause, resume and quit.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::error::{self, Kind};

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, ready for commands.
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Connects to the socket, which QEMU may still be about to make.
    ///
    /// # Errors
    /// No QEMU listens there within ten seconds, or what listens is no QEMU.
    pub fn connect(socket: &Path) -> error::Result<Self> {
        Self::greeted(socket).map_err(|error| Kind::Qemu.error(error))
    }

    fn greeted(socket: &Path) -> Result<Self> {
        let start = Instant::now();
        let writer = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > PATIENCE => {
                    return Err(error).with_context(|| format!("no QEMU listens at {}", socket.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        writer.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Self { reader: BufReader::new(writer.try_clone()?), writer };
        loop {
            let said = qmp.read()?;
            if said.get("QMP").is_some() {
                break;
            }
            // An event for the connection before this one, which QEMU had not missed yet, may come first.
            if said.get("event").is_none() {
                bail!("{} is not QEMU's: it says {said}", socket.display());
            }
        }
        qmp.answered("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    /// QEMU's own words, or no answer in time.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> error::Result<Value> {
        self.answered(command, arguments).map_err(|error| Kind::Qemu.error(error))
    }

    fn answered(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.writer, "{request}").with_context(|| format!("QMP {command}"))?;
        loop {
            let answer = self.read().with_context(|| format!("QMP {command}"))?;
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
            if let Some(error) = answer.get("error") {
                let reason = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                bail!("QMP {command}: {reason}");
            }
            // Anything else is an event.
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed the connection");
        }
        serde_json::from_str(&line).context("not JSON")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::Qmp;

    /// A peer that greets and gives `answers`, each after one request.
    fn peer(name: &str, answers: &'static [&'static str]) -> std::path::PathBuf {
        greeting(name, "{\"QMP\":{\"version\":{}}}", answers)
    }

    fn greeting(name: &str, words: &'static str, answers: &'static [&'static str]) -> std::path::PathBuf {
        let socket = std::env::temp_dir().join(format!("assay-qmp-{}-{name}", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap()).lines();
            writeln!(stream, "{words}").unwrap();
            for answer in answers {
                let _ = requests.next();
                writeln!(stream, "{answer}").unwrap();
            }
        });
        socket
    }

    #[test]
    fn a_command_gives_its_result_and_events_are_passed_over() {
        let socket =
            peer("result", &["{\"return\":{}}", "{\"event\":\"STOP\"}\n{\"return\":{\"status\":\"running\"}}"]);
        let mut qmp = Qmp::connect(&socket).unwrap();
        assert_eq!(qmp.execute("query-status", &json!({})).unwrap()["status"], "running");
        std::fs::remove_file(socket).unwrap();
    }

    #[test]
    fn a_refused_command_is_an_error_with_qemus_reason() {
        let socket = peer("refused", &["{\"return\":{}}", "{\"error\":{\"desc\":\"no such thing\"}}"]);
        let mut qmp = Qmp::connect(&socket).unwrap();
        assert!(qmp.execute("frobnicate", &json!({})).unwrap_err().to_string().contains("no such thing"));
        std::fs::remove_file(socket).unwrap();
    }

    #[test]
    fn events_may_come_before_the_greeting_and_nothing_else() {
        let events = "{\"event\":\"SHUTDOWN\"}\n{\"QMP\":{}}";
        for (name, words, is_qemu) in [("events", events, true), ("other", "{\"HTTP\":1}", false)] {
            let socket = greeting(name, words, &["{\"return\":{}}"]);
            assert_eq!(Qmp::connect(&socket).is_ok(), is_qemu, "{words}");
            std::fs::remove_file(socket).unwrap();
        }
    }
}
