use std::format;
use std::string::String;

use super::{Head, Row, columns};

fn both(line: &str) -> (String, String) {
    (format!("{}", Head(format_args!("{line}"))), format!("{}", Row(format_args!("{line}"))))
}

#[test]
fn values_are_below_their_keys() {
    let (head, one) = both("vms name=linux state=running cpus=0,1 memory=0x20000000 lives=1 crashes=0 uptime_ms=8031");
    let (_, two) = both("vms name=b state=waiting cpus=2 memory=0x1000000 lives=13 crashes=12 uptime_ms=0");
    assert_eq!(head, "NAME             STATE    CPUS     MEMORY       LIVES  CRASHES UPTIME_MS");
    assert_eq!(one, "linux            running  0,1      0x20000000   1      0       8031");
    assert_eq!(two, "b                waiting  2        0x1000000    13     12      0");
}

#[test]
fn a_key_without_a_column_stays_before_its_value() {
    let (head, row) = both("stats vm=a vcpu=0 cpu=shared hvc=3 cleared_mib=64");
    assert_eq!(head, "VM               VCPU CPU    HVC");
    assert_eq!(row, "a                0    shared 3        cleared_mib=64");
}

#[test]
fn lines_with_the_same_columns_need_one_heading() {
    let of = |line: &str| columns(format_args!("{line}"));
    assert_eq!(of("vms name=a state=running trace=on"), of("vms name=b state=stopped"));
    assert_ne!(of("vms name=a"), of("stats vm=a"));
    assert_eq!(of("memory el2_heap_used=5 frames_free=6"), 0, "none");
}

#[test]
fn blanks_and_quotes_within_a_quoted_value_end_nothing() {
    let line = r#"help command="stop NAME" does="stops \"it\" = now" more="x y" end"#;
    let (head, row) = both(line);
    assert_eq!(head, "COMMAND                DOES");
    assert_eq!(row, r#"stop NAME              stops \"it\" = now more="x y" end"#);
}

#[test]
fn what_is_too_long_for_its_column_moves_the_rest() {
    let (_, row) = both("vms name=a-name-of-more-than-sixteen state=running");
    assert_eq!(row, "a-name-of-more-than-sixteen running");
}

#[test]
fn a_line_may_come_in_pieces() {
    let (name, lives) = ("linux", 3);
    assert_eq!(
        format!("{}", Row(format_args!("vms name={name}{} lives={lives}", " state=running"))),
        "linux            running  3"
    );
}
