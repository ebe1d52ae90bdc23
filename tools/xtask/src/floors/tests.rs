use super::{Declared, judge};
use crate::source::Source;

/// What is said of a crate of these files.
fn said(floors: &[&[&str]], known: &[&str], files: &[(&str, &str)]) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let declared = Declared { floors: floors.iter().map(|floor| owned(floor)).collect(), known: owned(known) };
    let files: Vec<Source> = files.iter().map(|(path, text)| Source::parse(path.into(), text).unwrap()).collect();
    judge(&declared, &files)
}

const CIRCLE: &[(&str, &str)] =
    &[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::c::g() }"), ("c.rs", "use super::a;"), ("d.rs", "")];

#[test]
fn a_circle_is_found_and_told_with_its_places() {
    let said = said(&[], &[], CIRCLE);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("a circle: a -> b -> c -> a\n"), "{}", said[0]);
    assert!(said[0].contains("b.rs names c::g"), "{}", said[0]);
}

#[test]
fn modules_in_one_another_may_know_each_other() {
    let files = &[("a.rs", "use self::b::B;"), ("a/b.rs", "use super::A; use crate::a::c::C;"), ("a/c.rs", "")];
    assert!(said(&[], &[], files).is_empty());
}

#[test]
fn children_of_one_module_make_no_circle_either() {
    let files = &[("a.rs", ""), ("a/b.rs", "use super::c::C;"), ("a/c.rs", "use super::b::B;")];
    assert!(said(&[], &[], files)[0].starts_with("a circle: a::b -> a::c -> a::b"));
}

#[test]
fn a_module_stands_for_all_below_it() {
    let files = &[("a.rs", ""), ("a/x.rs", "use crate::b;"), ("b.rs", "use crate::a::y;"), ("a/y.rs", "")];
    assert!(said(&[], &[], files)[0].starts_with("a circle: a -> b -> a"));
}

#[test]
fn an_arrow_upwards_is_found() {
    let files = &[("low.rs", "use crate::high;"), ("high.rs", ""), ("mid.rs", "use crate::low;")];
    let said = said(&[&["low"], &["mid", "high"]], &[], files);
    assert_eq!(said, ["low -> high goes to a higher floor: low.rs names high"]);
}

#[test]
fn every_module_has_a_floor_where_there_are_floors() {
    let said = said(&[&["a", "gone"]], &[], &[("a.rs", ""), ("new.rs", ""), ("new/child.rs", ""), ("lib.rs", "")]);
    assert_eq!(said, ["new is on no floor: give it one", "gone is on a floor and is no module"]);
}

#[test]
fn known_arrows_are_let_through_and_only_while_they_are_needed() {
    assert!(said(&[], &["b -> c"], CIRCLE).is_empty());
    let gone = said(&[], &["b -> c", "c -> d"], CIRCLE);
    assert_eq!(gone, ["c -> d is gone: delete it from the known ones"]);
    let needless = said(&[], &["a -> b"], &CIRCLE[..2]);
    assert_eq!(needless, ["a -> b breaks no rule any more: delete it from the known ones"]);
}
