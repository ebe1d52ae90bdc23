//! Progress on the terminal: a bar where stderr is one, plain lines where it is piped.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// One task that is under way. Its last line stays on the screen.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    name: String,
    said: u64,
}

impl Progress {
    /// Announces the task.
    pub(crate) fn start(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(100);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:32} {bar:30} {percent:>3}% {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("{name} ...");
        }
        Self { bar, name: name.to_owned(), said: 0 }
    }

    /// `percent` of the task is done; `what` is what it does now.
    pub(crate) fn at(&mut self, percent: u64, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(percent.min(100));
                bar.set_message(what.to_owned());
            }
            // In a log a line for each quarter is enough to see that it lives.
            None if percent >= self.said + 25 && percent < 100 => {
                self.said = percent - percent % 25;
                eprintln!("{}: {percent}%", self.name);
            }
            None => {}
        }
    }

    /// The task is done; `result` is what came of it.
    pub(crate) fn done(self, result: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: {result}", self.name);
    }
}
