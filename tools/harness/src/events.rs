//! Assay's own console lines, `assay: KIND key=value …`, and what they say about how a run went.

use std::fmt;

/// What Assay's own lines start with.
pub const PREFIX: &str = "assay: ";

/// One line of Assay's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `boot`, `proof`, `decision`, `refused`, `vm`, `warning` or `error`.
    pub kind: String,
    /// Keys and values in the line's order; quotes and escapes are undone.
    pub fields: Vec<(String, String)>,
    /// The words that are not `key=value`, joined by blanks.
    pub text: String,
}

impl Event {
    /// Reads a line; `None` if it isn't one of Assay's own.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let rest = line.trim_end_matches(['\r', '\n']).strip_prefix(PREFIX)?;
        let mut words = words(rest).into_iter();
        let kind = words.next()?.0;
        let mut event = Self { kind, fields: Vec::new(), text: String::new() };
        for (word, equals) in words {
            match equals {
                Some(at) => event.fields.push((word[..at].to_owned(), word[at + 1..].to_owned())),
                None => {
                    let gap = if event.text.is_empty() { "" } else { " " };
                    event.text = format!("{}{gap}{word}", event.text);
                }
            }
        }
        Some(event)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// As a JSON object: `kind`, each key with its value as a string, and `text` where there is more.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let text = (!self.text.is_empty()).then_some(("text", &self.text));
        let fields = self.fields.iter().map(|(key, value)| (key.as_str(), value));
        let all = fields.chain(text).chain([("kind", &self.kind)]);
        serde_json::Value::Object(all.map(|(key, value)| (key.to_owned(), value.as_str().into())).collect())
    }

    /// Whether it is the life-cycle line of this VM and this event.
    #[must_use]
    pub fn is_vm(&self, name: &str, event: &str) -> bool {
        self.kind == "vm" && self.get("name") == Some(name) && self.get("event") == Some(event)
    }

    /// Whether Assay itself has given up.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.kind == "error" && self.text.starts_with("panic")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.kind)?;
        for (key, value) in &self.fields {
            if value.contains([' ', '"']) {
                write!(f, " {key}={value:?}")?;
            } else {
                write!(f, " {key}={value}")?;
            }
        }
        let gap = if self.text.is_empty() { "" } else { " " };
        write!(f, "{gap}{}", self.text)
    }
}

/// Words split at blanks outside quotes, unquoted, each with the place of its first `=` outside quotes.
fn words(text: &str) -> Vec<(String, Option<usize>)> {
    let mut all = Vec::new();
    let mut word = String::new();
    let mut equals = None;
    let mut quoted = false;
    let mut started = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        started |= character != ' ' || quoted;
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => match characters.next() {
                Some('n') => word.push('\n'),
                Some('r') => word.push('\r'),
                Some('t') => word.push('\t'),
                Some(other) => word.push(other),
                None => word.push('\\'),
            },
            ' ' if !quoted => {
                if started {
                    all.push((std::mem::take(&mut word), equals.take()));
                }
                started = false;
            }
            _ => {
                if character == '=' && !quoted && equals.is_none() {
                    equals = Some(word.len());
                }
                word.push(character);
            }
        }
    }
    if started {
        all.push((word, equals));
    }
    all
}

/// Whether every VM of `names` started and powered off by itself, and if not, why.
///
/// # Errors
/// The first reason found: refused, crashed, or never heard of.
pub fn verdict(events: &[Event], names: &[&str]) -> Result<(), String> {
    if let Some(refused) = events.iter().find(|event| event.kind == "refused") {
        let vm = refused.get("vm").unwrap_or("-");
        let remedy = refused.get("remedy").map_or_else(String::new, |remedy| format!("; to change that: {remedy}"));
        return Err(format!("VM {vm} was refused: {}{remedy}", refused.get("reason").unwrap_or("no reason given")));
    }
    for name in names {
        // A VM that crashed and was restarted by its manifest's wish may still power off at the end.
        let last = events.iter().rev().find(|event| event.kind == "vm" && event.get("name") == Some(name));
        match last.and_then(|event| event.get("event")) {
            Some("stopped") => {}
            Some("crashed") => {
                let cause = last.and_then(|event| event.get("cause")).unwrap_or("no cause given");
                return Err(format!("VM {name} crashed: {cause}"));
            }
            Some(_) => return Err(format!("VM {name} started but did not power off")),
            None => return Err(format!("VM {name} never started")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Event, verdict};

    fn event(line: &str) -> Event {
        Event::parse(line).unwrap()
    }

    #[test]
    fn a_line_gives_kind_and_fields_with_quotes_undone() {
        let event = event(
            "assay: refused vm=linux region=- rule=V2 reason=\"no \\\"room\\\" = none\" remedy=\"ask for less\"\r\n",
        );
        assert_eq!(event.kind, "refused");
        assert_eq!(event.get("reason"), Some("no \"room\" = none"));
        assert_eq!(event.get("remedy"), Some("ask for less"));
        assert_eq!(event.get("rule"), Some("V2"));
    }

    #[test]
    fn an_event_is_a_json_object_of_strings() {
        let line = event("assay: error panic reason=\"a \\\"b\\\"\" cpu=1 at boot");
        assert_eq!(line.json().to_string(), r#"{"cpu":"1","kind":"error","reason":"a \"b\"","text":"panic at boot"}"#);
        assert_eq!(event("assay: boot cpus=2").json().to_string(), r#"{"cpus":"2","kind":"boot"}"#);
    }

    #[test]
    fn an_empty_quoted_value_is_a_value() {
        assert_eq!(event("assay: vm name=a event=stopped cause=\"\"").get("cause"), Some(""));
    }

    #[test]
    fn a_guests_line_is_not_an_event() {
        assert_eq!(Event::parse("[linux] assay: vm name=linux event=stopped"), None);
        assert_eq!(Event::parse("hello"), None);
        assert_eq!(Event::parse("assay: "), None);
    }

    #[test]
    fn a_vm_that_started_and_powered_off_is_a_success() {
        let events = [event("assay: vm name=a event=started"), event("assay: vm name=a event=stopped cause=poweroff")];
        assert_eq!(verdict(&events, &["a"]), Ok(()));
    }

    #[test]
    fn refused_crashed_running_and_silent_vms_are_failures_that_say_so() {
        let started = event("assay: vm name=a event=started");
        let refused = event("assay: refused vm=a region=- rule=V1 reason=\"2 CPUs asked, 1 free\"");
        assert!(verdict(&[refused], &["a"]).unwrap_err().contains("2 CPUs asked"));
        let crashed = event("assay: vm name=a event=crashed cause=serror");
        assert!(verdict(&[started.clone(), crashed], &["a"]).unwrap_err().contains("serror"));
        assert!(verdict(&[started], &["a"]).unwrap_err().contains("did not power off"));
        assert!(verdict(&[], &["a"]).unwrap_err().contains("never started"));
    }
}
