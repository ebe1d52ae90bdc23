//! `top`: what VMs do, as the monitor of a run with `--console-dir` counts it.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use assay_harness::Event;
use clap::Args;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Stylize as _;
use ratatui::widgets::{Paragraph, Row, Table};

use crate::failure::unusable;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The folder of a run's sockets (run --console-dir)
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How long each look at the counts lasts, in seconds: while the monitor answers, guests' output waits
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    delay: u64,
}

/// Counts that are shown by name; all others together are `other`.
const SHOWN: [&str; 6] = ["hvc", "sysreg", "dabt", "wfx", "timer", "kick"];
/// What a `stats` line has besides counts of exits.
const NO_COUNTS: [&str; 6] = ["vm", "vcpu", "cpu", "ran_ms", "steal_ms", "cleared_mib"];
const HEAD: [&str; 15] = [
    "VM", "STATE", "LIVES", "UPTIME", "VCPU", "CPU", "EXITS/S", "HVC", "SYSREG", "DABT", "WFX", "TIMER", "KICK",
    "OTHER", "STEAL",
];
const WIDTHS: [u16; HEAD.len()] = [16, 8, 5, 9, 4, 6, 9, 7, 7, 7, 7, 7, 7, 7, 6];

/// Runs the command: until `q` on a terminal, else one table.
///
/// # Errors
/// No run has sockets there (exit status 2), or it ends.
pub(crate) fn run(options: &Options) -> Result<()> {
    let path = options.folder.join("assay.sock");
    let named = || format!("{}: is there a run with --console-dir?", path.display());
    let stream = UnixStream::connect(&path).with_context(named).map_err(unusable)?;
    let mut monitor = BufReader::new(stream);
    let delay = Duration::from_secs(options.delay);
    if !std::io::stdout().is_terminal() {
        let before = Sample::take(&mut monitor)?;
        std::thread::sleep(delay);
        print!("{}", plain(&Sample::take(&mut monitor)?.since(&before)));
        return Ok(());
    }
    ratatui::run(|terminal| watch(terminal, &mut monitor, delay))
}

fn watch(terminal: &mut ratatui::DefaultTerminal, monitor: &mut BufReader<UnixStream>, delay: Duration) -> Result<()> {
    let mut before = Sample::take(monitor)?;
    let mut rows = before.since(&before);
    loop {
        terminal.draw(|frame| draw(frame, &rows))?;
        let end = Instant::now() + delay;
        while event::poll(end.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Input::Key(key) if ends(&key) => return Ok(()),
                _ => terminal.draw(|frame| draw(frame, &rows)).map(drop)?,
            }
        }
        let now = Sample::take(monitor)?;
        rows = now.since(&before);
        before = now;
    }
}

/// `q`, Escape, or Ctrl-C, which is a key here.
fn ends(key: &KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || control && key.code == KeyCode::Char('c')
}

/// The monitor's counts of a moment.
struct Sample {
    at: Instant,
    vms: Vec<Event>,
    stats: Vec<Event>,
}

impl Sample {
    fn take(monitor: &mut BufReader<UnixStream>) -> Result<Self> {
        let vms = ask(monitor, "vms")?;
        Ok(Self { at: Instant::now(), vms, stats: ask(monitor, "stats")? })
    }

    fn since(&self, before: &Self) -> Vec<[String; HEAD.len()]> {
        rows(&self.vms, &self.stats, &before.stats, self.at.duration_since(before.at))
    }
}

/// What the monitor prints for a command.
fn ask(monitor: &mut BufReader<UnixStream>, command: &str) -> Result<Vec<Event>> {
    writeln!(monitor.get_mut(), "{command}").context("the run has ended")?;
    let mut events = Vec::new();
    loop {
        let mut line = String::new();
        if monitor.read_line(&mut line)? == 0 {
            bail!("the run has ended");
        }
        if line == "\n" {
            return Ok(events);
        }
        events.extend(Event::parse(&line).filter(|event| event.kind == command));
    }
}

/// A row for each vCPU, with counts a second since `before`.
fn rows(vms: &[Event], now: &[Event], before: &[Event], time: Duration) -> Vec<[String; HEAD.len()]> {
    let get = |event: &Event, key: &str| event.get(key).unwrap_or("-").to_owned();
    now.iter()
        .map(|stats| {
            let is_same = |other: &&Event| ["vm", "vcpu"].iter().all(|key| other.get(key) == stats.get(key));
            let old = before.iter().find(is_same);
            let vm = vms.iter().find(|vm| vm.get("name") == stats.get("vm"));
            let of_vm = |key: &str| vm.map_or_else(|| "-".to_owned(), |vm| get(vm, key));
            let counts = |event: &Event, wanted: &dyn Fn(&str) -> bool| -> u64 {
                let counts = event.fields.iter().filter(|(key, _)| !NO_COUNTS.contains(&key.as_str()) && wanted(key));
                counts.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
            };
            let rate = |wanted: &dyn Fn(&str) -> bool| {
                let old = old.map_or(0, |old| counts(old, wanted));
                let more = u128::from(counts(stats, wanted).saturating_sub(old)) * 1000;
                more.checked_div(time.as_millis()).unwrap_or(0).to_string()
            };
            let millis = |event: &Event| event.get("steal_ms").and_then(|value| value.parse::<u64>().ok());
            let steal = millis(stats).map_or_else(
                || "-".to_owned(),
                |steal| {
                    // A new life begins at 0.
                    let more = steal.saturating_sub(old.and_then(millis).unwrap_or(0));
                    format!("{}%", u128::from(more * 100).checked_div(time.as_millis()).unwrap_or(0))
                },
            );
            let [hvc, sysreg, dabt, wfx, timer, kick] = SHOWN.map(|name| rate(&|key| key == name));
            let seconds =
                of_vm("uptime_ms").parse::<u64>().map_or_else(|_| "-".to_owned(), |ms| format!("{} s", ms / 1000));
            [
                get(stats, "vm"),
                of_vm("state"),
                of_vm("lives"),
                seconds,
                get(stats, "vcpu"),
                get(stats, "cpu"),
                rate(&|_| true),
                hvc,
                sysreg,
                dabt,
                wfx,
                timer,
                kick,
                rate(&|key| !SHOWN.contains(&key)),
                steal,
            ]
        })
        .collect()
}

fn plain(rows: &[[String; HEAD.len()]]) -> String {
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}", width = usize::from(width)));
        format!("{}\n", padded.collect::<Vec<_>>().join(" ").trim_end())
    };
    let head = HEAD.map(str::to_owned);
    line(&head) + &rows.iter().map(|row| line(row)).collect::<String>()
}

fn draw(frame: &mut Frame<'_>, rows: &[[String; HEAD.len()]]) {
    let [top, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(frame.area());
    let mut names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    names.dedup();
    let title = format!("Assay: {} VMs, {} vCPUs; exits and interrupts a second. q ends", names.len(), rows.len());
    frame.render_widget(Paragraph::new(title).bold(), top);
    let table = Table::new(rows.iter().map(|row| Row::new(row.clone())), WIDTHS.map(Constraint::Length))
        .header(Row::new(HEAD).reversed());
    frame.render_widget(table, body);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use assay_harness::Event;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::{draw, plain, rows};

    fn sample() -> Vec<[String; super::HEAD.len()]> {
        let events = |lines: &[&str]| -> Vec<Event> { lines.iter().map(|line| Event::parse(line).unwrap()).collect() };
        let vms = events(&["assay: vms name=a state=running cpus=shared lives=2 uptime_ms=61500"]);
        let before = events(&["assay: stats vm=a vcpu=0 cpu=shared ran_ms=1 steal_ms=500 hvc=10 fp=1 irq=0 timer=100"]);
        let now = events(&[
            "assay: stats vm=a vcpu=0 cpu=shared ran_ms=9 steal_ms=1000 hvc=30 fp=3 irq=8 timer=300 cleared_mib=64",
            "assay: stats vm=a vcpu=1 cpu=1 hvc=2",
        ]);
        rows(&vms, &now, &before, Duration::from_secs(2))
    }

    #[test]
    fn counts_are_told_a_second_and_stolen_time_as_a_share() {
        let rows = sample();
        let wanted = ["a", "running", "2", "61 s", "0", "shared", "115", "10", "0", "0", "0", "100", "0", "5", "25%"];
        assert_eq!(rows[0], wanted);
        assert_eq!((rows[1][6].as_str(), rows[1][7].as_str(), rows[1][14].as_str()), ("1", "1", "-"));
        // The first look has nothing to compare with.
        let now = [Event::parse("assay: stats vm=a vcpu=0 hvc=5").unwrap()];
        assert_eq!(super::rows(&[], &now, &now, Duration::ZERO)[0][6], "0");
    }

    #[test]
    fn the_table_is_drawn_and_printed() {
        let mut terminal = Terminal::new(TestBackend::new(132, 6)).unwrap();
        terminal.draw(|frame| draw(frame, &sample())).unwrap();
        let screen = terminal.backend().to_string();
        assert!(screen.contains("1 VMs, 2 vCPUs") && screen.contains("EXITS/S") && screen.contains("61 s"), "{screen}");
        assert!(plain(&sample()).lines().nth(1).unwrap().starts_with("a                running  2     61 s"));
    }
}
