//! The table's words are those that the types read.

use super::{Default, Kind, TABLES, Table, coherent, flash, virtio, vm};
use crate::policy::{Allow, ProofAt, Use};
use crate::vm_tree::FlashAccess;
use assay_model::life::OnCrash;
use std::collections::BTreeSet;
use std::string::ToString;

#[test]
fn the_words_are_those_that_the_types_read() {
    let words = |kind| match kind {
        Kind::Word(words) | Kind::Words(words) => words,
        _ => panic!("no words"),
    };
    assert!(
        words(coherent::USE.kind).iter().all(|word| Use::from_name(word).is_some_and(|it| it.to_string() == *word))
    );
    let all: BTreeSet<_> = Allow::ALL.iter().map(|allow| allow.name()).collect();
    assert_eq!(words(coherent::ALLOW.kind).iter().copied().collect::<BTreeSet<_>>(), all);
    assert!(
        words(coherent::PROOF.kind).iter().all(|word| ProofAt::from_name(word).is_some_and(|it| it.name() == *word))
    );
    assert!(words(flash::ACCESS.kind).iter().all(|word| FlashAccess::from_word(word).is_some()));
    assert!(words(virtio::TYPE.kind).iter().all(|word| assay_model::virtio::Kind::from_word(word).is_some()));
    assert!(words(vm::ON_CRASH.kind).iter().all(|word| OnCrash::from_word(word).is_some()));
}

#[test]
fn tables_name_each_field_once_and_what_they_refer_to_is_there() {
    for table in &TABLES {
        let names: BTreeSet<_> = table.fields.iter().map(|field| field.name).collect();
        assert_eq!((names.len(), table.meanings.len()), (table.fields.len(), table.fields.len()), "{}", table.path);
        for field in table.fields {
            if let Kind::Tables(path) = field.kind {
                assert!(Table::at(path).is_some(), "{path}");
            }
            if let Some(with) = field.with {
                assert!(names.contains(with.field.name), "{}", field.name);
                assert!(
                    matches!(with.field.kind, Kind::Word(words) if with.words.iter().all(|word| words.contains(word)))
                );
            }
            if let Default::Number(number) = field.default {
                assert!(field.kind.takes(number), "{}", field.name);
            }
        }
    }
}

#[test]
fn what_a_value_must_be_is_said_with_its_range_and_words() {
    assert_eq!(vm::WEIGHT.kind.to_string(), "must be a number from 1 to 65535");
    assert_eq!(vm::PERIOD.kind.to_string(), "must be a time from 1000us to 10000000us");
    assert_eq!(coherent::USE.kind.to_string(), "must be \"ram\", \"dax\" or \"aperture\"");
}
