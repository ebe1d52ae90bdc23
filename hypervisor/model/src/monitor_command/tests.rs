use super::{COMMANDS, Command, CommandError, Completion, Trace, completion, find, parse};
use assay_spec::addr::Ipa;
use std::string::ToString;

#[test]
fn every_command_reads_as_what_it_says() {
    let lines = [
        ("", Command::Nothing),
        ("   ", Command::Nothing),
        ("vms", Command::Vms),
        ("console", Command::Console(None)),
        ("console all", Command::Console(None)),
        ("console linux", Command::Console(Some("linux"))),
        ("  start   a ", Command::Start("a")),
        ("stop a", Command::Stop("a")),
        ("restart a", Command::Restart("a")),
        ("memory", Command::Memory(None)),
        ("memory a", Command::Memory(Some("a"))),
        ("offline a 0x4800f123", Command::Offline("a", Ipa(0x4800_f123))),
        ("stats", Command::Stats(None)),
        ("stats a", Command::Stats(Some("a"))),
        ("trace a on", Command::Trace("a", Trace::On)),
        ("trace a off", Command::Trace("a", Trace::Off)),
        ("trace a show", Command::Trace("a", Trace::Show)),
        ("help", Command::Help(None)),
        ("help stop", Command::Help(Some("stop"))),
        ("quit", Command::Quit),
    ];
    for (line, command) in lines {
        assert_eq!(parse(line), Ok(command), "{line:?}");
    }
    // Each entry of the table is among them.
    for entry in COMMANDS {
        assert!(lines.iter().any(|(line, _)| line.trim().starts_with(entry.name)));
    }
}

#[test]
fn what_is_no_command_is_told_what_is() {
    let said = |line| parse(line).unwrap_err().to_string();
    assert_eq!(said("reboot"), "there is no command reboot: help lists them");
    assert_eq!(said("start"), "write: start NAME");
    assert_eq!(said("stop a b"), "write: stop NAME");
    assert_eq!(said("trace a"), "write: trace NAME on|off|show");
    assert_eq!(said("trace a on now"), "write: trace NAME on|off|show");
    assert_eq!(said("trace a maybe"), "write: trace NAME on|off|show");
    for wrong in ["", " a", " a 4000", " a 0x", " a 0x+1", " a 0x10000000000000000", " a 0xg", " a 0x1 0x2"] {
        let line = std::format!("offline{wrong}");
        assert_eq!(parse(&line).unwrap_err().to_string(), "write: offline NAME IPA");
    }
    assert_eq!(said("vms all"), "vms takes nothing after it");
    assert_eq!(parse("Vms"), Err(CommandError::Unknown("Vms")));
    assert_eq!(parse("quit a b c"), Err(CommandError::Arguments(find("quit").unwrap())));
}

fn completed(typed: &str) -> (usize, &str) {
    let Completion { count, rest } = completion(typed, &mut ["linux", "linus", "b"].into_iter());
    (count, rest)
}

#[test]
fn a_word_is_completed_as_far_as_all_that_fit_agree() {
    assert_eq!(completed("v"), (1, "ms"));
    assert_eq!(completed("st"), (3, ""));
    assert_eq!(completed("sta"), (2, ""));
    assert_eq!(completed("stop l"), (2, "inu"));
    assert_eq!(completed("stop linux"), (1, ""));
    assert_eq!(completed("stop "), (3, ""));
    assert_eq!(completed("console a"), (1, "ll"));
    assert_eq!(completed("trace b o"), (2, ""));
    assert_eq!(completed("trace b s"), (1, "how"));
    assert_eq!(completed("help con"), (1, "sole"));
    assert_eq!(completed(""), (COMMANDS.len(), ""));
}

#[test]
fn where_nothing_may_stand_nothing_is_offered() {
    assert_eq!(completed("vms "), (0, ""));
    assert_eq!(completed("stop b "), (0, ""));
    assert_eq!(completed("nothing l"), (0, ""));
    assert_eq!(completed("stop x"), (0, ""));
}
