use super::{Counts, Report, Status};

#[test]
fn a_plain_report_between_boot_lines_is_read() {
    let text = "[    0.1] booting\r\nKTAP version 1\r\n1..3\r\nok 1 - first\r\nnoise ok 2\r\nok 2 second # SKIP no SVE\r\n\
                not ok 3 third # got 5, want 4\r\nreboot: Power down\r\n";
    let report = Report::parse(text);
    assert_eq!(report.faults, [] as [&str; 0]);
    assert_eq!(report.counts(), Counts { passed: 1, failed: 1, skipped: 1 });
    assert_eq!(report.outcomes[0].name, "first");
    assert_eq!(report.outcomes[1].status, Status::Skipped);
    assert_eq!(report.check().unwrap_err(), "not ok 3 third: got 5, want 4");
}

#[test]
fn nested_plans_are_read_with_their_depth() {
    let text = "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n  ok 1 a\n  ok 2 b\nok 1 outer\nok 2 last\n";
    let report = Report::parse(text);
    assert_eq!(report.check(), Ok(Counts { passed: 4, failed: 0, skipped: 0 }));
    let depths: Vec<usize> = report.outcomes.iter().map(|outcome| outcome.depth).collect();
    assert_eq!(depths, [1, 1, 0, 0]);
}

#[test]
fn a_report_that_breaks_off_is_a_failure() {
    assert!(Report::parse("KTAP version 1\n1..2\nok 1 a\n").check().unwrap_err().contains("2 results planned, 1 came"));
    let nested = "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 outer\n";
    assert!(Report::parse(nested).check().is_err());
}

#[test]
fn a_guest_that_says_nothing_has_not_passed() {
    assert!(Report::parse("").check().is_err());
    assert!(Report::parse("KTAP version 1\n1..0\n").check().is_err());
}

#[test]
fn results_without_a_plan_or_out_of_turn_are_failures() {
    assert!(Report::parse("ok 1 stray\n").check().is_err());
    assert!(Report::parse("KTAP version 1\nok 1 a\n").check().unwrap_err().contains("plan line"));
    assert!(Report::parse("KTAP version 1\n1..2\nok 1 a\nok 1 a\n").check().is_err());
    assert!(Report::parse("KTAP version 1\n1..2\nok 2 b\nok 1 a\n").check().is_err());
}

#[test]
fn a_guest_that_reports_twice_is_read_twice() {
    let once = "KTAP version 1\n1..1\nok 1 a\n";
    assert_eq!(Report::parse(&[once, once].concat()).check().unwrap().passed, 2);
}
