//! Sockets at a UART that is played.

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use assay_harness::console::Splitter;

use super::{Desk, Shared, lock};

/// Two VMs, `a` and `b`, that say what is typed to them, and a monitor that knows `vms`.
struct Uart {
    shared: Arc<Shared>,
    splitter: Splitter,
    typed: Arc<Mutex<Vec<u8>>>,
    line: Option<String>,
    listener: String,
}

impl Uart {
    fn say(&mut self, text: &str) {
        self.splitter.feed(text.as_bytes());
        self.shared.tell(text.as_bytes(), &self.splitter.news());
    }

    fn prompt(&mut self) {
        self.line = Some(String::new());
        self.say("\r\n\rassay> \x1b[K");
    }
}

impl Write for Uart {
    fn write(&mut self, keys: &[u8]) -> io::Result<usize> {
        lock(&self.typed).extend_from_slice(keys);
        for key in String::from_utf8_lossy(keys).chars() {
            match (self.line.take(), key) {
                (_, '\x1d') => self.prompt(),
                (Some(line), '\r') => {
                    self.say("\r\n");
                    match line.split_once(' ').unwrap_or((&line, "")) {
                        ("console", "all") | ("quit", "") => {}
                        ("console", name) => name.clone_into(&mut self.listener),
                        _ => {
                            self.say("assay: vms name=a state=running\r\n");
                            self.prompt();
                        }
                    }
                }
                (Some(line), key) => {
                    let line = format!("{line}{key}");
                    // As the monitor draws it: the whole line, for each key.
                    self.say(&format!("\rassay> {line}\x1b[K"));
                    self.line = Some(line);
                }
                (None, key) => {
                    let text = format!("[{}] hears {key}\n", self.listener);
                    self.say(&text);
                }
            }
        }
        Ok(keys.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    folder: PathBuf,
    desk: Desk,
    typed: Arc<Mutex<Vec<u8>>>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("assay-desk-{}-{name}", std::process::id()));
        let mut desk = Desk::open(&folder, &["a", "b"]).unwrap();
        let typed = Arc::new(Mutex::new(Vec::new()));
        let (splitter, shared) = (Splitter::new(&["a", "b"]), Arc::clone(&desk.shared));
        desk.serve(Uart { shared, splitter, typed: Arc::clone(&typed), line: None, listener: "a".to_owned() });
        Self { folder, desk, typed }
    }

    fn connect(&self, name: &str) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(self.folder.join(name)).unwrap())
    }
}

fn exchange(console: &mut BufReader<UnixStream>, keys: &str) -> String {
    console.get_mut().write_all(keys.as_bytes()).unwrap();
    let mut line = String::new();
    console.read_line(&mut line).unwrap();
    line
}

#[test]
fn keys_go_to_the_vm_whose_socket_it_is() {
    let bench = Bench::new("keys");
    let (mut a, mut b) = (bench.connect("a.sock"), bench.connect("b.sock"));
    assert_eq!(exchange(&mut b, "x"), "hears x\n");
    assert_eq!(exchange(&mut a, "y"), "hears y\n");
    // The monitor's key is no key of a VM's, and QEMU's is doubled.
    assert_eq!(exchange(&mut a, "\x1dz\x01"), "hears z\n");
    let typed = String::from_utf8(lock(&bench.typed).clone()).unwrap();
    assert_eq!(typed, "\x1dconsole b\r\x1dconsole all\rx\x1dconsole a\r\x1dconsole all\ryz\x01\x01");
    let mut late = String::new();
    let reader = bench.connect("b.sock");
    reader.take(8).read_to_string(&mut late).unwrap();
    assert_eq!(late, "hears x\n");
    let folder = bench.folder.clone();
    drop(bench.desk);
    // Every socket is gone.
    std::fs::remove_dir(folder).unwrap();
}

#[test]
fn the_monitor_answers_with_its_lines_and_an_empty_one() {
    let bench = Bench::new("ask");
    let mut monitor = bench.connect("assay.sock");
    assert_eq!(exchange(&mut monitor, "vms\n"), "assay: vms name=a state=running\n");
    assert_eq!(exchange(&mut monitor, ""), "\n");
    assert!(exchange(&mut monitor, "quit\n").contains("error="));
    assert_eq!(exchange(&mut monitor, ""), "\n");
    // The typed words are the whole conversation: the monitor is left at its end.
    assert_eq!(lock(&bench.typed).as_slice(), b"\x1dvms\rquit\r");
}

#[test]
fn a_socket_that_is_in_use_is_anothers_and_one_that_is_left_is_taken() {
    let bench = Bench::new("taken");
    let error = Desk::open(&bench.folder, &["a"]).err().unwrap().to_string();
    assert!(error.contains("another run's"), "{error}");
    let path = bench.folder.join("c.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(super::listen(&path).is_ok());
}
